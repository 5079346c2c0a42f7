#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>
#include <limits>

namespace test_compare {

namespace {

using namespace xtape;
using Catch::Matchers::Contains;
using laws::uniform;

template <class T> using Arrays = std::vector<std::vector<T>>;

constexpr std::size_t S = 5, D = 4, H = 4;  // positions, inputs and outputs

enum class Fault { none, sign, doubled, mean, transposed, last_row, no_bias, bias_overwritten, nan, forward };

const auto forward = [](const auto& x, const auto& w, const auto& b) { return sum(tanh(linear(x, w, b))) / S; };

/// The hand-written backward of `forward`: loss = Σ tanh(x W + b) / S.
template <class T> T by_hand(const Arrays<T>& in, Arrays<T>& grads, Fault fault) {
    const auto& [x, w, b] = std::tie(in[0], in[1], in[2]);
    T loss = 0;
    for (std::size_t t = 0; t < S; ++t) {
        for (std::size_t j = 0; j < H; ++j) {
            T z = b[j];
            for (std::size_t i = 0; i < D; ++i) z += x[t * D + i] * w[i * H + j];
            const T y = std::tanh(z);
            loss += y / S;
            T dz = (1 - y * y) / (fault == Fault::mean ? S - 1 : S);
            if (fault == Fault::doubled) dz *= 2;
            if (fault == Fault::bias_overwritten)
                grads[2][j] = dz;
            else if (fault != Fault::no_bias)
                grads[2][j] += dz;
            for (std::size_t i = 0; i < D; ++i) {
                const std::size_t at = fault == Fault::transposed ? j * D + i : i * H + j;
                grads[1][at] += (fault == Fault::sign ? -1 : 1) * x[t * D + i] * dz;
                if (fault != Fault::last_row || t + 1 < S) grads[0][t * D + i] += w[i * H + j] * dz;
            }
        }
    }
    if (fault == Fault::nan) grads[0][3] = std::numeric_limits<T>::quiet_NaN();
    return fault == Fault::forward ? loss * T(1.01) : loss;
}

const Tensor<double> x = uniform({S, D}, -1, 1, 1);
const Tensor<double> w = uniform({D, H}, -1, 1, 2);
const Tensor<double> b = uniform({H}, -1, 1, 3);

GradReport compare_with(Fault fault, CompareOptions options = {.names = {"x", "w", "b"}}) {
    return compare(
        forward, [fault](const auto& in, auto& grads) { return by_hand(in, grads, fault); }, {x, w, b}, options);
}

const GradRow& row_of(const GradReport& report, std::string_view name, std::string_view precision) {
    for (const GradRow& row : report.rows)
        if (row.name == name && row.precision == precision) return row;
    FAIL("no row " << name);
    return report.rows[0];
}

Evidence evidence(std::vector<double> truth, std::vector<double> candidate, const Shape& shape) {
    return {"g", shape, std::move(truth), std::move(candidate), 0, {}};
}

std::string diagnosis(const Evidence& one, std::vector<NamedFactor> factors = {}) {
    return judge(std::span(&one, 1), {.precision = "f64", .factors = std::move(factors)}).rows[0].diagnosis;
}

}  // namespace

TEST_CASE("compare: a right backward agrees, in f32 and in f64, forward first") {
    const GradReport report = compare_with(Fault::none);
    CHECK(report);
    REQUIRE(report.rows.size() == 6);
    REQUIRE(report.forward);
    CHECK(report.notes.empty());
    CHECK(row_of(report, "w", "f32").noise_ratio < 8);
    CHECK(row_of(report, "w", "f64").relative < 1e-14);
}

TEST_CASE("compare: exactly the wrong gradient is reported, with its diagnosis") {
    struct Expected {
        Fault fault;
        std::string name, diagnosis;
    };
    for (const auto& [fault, name, diagnosis] : {
             Expected{Fault::sign, "w", "sign"},
             Expected{Fault::transposed, "w", "transposed"},
             Expected{Fault::last_row, "x", "last row missing"},
             Expected{Fault::no_bias, "b", "never written"},
             Expected{Fault::nan, "x", "NaN at [0, 3]"},
         }) {
        const GradReport report = compare_with(fault);
        INFO(report);
        CHECK_FALSE(report);
        for (const GradRow& row : report.rows) {
            CHECK((row.verdict == Verdict::agree) == (row.name != name));
            if (row.name == name) CHECK(row.diagnosis == diagnosis);
        }
    }
    CHECK(row_of(compare_with(Fault::no_bias), "b", "f32").verdict == Verdict::never_written);
}

TEST_CASE("compare: one factor in all gradients points at the loss") {
    CompareOptions options{.names = {"x", "w", "b"}, .factors = usual_factors(S, 16)};
    const GradReport mean = compare_with(Fault::mean, options);
    for (const GradRow& row : mean.rows) CHECK(row.diagnosis == "constant factor 1.25: S/(S-1)");
    REQUIRE_FALSE(mean.notes.empty());
    CHECK(mean.notes[0] == "all gradients are off by one factor: look at the loss");
    const GradReport doubled = compare_with(Fault::doubled);
    for (const GradRow& row : doubled.rows) CHECK(row.diagnosis == "doubled: added twice");
}

TEST_CASE("compare: the right gradient of the wrong function is no comfort") {
    const GradReport report = compare_with(Fault::forward);
    CHECK_FALSE(report);
    CHECK(report.forward->verdict == Verdict::differs);
    for (const GradRow& row : report.rows) CHECK(row.verdict == Verdict::agree);
    CHECK_THAT(report.text(), Contains("compare: the forward differs; all gradients agree"));
}

TEST_CASE("compare: an overwritten gradient shows in a second pass, a missing sum in the first") {
    CHECK_FALSE(compare_with(Fault::bias_overwritten));
    const auto overwrites = [](const auto& in, auto& grads) {
        for (auto& grad : grads) std::fill(grad.begin(), grad.end(), 0);
        return by_hand(in, grads, Fault::none);
    };
    CHECK(compare(forward, overwrites, {x, w, b}));
    const GradReport report = compare(forward, overwrites, {x, w, b}, {.accumulates = true});
    CHECK_FALSE(report);
    for (const GradRow& row : report.rows) CHECK(row.diagnosis == "overwritten instead of accumulated");
    CHECK(compare_with(Fault::none, {.accumulates = true}));
}

TEST_CASE("compare: a backward from a cotangent, as of a C function in f32") {
    const auto backward = [](const std::vector<std::vector<float>>& in, const std::vector<float>& dy,
                             std::vector<std::vector<float>>& grads) {
        std::vector<float> y(in[0].size());
        for (std::size_t i = 0; i < y.size(); ++i) {
            y[i] = in[0][i] * in[1][i];
            grads[0][i] = dy[i] * in[1][i];
            grads[1][i] = dy[i] * in[0][i];
        }
        return y;
    };
    const GradReport report = compare([](const auto& a, const auto& c) { return mul(a, c); }, backward, {x, x});
    CHECK(report);
    CHECK(report.rows.size() == 2);
    CHECK(report.rows[0].precision == "f32");
    CHECK(report.forward->verdict == Verdict::agree);
}

TEST_CASE("compare: a forward that was not given is missed, not assumed") {
    const GradReport report = compare(
        [](const auto& a) { return sum(a); },
        [](const Arrays<double>&, Arrays<double>& grads) { std::fill(grads[0].begin(), grads[0].end(), 1.0); }, {x});
    CHECK(report);
    CHECK_FALSE(report.forward);
    REQUIRE(report.notes.size() == 1);
    CHECK(report.notes[0] == "the forward was not compared: return its output from the backward");
}

TEST_CASE("compare: what is right only at weights of one is found, and said so") {
    // d/dx of w x², with w left out.
    const auto backward = [](const auto& in, auto& grads) {
        auto loss = in[0][0] * 0;
        for (std::size_t i = 0; i < in[0].size(); ++i) {
            loss += in[1][i] * in[0][i] * in[0][i];
            grads[0][i] = 2 * in[0][i];
            grads[1][i] = in[0][i] * in[0][i];
        }
        return loss;
    };
    const GradReport report = compare([](const auto& a, const auto& weight) { return sum(weight * a * a); }, backward,
                                      {x, Tensor<double>::full(x.shape(), 1)}, {.names = {"a", "weight"}});
    CHECK_FALSE(report);
    CHECK(row_of(report, "weight", "f32").verdict == Verdict::agree);
    REQUIRE_FALSE(report.notes.empty());
    CHECK(report.notes[0] == "a agrees at the given inputs, and differs where they are perturbed");
}

TEST_CASE(
    "compare: what is zero behind a zero weight is judged where the weight is not, what is not used is unreached") {
    const auto f = [](const auto& a, const auto& zero, const auto&) { return sum(a * zero); };
    const auto backward = [](const auto& in, auto& grads) {
        for (std::size_t i = 0; i < in[0].size(); ++i) grads[1][i] = in[0][i];
    };
    const Tensor<double> zero = Tensor<double>::zeros(x.shape());
    const std::vector<std::string> names{"a", "zero", "idle"};
    const GradReport report = compare(f, backward, {x, zero, w}, {.names = names});
    CHECK_FALSE(report);
    CHECK(row_of(report, "a", "f64").verdict == Verdict::never_written);
    CHECK(row_of(report, "idle", "f64").verdict == Verdict::unreached);
    CHECK(report.notes[0] == "a could not be checked at the given inputs, but where they are perturbed");
    const GradReport as_given = compare(f, backward, {x, zero, w}, {.names = names, .perturb = 0});
    CHECK(as_given);
    CHECK(row_of(as_given, "a", "f64").verdict == Verdict::vacuous);
    CHECK(as_given.notes[0] ==
          "vacuous: the true gradient of a is zero here, so that nothing was checked; is a weight "
          "behind it zero?");
}

TEST_CASE("compare: a backward without a cotangent wants a scalar") {
    CHECK_THROWS_WITH(
        compare([](const auto& a) { return a * a; }, [](const Arrays<float>&, Arrays<float>&) {}, {x}),
        "compare: a backward without a cotangent needs a scalar: output is [5, 4]; let it take (inputs, dy, "
        "gradients)");
}

TEST_CASE("compare: the noise floor is that of the tensor, however ill-conditioned") {
    // Both sum in f32, in another order, what nearly cancels.
    const Tensor<double> terms = uniform({4096}, -1, 1);
    const auto backward = [](const Arrays<float>& in, Arrays<float>& grads) {
        float total = 0;
        for (const float v : in[0]) total += v;
        for (std::size_t i = 0; i < in[0].size(); ++i) grads[0][i] = 2 * total;
        return total * total;
    };
    CHECK(compare([](const auto& a) { return sum(a) * sum(a); }, backward, {terms}));
}

TEST_CASE("compare: a candidate that is random does not pass for rounding") {
    std::uint32_t state = 1;
    const auto backward = [&](const Arrays<float>& in, Arrays<float>& grads) {
        for (std::size_t i = 0; i < in[0].size(); ++i) {
            state = state * 1664525u + 1013904223u;
            grads[0][i] = 2 * in[0][i] * (1 + static_cast<float>(state >> 8) * 1e-10f);
        }
    };
    CHECK_FALSE(compare([](const auto& a) { return sum(a * a); }, backward, {x}));
}

TEST_CASE("judge: diagnoses") {
    const std::vector<double> g{1, -2, 3, 4, 5, -6};
    const auto changed = [&](auto change) {
        std::vector<double> c = g;
        change(c);
        return c;
    };
    CHECK(diagnosis(evidence(g, {0, 0, 0, 0, 0, 0}, {3, 2})) == "never written");
    CHECK(diagnosis(evidence(g, {}, {3, 2})) == "never written");
    CHECK(diagnosis(evidence(g, {-1, 2, -3, -4, -5, 6}, {3, 2})) == "sign");
    CHECK(diagnosis(evidence(g, {2, -4, 6, 8, 10, -12}, {3, 2})) == "doubled: added twice");
    CHECK(diagnosis(evidence(g, {.25, -.5, .75, 1, 1.25, -1.5}, {3, 2})) == "constant factor 0.25");
    CHECK(diagnosis(evidence(g, {.25, -.5, .75, 1, 1.25, -1.5}, {3, 2}), usual_factors(9, 16)) ==
          "constant factor 0.25: 1/√h");
    CHECK(diagnosis(evidence(g, {.25, -.5, .75, 1, 1.25, -1.5}, {3, 2}), usual_factors(4, 64)) ==
          "constant factor 0.25: 1/S");
    CHECK(diagnosis(evidence(g, {1, 3, 5, -2, 4, -6}, {3, 2})) == "transposed");
    CHECK(diagnosis(evidence(g, {0, 0, 3, 4, 5, -6}, {3, 2})) == "first row missing");
    CHECK(diagnosis(evidence(g, {1, -2, 3, 4, 0, 0}, {3, 2})) == "last row missing");
    CHECK(diagnosis(evidence(g, {1, -2, 0, 0, 5, -6}, {3, 2})) == "row 1 of 3 missing");
    CHECK(diagnosis(evidence(g, {1, 0, 3, 0, 5, 0}, {3, 2})) == "last column missing");
    CHECK(diagnosis(evidence(g, {1, -2, 3, 4, 5, 0}, {6})) == "last element missing");
    CHECK(diagnosis(evidence(g, {0, -2, 0, 4, 5, -6}, {6})) == "elements 0, 2 of 6 missing");
    CHECK(diagnosis(evidence(g, {1, -2, 3, 4, 5, 7}, {3, 2})) ==
          "only row 2 of 3 is wrong: overwritten instead of accumulated?");
    CHECK(diagnosis(evidence(g, changed([](auto& c) { c[4] = std::nan(""); }), {3, 2})) == "NaN at [2, 0]");
    CHECK(diagnosis(evidence(g, {7, 7, 7, 7, 7, 7}, {3, 2})).empty());
    CHECK(diagnosis(evidence(g, {1, 2}, {3, 2})) == "2 elements, should be 6");
    CHECK(diagnosis(evidence({}, {0, 1}, {2})) == "the loss does not depend on it");
    CHECK(diagnosis(evidence(g, g, {3, 2})).empty());
}

TEST_CASE("judge: a candidate that agrees with a known fault is named after it") {
    Evidence one = evidence({1, 2, 3}, {5, 2, 3}, {3});
    one.hypotheses = {{"past keys dropped", {1, 2, 4}}, {"rope pairing", {5, 2, 3}}};
    CHECK(diagnosis(one) == "rope pairing");
}

TEST_CASE("judge: a gradient of zero must be zero, to rounding of the largest") {
    const auto verdict = [](double rest) {
        const Evidence all[] = {evidence({1, 2}, {1, 2}, {2}), evidence({0, 1e-17}, {0, rest}, {2})};
        return judge(all, {.precision = "f32"}).rows[1].verdict;
    };
    CHECK(verdict(0) == Verdict::vacuous);
    CHECK(verdict(1e-7) == Verdict::vacuous);
    CHECK(verdict(1e-3) == Verdict::differs);
}

TEST_CASE("judge: the verdict is the ratio to the noise floor") {
    Evidence one = evidence({1, 2, 4}, {1, 2, 4.0004}, {3});
    one.noise = 1e-5;
    GradReport report = judge(std::span(&one, 1), {.factor = 16});
    CHECK(report);
    CHECK(report.rows[0].noise_ratio == Approx(10));
    report = judge(std::span(&one, 1), {.factor = 5});
    CHECK_FALSE(report);
    CHECK(report.rows[0].over_tolerance == 1);
    CHECK(report.rows[0].worst == Index{2});
    CHECK_FALSE(judge(std::span(&one, 1), {.precision = "f64"}));
}

TEST_CASE("judge: nothing to judge is a failure") {
    CHECK_FALSE(judge({}, {}));
    const Evidence unreached[] = {evidence({}, {}, {3})};
    CHECK_FALSE(judge(unreached, {}));
    CHECK(judge(unreached, {}).rows[0].verdict == Verdict::unreached);
}

TEST_CASE("judge_forward: an output of zero agrees with zero") {
    CHECK(judge_forward(evidence({0}, {0}, {}), {}).verdict == Verdict::agree);
    CHECK(judge_forward(evidence({1}, {1.1}, {}), {}).verdict == Verdict::differs);
}

TEST_CASE("noise_of: relative to the largest element") {
    const float a[] = {1, 2.5f};
    const double truth[] = {1, 2};
    CHECK(noise_of(a, truth) == Approx(0.25));
}

}  // namespace test_compare
