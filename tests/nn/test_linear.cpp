#include <xtape/nn/linear.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/tests/catch.hpp>

namespace test_linear {

using namespace xtape;

TEST_CASE("linear: y = x W + b, whichever way the weight lies") {
    const bool out_in = GENERATE(false, true);
    nn::Rng rng(1);
    nn::Linear<double> linear(3, 2, rng, {.out_in = out_in});
    linear.bias->write()[1] = 0.5;
    CHECK(linear.weight.shape() == (out_in ? Shape{2, 3} : Shape{3, 2}));
    const Tensor<double> x({4, 3}, std::vector<double>{1, 2, 3, 0, 1, 0, -1, 0, 2, 0.5, 0.5, 0.5});
    const Tensor<double> y = linear(x);
    for (std::size_t row = 0; row < 4; ++row)
        for (std::size_t j = 0; j < 2; ++j) {
            double expected = linear.bias->values()[j];
            for (std::size_t k = 0; k < 3; ++k)
                expected += x.values()[row * 3 + k] * linear.weight.values()[out_in ? j * 3 + k : k * 2 + j];
            CHECK(y.values()[row * 2 + j] == Approx(expected));
        }
}

TEST_CASE("linear: without a bias it has one parameter") {
    nn::Rng rng(1);
    nn::Linear<float> linear(3, 2, rng, {.bias = false, .stddev = 0});
    CHECK(nn::parameters(linear).size() == 1);
    CHECK(linear(Tensor<float>::full({1, 3}, 1)).values()[0] == 0);
    CHECK_THROWS_WITH(linear(Tensor<float>::full({1, 2}, 1)), Catch::Matchers::StartsWith("linear: inner dimensions"));
}

TEST_CASE("linear: the initial weights have a deviation of 1/sqrt(in), the bias is 0") {
    nn::Rng rng(1);
    const nn::Linear<double> linear(100, 50, rng);
    double squares = 0;
    for (const double w : linear.weight.values()) squares += w * w;
    CHECK(squares / 5000 == Approx(0.01).epsilon(0.1));
    CHECK(linear.bias->values()[49] == 0);
}

TEST_CASE("embedding: rows at ids") {
    nn::Rng rng(1);
    const nn::Embedding<float> embedding(5, 2, rng);
    const Tensor<float> rows = embedding(indices({4, 0}));
    CHECK(rows.shape() == Shape{2, 2});
    CHECK(rows.values()[1] == embedding.weight.values()[9]);
    CHECK(rows.values()[2] == embedding.weight.values()[0]);
}

}  // namespace test_linear
