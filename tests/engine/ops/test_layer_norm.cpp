#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_layer_norm {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

constexpr auto plain = [](auto in) { return layer_norm(in[0]); };
constexpr auto weighted = [](auto in) { return layer_norm(in[0], in[1], in[2]); };

std::vector<Tensor<double>> inputs(const Shape& x) {
    const Shape row{x.columns()};
    return {uniform(x, -1, 1), uniform(row, 0.5, 2, 2), uniform(row, -1, 1, 3)};
}

const Samples samples{
    sample("layer_norm", "8x16", plain, {uniform({8, 16}, -1, 1)}),
    sample("layer_norm", "2x3x7", plain, {uniform({2, 3, 7}, -1, 1)}),
    sample("layer_norm", "no rows", plain, {uniform({0, 5}, -1, 1)}),
    sample("layer_norm", "another eps", [](auto in) { return layer_norm(in[0], 0.5); }, {uniform({3, 33}, -1, 1)}),
    sample("layer_norm", "weight, 8x16", weighted, inputs({8, 16})),
    sample("layer_norm", "weight, 2x3x37", weighted, inputs({2, 3, 37})),
    sample("layer_norm", "weight, a vector", weighted, inputs({5})),
    sample("layer_norm", "weight, two columns", weighted, inputs({3, 2})),
    sample("layer_norm", "weight, long row", weighted, inputs({2, 1500})),
    sample("layer_norm", "weight, no rows", weighted, inputs({0, 5})),
};

/// Mean and 1 / √(variance + eps) of a row.
std::pair<double, double> statistics(std::span<const double> x, double eps) {
    double mean = 0, squares = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) squares += (v - mean) * (v - mean) / static_cast<double>(x.size());
    return {mean, 1 / std::sqrt(squares + eps)};
}

}  // namespace

TEST_CASE("layer_norm: rows come out with mean zero and variance one") {
    const Tensor<double> y = layer_norm(uniform({3, 50}, 90, 100), 0);
    for (std::size_t row = 0; row < 3; ++row) {
        const auto [mean, rstd] = statistics(y.values().subspan(row * 50, 50), 0);
        CHECK(std::abs(mean) < 1e-13);
        CHECK(rstd == Approx(1).epsilon(1e-12));
    }
}

TEST_CASE("layer_norm: differences from the mean over the root of the variance and eps, times weight plus bias") {
    const auto in = inputs({3, 37});
    const Tensor<double> y = layer_norm(in[0], in[1], in[2], 0.1);
    for (std::size_t row = 0; row < 3; ++row) {
        const auto x = in[0].values().subspan(row * 37, 37);
        const auto [mean, rstd] = statistics(x, 0.1);
        for (std::size_t i = 0; i < 37; ++i)
            CHECK(y.values()[row * 37 + i] ==
                  Approx((x[i] - mean) * rstd * in[1].values()[i] + in[2].values()[i]).margin(1e-14));
    }
}

TEST_CASE("layer_norm: the gradients are those derived by hand") {
    const auto in = inputs({4, 19});
    const double eps = 0.1;
    Tape<double> tape;
    const auto x = tape.leaf(in[0]), weight = tape.leaf(in[1]), bias = tape.leaf(in[2]);
    const auto y = layer_norm(x, weight, bias, eps);
    const auto cotangent = uniform({4, 19}, -1, 1, 5);
    const Tensor<double>* of[] = {&x, &weight, &bias};
    const auto gradients = tape.gradient(y, cotangent, of);
    std::vector<double> dw(19), db(19);
    for (std::size_t row = 0; row < 4; ++row) {
        const auto v = in[0].values().subspan(row * 19, 19), dy = cotangent.values().subspan(row * 19, 19);
        const auto [mean, rstd] = statistics(v, eps);
        double sum = 0, products = 0;
        for (std::size_t i = 0; i < 19; ++i) {
            const double normed = (v[i] - mean) * rstd;
            sum += dy[i] * in[1].values()[i];
            products += dy[i] * in[1].values()[i] * normed;
            dw[i] += dy[i] * normed;
            db[i] += dy[i];
        }
        for (std::size_t i = 0; i < 19; ++i) {
            const double normed = (v[i] - mean) * rstd;
            const double dx = rstd / 19 * (19 * dy[i] * in[1].values()[i] - sum - normed * products);
            CHECK(gradients[0].values()[row * 19 + i] == Approx(dx).margin(1e-13));
        }
    }
    for (std::size_t i = 0; i < 19; ++i) {
        CHECK(gradients[1].values()[i] == Approx(dw[i]).margin(1e-13));
        CHECK(gradients[2].values()[i] == Approx(db[i]).margin(1e-13));
    }
}

TEST_CASE("layer_norm: a large common offset costs no more than its own rounding") {
    const auto small = uniform({1, 64}, -1, 1);
    std::vector<float> shifted(small.values().begin(), small.values().end());
    for (float& v : shifted) v = std::round(v * 64) / 64 + 4096;  // exact in float
    std::vector<double> exact(shifted.begin(), shifted.end());
    const Tensor<float> y = layer_norm(Tensor<float>({1, 64}, shifted));
    const Tensor<double> expected = layer_norm(Tensor<double>({1, 64}, exact));
    for (std::size_t i = 0; i < 64; ++i) CHECK(y.values()[i] == Approx(expected.values()[i]).margin(1e-3));
}

TEST_CASE("layer_norm: a constant row gives the bias, and a finite gradient") {
    Tape<float> tape;
    const auto x = tape.leaf(Tensor<float>::full({1, 16}, 3));
    const auto y = layer_norm(x, Tensor<float>::full({16}, 2), Tensor<float>::full({16}, 7));
    for (const float v : y.values()) CHECK(v == 7);
    const Tensor<float>* of[] = {&x};
    const Tensor<float> dx = tape.gradient(y, Tensor<float>::full({1, 16}, 1), of).front();
    for (const float v : dx.values()) CHECK(std::isfinite(v));
}

TEST_CASE("layer_norm: errors") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    const auto x = zeros({8, 16});
    CHECK_THROWS_WITH(layer_norm(x, zeros({27}), zeros({16})),
                      StartsWith("layer_norm: the weight does not fit the rows: x is [8, 16], weight is [27]"));
    CHECK_THROWS_WITH(layer_norm(x, zeros({16}), zeros({1, 16})),
                      StartsWith("layer_norm: the bias does not fit the rows: x is [8, 16], bias is [1, 16]"));
    CHECK_THROWS_WITH(layer_norm(zeros({8, 0})), StartsWith("layer_norm: the mean of an empty row: x is [8, 0]"));
    CHECK_THROWS_WITH(layer_norm(x, -1.0), StartsWith("layer_norm: eps must not be negative: eps is -1"));
}

}  // namespace test_layer_norm
