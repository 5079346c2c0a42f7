// compare: what it does with inputs. Shapes, magnitudes, kinks, indices, and runs that differ.
#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/tests/catch.hpp>

#include <algorithm>
#include <cmath>

namespace test_compare_inputs {

namespace {

using namespace xtape;
using Catch::Matchers::Contains;

template <class T> using Arrays = std::vector<std::vector<T>>;

/// relu by hand, with its own idea of the derivative at zero.
auto relu_by_hand(double at_zero) {
    return [at_zero](const auto& in, const auto& dy, auto& grads) {
        using T = std::decay_t<decltype(dy[0])>;
        std::vector<T> y(dy.size());
        for (std::size_t i = 0; i < y.size(); ++i) {
            y[i] = std::max(in[0][i], T(0));
            grads[0][i] = dy[i] * (in[0][i] > 0 ? T(1) : in[0][i] < 0 ? T(0) : static_cast<T>(at_zero));
        }
        return y;
    };
}

const auto relu_of = [](const auto& x) { return relu(x); };

/// Loss = Σ log Σ exp(row) by hand, with or without subtracting the maximum.
auto logsumexp_by_hand(bool safe) {
    return [safe](const auto& in, auto& grads) {
        auto loss = in[0][0] * 0;
        for (std::size_t row = 0; row < in[0].size(); row += 4) {
            const auto* x = in[0].data() + row;
            const auto shift = safe ? *std::max_element(x, x + 4) : x[0] * 0;
            auto sum = x[0] * 0;
            for (std::size_t i = 0; i < 4; ++i) sum += std::exp(x[i] - shift);
            for (std::size_t i = 0; i < 4; ++i) grads[0][row + i] += std::exp(x[i] - shift) / sum;
            loss += std::log(sum) + shift;
        }
        return loss;
    };
}

const auto logsumexp_of = [](const auto& x) { return sum(logsumexp(x)); };

}  // namespace

TEST_CASE("compare: from shapes it draws inputs, the same for a seed, none of them zero or near one") {
    std::vector<double> seen;
    const auto backward = [&](const Arrays<double>& in, Arrays<double>& grads) {
        seen.insert(seen.end(), in[0].begin(), in[0].end());
        double loss = 0;
        for (std::size_t i = 0; i < in[0].size(); ++i) {
            loss += in[0][i] * in[1][i % 4];
            grads[0][i] += in[1][i % 4];
            grads[1][i % 4] += in[0][i];
        }
        return loss;
    };
    const auto forward = [](const auto& x, const auto& w) { return sum(x * w); };
    CHECK(compare(forward, backward, {Shape{3, 4}, Shape{4}}));
    const std::vector<double> first = std::exchange(seen, {});
    CHECK(std::ranges::all_of(first, [](double v) { return std::abs(v) >= 0.25 && std::abs(v) <= 1; }));
    CHECK(std::ranges::count_if(first, [](double v) { return v < 0; }) > 0);
    CHECK(std::vector(first.begin(), first.begin() + 12) != std::vector(first.begin() + 12, first.begin() + 24));
    CHECK(compare(forward, backward, {Shape{3, 4}, Shape{4}}));
    CHECK(seen == first);
    seen.clear();
    CHECK(compare(forward, backward, {Shape{3, 4}, Shape{4}}, {.seed = 2}));
    CHECK(seen != first);
}

TEST_CASE("compare: what fails on random inputs of a shape is diagnosed") {
    const auto backward = [](const auto& in, auto& grads) {
        for (std::size_t i = 0; i < in[0].size(); ++i) grads[0][i] = in[0][i];
    };
    const GradReport report = compare([](const auto& a) { return sum(a * a); }, backward, {Shape{5}});
    CHECK_FALSE(report);
    for (const GradRow& row : report.rows) CHECK(row.diagnosis == "constant factor 0.5");
}

TEST_CASE("compare: logits beyond 100 show an exponential that overflows, which no smaller ones do") {
    const Shape shape{6, 4};
    CHECK(compare(logsumexp_of, logsumexp_by_hand(false), {shape}));
    CHECK(compare(logsumexp_of, logsumexp_by_hand(true), {shape}, {.magnitudes = {120}}));
    const GradReport report = compare(logsumexp_of, logsumexp_by_hand(false), {shape}, {.magnitudes = {120}});
    CHECK_FALSE(report);
    CHECK_THAT(report.text(), Contains("input 0 agrees on the first draw, and differs at the magnitudes asked for"));
}

TEST_CASE("compare: a kink is a convention: it is left out, and counted") {
    const Tensor<double> x({2, 3}, {0, 1, -1, 0, 2, -3});
    CHECK(compare(relu_of, relu_by_hand(0), {x}).notes.empty());
    for (const double at_zero : {0.5, 1.0}) {
        const GradReport report = compare(relu_of, relu_by_hand(at_zero), {x});
        INFO(report);
        CHECK(report);
        for (const GradRow& row : report.rows) CHECK(row.left_out == 2);
        REQUIRE(report.notes.size() == 1);
        CHECK(report.notes[0] ==
              "left out, in the draw with most: 2 of 6 elements of input 0, where the forward has a kink "
              "and its derivative is a convention");
    }
}

TEST_CASE("compare: a kink excuses no error beside it, no NaN, and none that it does not explain") {
    const Tensor<double> x({4}, {0, 1, -1, 2});
    const auto wrong_beside = [](const auto& in, const auto& dy, auto& grads) {
        for (std::size_t i = 0; i < dy.size(); ++i) grads[0][i] = in[0][i] >= 0 ? dy[i] : dy[i] / 2;
    };
    const GradReport beside = compare(relu_of, wrong_beside, {x});
    CHECK_FALSE(beside);
    CHECK(beside.rows[0].worst == Index{2});
    CHECK_FALSE(compare(relu_of, relu_by_hand(1e4), {x}));
    CHECK_FALSE(compare(relu_of, relu_by_hand(std::nan("")), {x}));
    // A subtle error where the curvature is large is no kink.
    const auto nearly = [](const Arrays<double>& in, const std::vector<double>& dy, Arrays<double>& grads) {
        for (std::size_t i = 0; i < dy.size(); ++i) grads[0][i] = dy[i] * std::exp(in[0][i]) * 1.00001;
    };
    CHECK_FALSE(compare([](const auto& a) { return exp(a); }, nearly, {Tensor<double>({3}, {4, 8, 9})}));
}

TEST_CASE("compare: where everything is left out nothing agrees") {
    const Tensor<double> x({2}, {0, 5});
    const auto backward = [](const Arrays<double>& in, Arrays<double>& grads) {
        grads[0] = {1, 1};
        return std::max(in[0][0], 0.0) + std::max(in[0][1], 0.0);
    };
    const GradReport some = compare([](const auto& a) { return sum(relu(a)); }, backward, {x});
    CHECK(some);
    CHECK(some.rows[0].left_out == 1);
    const auto zero_only = [](const Arrays<double>&, Arrays<double>& grads) { grads[0] = {1}; };
    const auto at_zero = [](const auto& a) { return sum(relu(a)); };
    const GradReport none = compare(at_zero, zero_only, {Tensor<double>({1}, {0})}, {.perturb = 0});
    CHECK_FALSE(none);
    CHECK(none.rows[0].verdict == Verdict::vacuous);
    CHECK_THAT(none.text(), Contains("nothing was checked"));
}

TEST_CASE("compare: equal maxima and the bounds of a clamp may go to whom the kernel likes") {
    const auto first_of = [](const auto& in, const auto& dy, auto& grads) {
        const auto at = std::max_element(in[0].begin(), in[0].end()) - in[0].begin();
        grads[0][static_cast<std::size_t>(at)] = dy[0];
    };
    const GradReport ties =
        compare([](const auto& a) { return max(a, {0}); }, first_of, {Tensor<double>({4}, {2, 1, 2, 0.5})});
    CHECK(ties);
    CHECK(ties.rows[0].left_out == 2);
    const auto open = [](const auto& in, const auto& dy, auto& grads) {
        for (std::size_t i = 0; i < dy.size(); ++i) grads[0][i] = in[0][i] > -1 && in[0][i] < 1 ? dy[i] : dy[i] * 0;
    };
    const GradReport bounds =
        compare([](const auto& a) { return clamp(a, -1, 1); }, open, {Tensor<double>({4}, {-1, 0.5, 1, 3})});
    CHECK(bounds);
    CHECK(bounds.rows[0].left_out == 2);
}

TEST_CASE("compare: a kink behind a product is found at all that reach it") {
    // The second unit's input is 1·2 − 2·1 = 0.
    const Tensor<double> x({2}, {1, 2}), w({2, 2}, {1, 2, 1, -1});
    const auto backward = [](const auto& in, auto& grads) {
        using T = std::decay_t<decltype(in[0][0])>;
        T loss = 0;
        for (std::size_t j = 0; j < 2; ++j) {
            const T z = in[0][0] * in[1][j] + in[0][1] * in[1][2 + j];
            loss += std::max(z, T(0));
            for (std::size_t i = 0; i < 2 && z >= 0; ++i) {
                grads[0][i] += in[1][2 * i + j];
                grads[1][2 * i + j] += in[0][i];
            }
        }
        return loss;
    };
    const auto forward = [](const auto& a, const auto& b) { return sum(relu(matmul(reshape(a, {1, 2}), b))); };
    const GradReport report = compare(forward, backward, {x, w});
    INFO(report);
    CHECK(report);
    CHECK(report.rows[0].left_out == 2);
    CHECK(report.rows[1].left_out == 2);
    CHECK_THAT(report.text(),
               Contains("input 0 could not be checked at the given inputs, but where they are perturbed"));
}

TEST_CASE("compare: two runs on the same bits that differ are said to be nondeterministic") {
    int runs = 0;
    const auto drifting = [&](double by) {
        return [&runs, by](const Arrays<double>& in, Arrays<double>& grads) {
            ++runs;
            for (std::size_t i = 0; i < in[0].size(); ++i) grads[0][i] = 2 * in[0][i] * (1 + by * runs);
        };
    };
    const auto forward = [](const auto& a) { return sum(a * a); };
    const GradReport wrong = compare(forward, drifting(1e-3), {Shape{3}});
    CHECK_FALSE(wrong);
    CHECK_THAT(wrong.rows[0].diagnosis, Contains("nondeterministic: two runs differ by 1.0e-03"));
    const GradReport right = compare(forward, drifting(1e-15), {Shape{3}});
    CHECK(right);
    CHECK_THAT(right.text(), Contains("input 0 is nondeterministic: two runs differ by "));
}

TEST_CASE("compare: a buffer that is not zeroed between runs is found by the second run") {
    std::vector<double> own(3);
    const auto backward = [&](const Arrays<double>& in, Arrays<double>& grads) {
        for (std::size_t i = 0; i < own.size(); ++i) own[i] += 2 * in[0][i];
        grads[0] = own;
    };
    const GradReport report = compare([](const auto& a) { return sum(a * a); }, backward, {Shape{3}});
    CHECK_FALSE(report);
    CHECK_THAT(report.rows[0].diagnosis, Contains("nondeterministic"));
}

TEST_CASE("compare: a backward that writes too few gradients has not written them") {
    const auto backward = [](const Arrays<double>& in, Arrays<double>& grads) { grads = {in[1]}; };
    const GradReport report =
        compare([](const auto& a, const auto& b) { return sum(a * b); }, backward, {Shape{3}, Shape{3}});
    CHECK_FALSE(report);
    CHECK(report.rows[0].verdict == Verdict::agree);
    CHECK(report.rows[1].verdict == Verdict::never_written);
}

TEST_CASE("compare: token ids are captured, as they have no gradient") {
    const Indices ids = indices({2, 0, 2, 1});
    const auto forward = [&](const auto& table) { return sum(embedding(table, ids) * embedding(table, ids)); };
    const auto by_hand = [&](bool accumulate) {
        return [&ids, accumulate](const auto& in, auto& grads) {
            auto loss = in[0][0] * 0;
            for (const std::int32_t id : ids.values()) {
                for (std::size_t i = 0; i < 3; ++i) {
                    const std::size_t at = static_cast<std::size_t>(id) * 3 + i;
                    loss += in[0][at] * in[0][at];
                    grads[0][at] = 2 * in[0][at] + (accumulate ? grads[0][at] : grads[0][at] * 0);
                }
            }
            return loss;
        };
    };
    CHECK(compare(forward, by_hand(true), {Shape{4, 3}}));
    const GradReport report = compare(forward, by_hand(false), {Shape{4, 3}});
    CHECK_FALSE(report);
    CHECK(report.rows[0].diagnosis ==
          "rows are overwritten instead of accumulated: the last position of an id counts alone (every embedding)");
}

TEST_CASE("compare: where the tape overflows in f32, that is no noise floor that excuses everything") {
    const auto forward = [](const auto& x) { return sum(exp(x)); };
    const auto nothing = [](const std::vector<std::vector<float>>&, std::vector<std::vector<float>>& dx) {
        for (float& v : dx[0]) v = 0;
    };
    CHECK_FALSE(compare(forward, nothing, {Tensor<double>({2}, {100.0, 99.0})}));
}

}  // namespace test_compare_inputs
