#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_norm {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

constexpr auto plain = [](auto in) { return rms_norm(in[0]); };
constexpr auto weighted = [](auto in) { return rms_norm(in[0], in[1]); };

const Samples samples{
    sample("rms_norm", "8x16", plain, {uniform({8, 16}, -1, 1)}),
    sample("rms_norm", "2x3x7", plain, {uniform({2, 3, 7}, -1, 1)}),
    sample("rms_norm", "one column", plain, {uniform({3, 1}, 0.5, 1)}),
    sample("rms_norm", "no rows", plain, {uniform({0, 5}, -1, 1)}),
    sample("rms_norm", "another eps", [](auto in) { return rms_norm(in[0], 0.5); }, {uniform({3, 33}, -1, 1)}),
    sample("rms_norm", "weight, 8x16", weighted, {uniform({8, 16}, -1, 1), uniform({16}, 0.5, 2, 2)}),
    sample("rms_norm", "weight, 2x3x37", weighted, {uniform({2, 3, 37}, -1, 1), uniform({37}, 0.5, 2, 2)}),
    sample("rms_norm", "weight, a vector", weighted, {uniform({5}, -1, 1), uniform({5}, 0.5, 2, 2)}),
    sample("rms_norm", "weight, long row", weighted, {uniform({2, 1500}, -1, 1), uniform({1500}, 0.5, 2, 2)}),
    sample("rms_norm", "weight, no rows", weighted, {uniform({0, 5}, -1, 1), uniform({5}, 0.5, 2, 2)}),
};

}  // namespace

TEST_CASE("rms_norm: rows come out with mean square one") {
    const Tensor<double> y = rms_norm(uniform({3, 50}, -100, 100), 0);
    for (std::size_t row = 0; row < 3; ++row) {
        double squares = 0;
        for (const double v : y.values().subspan(row * 50, 50)) squares += v * v;
        CHECK(squares / 50 == Approx(1).epsilon(1e-12));
    }
}

TEST_CASE("rms_norm: x over the root of its mean square and eps, times the weight") {
    const Tensor<double> x({2}, {3, 4}), weight({2}, {1, -2});
    const double rms = std::sqrt(12.5 + 0.5);
    const Tensor<double> y = rms_norm(x, weight, 0.5);
    CHECK(y.values()[0] == Approx(3 / rms));
    CHECK(y.values()[1] == Approx(-8 / rms));
}

TEST_CASE("rms_norm: a row of zeros stays one, and its gradient is finite") {
    Tape<float> tape;
    const auto x = tape.leaf(Tensor<float>::zeros({1, 16}));
    const auto y = rms_norm(x);
    for (const float v : y.values()) CHECK(v == 0);
    const Tensor<float>* of[] = {&x};
    const Tensor<float> dx = tape.gradient(y, Tensor<float>::full({1, 16}, 1), of).front();
    for (const float v : dx.values()) CHECK(v == Approx(1 / std::sqrt(1e-5)));
}

TEST_CASE("rms_norm: the gradient is orthogonal to the row when eps is zero") {
    Tape<double> tape;
    const auto x = tape.leaf(uniform({1, 29}, -1, 1));
    const auto y = rms_norm(x, 0);
    const Tensor<double>* of[] = {&x};
    const auto dx = tape.gradient(y, uniform({1, 29}, -1, 1, 5), of).front();
    double product = 0;
    for (std::size_t i = 0; i < 29; ++i) product += dx.values()[i] * x.values()[i];
    CHECK(std::abs(product) < 1e-13);
}

TEST_CASE("rms_norm: errors") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    CHECK_THROWS_WITH(rms_norm(zeros({8, 16}), zeros({27})),
                      StartsWith("rms_norm: the weight does not fit the rows: x is [8, 16], weight is [27]"));
    CHECK_THROWS_WITH(rms_norm(zeros({8, 0})), StartsWith("rms_norm: the mean of an empty row: x is [8, 0]"));
    CHECK_THROWS_WITH(rms_norm(zeros({})), StartsWith("rms_norm: the mean of an empty row: x is []"));
    CHECK_THROWS_WITH(rms_norm(zeros({8, 16}), -1.0), StartsWith("rms_norm: eps must not be negative: eps is -1"));
}

}  // namespace test_norm
