#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>
#include <limits>
#include <numeric>

namespace test_softmax {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

constexpr auto soft = [](auto in) { return softmax(in[0]); };
constexpr auto log_soft = [](auto in) { return log_softmax(in[0]); };
constexpr auto log_sum = [](auto in) { return logsumexp(in[0]); };

const Samples samples{
    sample("softmax", "8x27", soft, {uniform({8, 27}, -2, 2)}),
    sample("softmax", "2x3x16", soft, {uniform({2, 3, 16}, -2, 2)}),
    sample("softmax", "one column", soft, {uniform({3, 1}, -2, 2)}),
    sample("softmax", "no columns", soft, {uniform({3, 0}, -2, 2)}),
    sample("softmax", "no rows", soft, {uniform({0, 5}, -2, 2)}),
    sample("softmax", "long row", soft, {uniform({2, 1500}, -2, 2)}),
    sample("log_softmax", "8x27", log_soft, {uniform({8, 27}, -2, 2)}),
    sample("log_softmax", "vector", log_soft, {uniform({33}, -2, 2)}),
    sample("log_softmax", "one column", log_soft, {uniform({3, 1}, -2, 2)}),
    sample("log_softmax", "no columns", log_soft, {uniform({3, 0}, -2, 2)}),
    sample("log_softmax", "no rows", log_soft, {uniform({0, 5}, -2, 2)}),
    sample("logsumexp", "8x27", log_sum, {uniform({8, 27}, -2, 2)}),
    sample("logsumexp", "2x3x7", log_sum, {uniform({2, 3, 7}, -2, 2)}),
    sample("logsumexp", "one column", log_sum, {uniform({3, 1}, -2, 2)}),
    sample("logsumexp", "no rows", log_sum, {uniform({0, 5}, -2, 2)}),
};

constexpr double inf = std::numeric_limits<double>::infinity();

/// The gradient of f at x for the cotangent dy.
template <class F> Tensor<double> gradient_of(F f, const Tensor<double>& x, const Tensor<double>& dy) {
    Tape<double> tape;
    const auto leaf = tape.leaf(x);
    const Tensor<double>* of[] = {&leaf};
    return tape.gradient(f(leaf), dy, of).front();
}

double total(std::span<const double> row) { return std::accumulate(row.begin(), row.end(), 0.0); }

}  // namespace

TEST_CASE("softmax: rows sum to one, from one column to many, for logits of 1e4") {
    for (const Index columns : {1, 3, 16, 17, 100, 3000}) {
        const Tensor<double> y = softmax(uniform({2, columns}, -1e4, 1e4));
        const auto n = static_cast<std::size_t>(columns);
        CHECK(total(y.values().first(n)) == Approx(1).epsilon(1e-12));
        CHECK(total(y.values().last(n)) == Approx(1).epsilon(1e-12));
    }
}

TEST_CASE("softmax: is e^x over its sum") {
    const auto x = uniform({19}, -3, 3);
    double sum = 0;
    for (const double v : x.values()) sum += std::exp(v);
    const Tensor<double> y = softmax(x);
    for (std::size_t i = 0; i < 19; ++i) CHECK(y.values()[i] == Approx(std::exp(x.values()[i]) / sum).epsilon(1e-12));
}

TEST_CASE("softmax: a row of minus infinity gives zeros, and gradient zero") {
    const Tensor<double> x({2, 3}, {-inf, -inf, -inf, 0, -inf, 0});
    const Tensor<double> y = softmax(x);
    const std::vector<double> expected{0, 0, 0, 0.5, 0, 0.5};
    for (std::size_t i = 0; i < 6; ++i) CHECK(y.values()[i] == expected[i]);
    const Tensor<double> dx = gradient_of([](auto& in) { return softmax(in); }, x, uniform({2, 3}, -1, 1));
    for (const std::size_t i : {0u, 1u, 2u, 4u}) CHECK(dx.values()[i] == 0);
}

TEST_CASE("softmax, log_softmax, logsumexp: a NaN shows in its row, and only there") {
    for (const std::size_t position : {0u, 5u, 16u, 18u}) {
        std::vector<double> values(38, 1.0);
        values[position] = std::nan("");
        const Tensor<double> x({2, 19}, values);
        for (const Tensor<double>& y : {softmax(x), log_softmax(x)}) {
            CHECK(std::isnan(y.values()[3]));
            CHECK(std::isfinite(y.values()[20]));
        }
        CHECK(std::isnan(logsumexp(x).values()[0]));
        CHECK(std::isfinite(logsumexp(x).values()[1]));
    }
}

TEST_CASE("logsumexp: of minus infinity is minus infinity with gradient zero, and large logits do not overflow") {
    const Tensor<double> x({3, 2}, {-inf, -inf, 1e4, 1e4, -inf, 7});
    const Tensor<double> y = logsumexp(x);
    CHECK(y.shape() == Shape{3});
    CHECK(y.values()[0] == -inf);
    CHECK(y.values()[1] == Approx(1e4 + std::log(2)));
    CHECK(y.values()[2] == 7);
    const Tensor<double> dx = gradient_of([](auto& in) { return logsumexp(in); }, x, Tensor<double>({3}, {1, 2, 3}));
    const std::vector<double> expected{0, 0, 1, 1, 0, 3};
    for (std::size_t i = 0; i < 6; ++i) CHECK(dx.values()[i] == Approx(expected[i]).margin(1e-12));
}

TEST_CASE("logsumexp: of nothing is minus infinity") {
    CHECK(logsumexp(Tensor<double>::zeros({2, 0})).values()[1] == -inf);
}

TEST_CASE("log_softmax: is the logarithm of softmax") {
    const auto x = uniform({3, 21}, -5, 5);
    const Tensor<double> y = log_softmax(x), p = softmax(x);
    for (std::size_t i = 0; i < 63; ++i) CHECK(y.values()[i] == Approx(std::log(p.values()[i])).epsilon(1e-12));
    CHECK(log_softmax(Tensor<double>({2}, {-inf, -inf})).values()[0] == -inf);
}

TEST_CASE("softmax: a scalar has no rows") {
    const Tensor<float> x(1.0f);
    CHECK_THROWS_WITH(softmax(x), StartsWith("softmax: a scalar has no rows: x is []"));
    CHECK_THROWS_WITH(log_softmax(x), StartsWith("log_softmax: a scalar has no rows: x is []"));
    CHECK_THROWS_WITH(logsumexp(x), StartsWith("logsumexp: a scalar has no rows: x is []"));
}

}  // namespace test_softmax
