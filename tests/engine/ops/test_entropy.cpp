#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_entropy {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

// Of x in [0, 1], so that any input may stand for the targets.
constexpr auto by_logits = [](auto in) { return binary_cross_entropy_with_logits(in[0] * 8 - 4, in[1]); };
constexpr auto by_weighted_logits = [](auto in) {
    return binary_cross_entropy_with_logits(in[0] * 8 - 4, in[1], in[2]);
};
constexpr auto by_probabilities = [](auto in) { return binary_cross_entropy(in[0], in[1]); };
constexpr auto by_weighted_probabilities = [](auto in) { return binary_cross_entropy(in[0], in[1], in[2]); };
constexpr auto squared = [](auto in) { return mean_squared_error(in[0], in[1]); };

auto by_row(const Indices& targets, CrossEntropyOptions options = {}) {
    return [=](auto in) { return row_cross_entropy(in[0], targets, options); };
}

const Tensor<double> logits = uniform({3, 11}, -4, 4), targets = uniform({3, 11}, 0.1, 0.9, 2),
                     weights = uniform({3, 11}, 0.5, 6, 3), probabilities = uniform({3, 11}, 0.05, 0.95, 4);

const Samples samples{
    sample("binary_cross_entropy_with_logits", "3x11", by_logits, {probabilities, targets}),
    sample("binary_cross_entropy_with_logits", "weights", by_weighted_logits, {probabilities, targets, weights}),
    sample("binary_cross_entropy_with_logits", "scalar", by_logits, {uniform({}, 0.1, 0.9), uniform({}, 0.1, 0.9, 2)}),
    sample("binary_cross_entropy", "3x11", by_probabilities, {probabilities, targets}),
    sample("binary_cross_entropy", "weights", by_weighted_probabilities, {probabilities, targets, weights}),
    sample("mean_squared_error", "3x11", squared, {logits, weights}),
    sample("mean_squared_error", "one", squared, {uniform({1}, -1, 1), uniform({1}, -1, 1, 2)}),
    sample("row_cross_entropy", "4x27", by_row(indices({0, 26, 5, 5})), {uniform({4, 27}, -2, 2)}),
    sample("row_cross_entropy", "rank 3", by_row(Indices(Shape{2, 2}, {0, 6, 5, 5})), {uniform({2, 2, 7}, -2, 2)}),
    sample("row_cross_entropy", "one row", by_row(Indices(Shape{}, {3})), {uniform({16}, -2, 2)}),
    sample("row_cross_entropy", "no rows", by_row(indices({})), {uniform({0, 5}, -2, 2)}),
    sample("row_cross_entropy", "ignored and smoothed",
           by_row(indices({2, -1, 1}), {.ignore_index = -1, .label_smoothing = 0.1}), {uniform({3, 18}, -2, 2)}),
};

/// A loss of one element and its gradient by the prediction.
template <class T, class F> std::pair<double, double> at(const F& f, double x, double y) {
    Tape<T> tape;
    const auto leaf = tape.leaf(Tensor<T>({1}, {static_cast<T>(x)}));
    const auto loss = f(leaf, Tensor<T>({1}, {static_cast<T>(y)}));
    return {loss.item(), tape.gradient(loss, {leaf})[0].item()};
}

constexpr auto logit_loss = [](const auto& s, const auto& y) { return binary_cross_entropy_with_logits(s, y); };
constexpr auto probability_loss = [](const auto& p, const auto& y) { return binary_cross_entropy(p, y); };

}  // namespace

TEST_CASE("binary_cross_entropy_with_logits: is the weighted mean of log(1 + e^s) - y s") {
    double expected = 0;
    for (std::size_t i = 0; i < 33; ++i) {
        const double s = logits.values()[i];
        expected += weights.values()[i] * (std::log(1 + std::exp(s)) - targets.values()[i] * s) / 33;
    }
    CHECK(binary_cross_entropy_with_logits(logits, targets, weights).item() == Approx(expected).epsilon(1e-13));
}

TEMPLATE_TEST_CASE("binary_cross_entropy_with_logits: is exact for every logit", "", float, double) {
    const double precision = sizeof(TestType) == 4 ? 1e-6 : 1e-14;
    for (const double s : {0.0, 1e-3, 0.5, 3.0, 20.0, 60.0}) {
        for (const double sign : {-1.0, 1.0}) {
            const double right = std::log1p(std::exp(-s)), tail = 1 / (1 + std::exp(s));
            const double y = sign > 0 ? 1 : 0;
            const auto x = static_cast<double>(static_cast<TestType>(s));
            const auto [agrees, agrees_slope] = at<TestType>(logit_loss, sign * x, y);
            CHECK(agrees == Approx(right).epsilon(precision));
            CHECK(agrees_slope == Approx(-sign * tail).epsilon(precision));
            const auto [differs, differs_slope] = at<TestType>(logit_loss, sign * x, 1 - y);
            CHECK(differs == Approx(s + right).epsilon(precision));
            CHECK(differs_slope == Approx(sign * (1 - tail)).epsilon(precision));
        }
    }
}

TEMPLATE_TEST_CASE("binary_cross_entropy_with_logits: neither overflows nor goes flat far from zero", "", float,
                   double) {
    for (const double s : {101.0, 1e4, 1e30}) {
        CHECK(at<TestType>(logit_loss, s, 0) == std::pair(static_cast<double>(static_cast<TestType>(s)), 1.0));
        CHECK(at<TestType>(logit_loss, -s, 1) == std::pair(static_cast<double>(static_cast<TestType>(s)), -1.0));
        for (const auto& [x, y] : {std::pair(s, 1.0), std::pair(-s, 0.0)}) {
            const auto [loss, slope] = at<TestType>(logit_loss, x, y);
            CHECK(loss < 1e-43);
            CHECK(std::abs(slope) < 1e-43);
        }
    }
    CHECK(std::isnan(at<TestType>(logit_loss, std::nan(""), 0).first));
}

TEST_CASE("binary_cross_entropy: is the weighted mean of its definition, and agrees with that from logits") {
    double expected = 0;
    for (std::size_t i = 0; i < 33; ++i) {
        const double p = probabilities.values()[i], y = targets.values()[i];
        expected -= weights.values()[i] * (y * std::log(p) + (1 - y) * std::log(1 - p)) / 33;
    }
    CHECK(binary_cross_entropy(probabilities, targets, weights).item() == Approx(expected).epsilon(1e-13));
    CHECK(binary_cross_entropy(sigmoid(logits), targets).item() ==
          Approx(binary_cross_entropy_with_logits(logits, targets).item()).epsilon(1e-13));
}

TEMPLATE_TEST_CASE("binary_cross_entropy: probabilities are clamped, with no gradient beyond", "", float, double) {
    const auto low = static_cast<double>(static_cast<TestType>(1e-7));
    const auto high = static_cast<double>(static_cast<TestType>(1 - 1e-7));
    CHECK(at<TestType>(probability_loss, 0, 1) == std::pair(at<TestType>(probability_loss, 1e-7, 1).first, 0.0));
    CHECK(at<TestType>(probability_loss, 0, 1).first == Approx(-std::log(low)));
    CHECK(at<TestType>(probability_loss, 1, 0) == std::pair(at<TestType>(probability_loss, 1 - 1e-7, 0).first, 0.0));
    CHECK(at<TestType>(probability_loss, 1, 0).first == Approx(-std::log1p(-high)));
    CHECK(at<TestType>(probability_loss, 0, 0).first == Approx(low));
    CHECK(at<TestType>(probability_loss, 1e-7, 1).second == Approx(-1 / low));
    CHECK(at<TestType>(probability_loss, 2, 0).second == 0);
    CHECK(std::isnan(at<TestType>(probability_loss, std::nan(""), 0).first));
}

TEST_CASE("mean_squared_error: the mean of squares, and the gradient of both") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>({2}, {1, 5})), y = tape.leaf(Tensor<double>({2}, {4, 3}));
    const auto loss = mean_squared_error(x, y);
    CHECK(loss.item() == 6.5);
    const auto gradients = tape.gradient(loss, {x, y});
    CHECK(gradients[0].values()[0] == -3);
    CHECK(gradients[0].values()[1] == 2);
    CHECK(gradients[1].values()[0] == 3);
}

TEST_CASE("row_cross_entropy: its mean over the rows that count is cross_entropy") {
    const auto x = uniform({5, 27}, -3, 3);
    const Indices at_rows = indices({0, 26, -1, 3, 3});
    for (const double smoothing : {0.0, 0.1}) {
        const CrossEntropyOptions options{.ignore_index = -1, .label_smoothing = smoothing};
        const auto rows = row_cross_entropy(x, at_rows, options);
        CHECK(rows.shape() == Shape{5});
        CHECK(rows.values()[2] == 0);
        CHECK(sum(rows).item() / 4 == Approx(cross_entropy(x, at_rows, options).item()).epsilon(1e-14));
    }
}

TEST_CASE("row_cross_entropy: is log of the sum of exponentials minus the target's logit, row by row") {
    const auto x = uniform({3, 9}, -3, 3);
    const auto rows = row_cross_entropy(x, indices({8, 0, 4}));
    const auto whole = logsumexp(x);
    for (Index row = 0; row < 3; ++row)
        CHECK(
            rows.data()[row] ==
            Approx(whole.data()[row] - x.data()[row * 9 + std::array<Index, 3>{8, 0, 4}[static_cast<std::size_t>(row)]])
                .epsilon(1e-13));
}

TEST_CASE("binary_cross_entropy: errors") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    CHECK_THROWS_WITH(binary_cross_entropy_with_logits(zeros({32, 1}), zeros({32})),
                      StartsWith("binary_cross_entropy_with_logits: logits and targets must have the same shape: "
                                 "logits is [32, 1], targets is [32]"));
    CHECK_THROWS_WITH(binary_cross_entropy(zeros({32}), zeros({32}), zeros({})),
                      StartsWith("binary_cross_entropy: probabilities and weights must have the same shape: "
                                 "probabilities is [32], weights is []"));
    CHECK_THROWS_WITH(binary_cross_entropy(zeros({0}), zeros({0})),
                      StartsWith("binary_cross_entropy: the mean of nothing: probabilities is [0]"));
    CHECK_THROWS_WITH(binary_cross_entropy_with_logits(zeros({2, 2}), Tensor<float>({2, 2}, {0, 1, 1.5f, 0})),
                      StartsWith("binary_cross_entropy_with_logits: target 1.5 at [1, 0] is outside [0, 1]"));
}

TEST_CASE("mean_squared_error: errors") {
    CHECK_THROWS_WITH(mean_squared_error(Tensor<float>::zeros({3}), Tensor<float>::zeros({3, 1})),
                      StartsWith("mean_squared_error: x and y must have the same shape: x is [3], y is [3, 1]"));
    CHECK_THROWS_WITH(mean_squared_error(Tensor<float>::zeros({0}), Tensor<float>::zeros({0})),
                      StartsWith("mean_squared_error: the mean of nothing: x is [0]"));
}

TEST_CASE("row_cross_entropy: errors") {
    const auto x = Tensor<float>::zeros({4, 27});
    CHECK_THROWS_WITH(
        row_cross_entropy(x, indices({0, 1})),
        StartsWith("row_cross_entropy: 4 rows of logits but 2 targets: logits is [4, 27], targets is [2]"));
    CHECK_THROWS_WITH(row_cross_entropy(x, indices({0, 1, 27, 2})),
                      StartsWith("row_cross_entropy: target 27 at [2] is outside the row of 27 logits"));
    CHECK_THROWS_WITH(row_cross_entropy(x, indices({0, 1, 2, 2}), {.label_smoothing = -1}),
                      StartsWith("row_cross_entropy: label_smoothing must be from 0 to 1: it is -1"));
    CHECK_THROWS_WITH(row_cross_entropy(Tensor<float>(1.0f), indices({0})),
                      StartsWith("row_cross_entropy: a scalar has no rows: logits is []"));
}

}  // namespace test_entropy
