#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <functional>

namespace test_matmul {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

/// matmul of two inputs with the given options; linear of three.
auto product(MatmulOptions options) {
    return [options](auto in) { return matmul(in[0], in[1], options); };
}
auto affine(MatmulOptions options) {
    return [options](auto in) { return linear(in[0], in[1], in[2], options); };
}
Sample product_sample(const std::string& label, const Shape& a, const Shape& b, MatmulOptions options = {}) {
    return sample("matmul", label, product(options), {uniform(a, -1, 1, 1), uniform(b, -1, 1, 2)});
}
Sample affine_sample(const std::string& label, const Shape& x, const Shape& weight, Index n,
                     MatmulOptions options = {}) {
    return sample("linear", label, affine(options),
                  {uniform(x, -1, 1, 1), uniform(weight, -1, 1, 2), uniform({n}, -1, 1, 3)});
}
Sample unbiased_sample(const std::string& label, const Shape& x, const Shape& weight, MatmulOptions options) {
    const auto unbiased = [=](auto in) { return linear(in[0], in[1], {}, options); };
    return sample("linear", label, unbiased, {uniform(x, -1, 1, 1), uniform(weight, -1, 1, 2)});
}

const Samples samples{
    product_sample("8x16 16x27", {8, 16}, {16, 27}),
    product_sample("a transposed", {7, 5}, {7, 3}, {.transpose_a = true}),
    product_sample("b transposed", {5, 7}, {3, 7}, {.transpose_b = true}),
    product_sample("both transposed", {7, 5}, {3, 7}, {.transpose_a = true, .transpose_b = true}),
    product_sample("1x1", {1, 1}, {1, 1}),
    product_sample("inner extent 0", {3, 0}, {0, 4}),
    product_sample("no rows", {0, 3}, {3, 4}),
    product_sample("no columns", {2, 3}, {3, 0}),
    product_sample("a row", {7}, {7, 3}),
    product_sample("a row, b transposed", {7}, {3, 7}, {.transpose_b = true}),
    product_sample("stacked", {2, 5, 7}, {2, 7, 3}),
    product_sample("stacked, a transposed", {2, 7, 5}, {2, 7, 3}, {.transpose_a = true}),
    product_sample("stacked, b transposed", {2, 5, 7}, {2, 3, 7}, {.transpose_b = true}),
    product_sample("stacked, both transposed", {2, 7, 5}, {2, 3, 7}, {.transpose_a = true, .transpose_b = true}),
    product_sample("stacked a, one b", {2, 3, 5, 7}, {7, 3}),
    product_sample("stacked a transposed, one b", {2, 7, 5}, {7, 3}, {.transpose_a = true}),
    product_sample("stacked a transposed, one b transposed", {2, 7, 5}, {3, 7},
                   {.transpose_a = true, .transpose_b = true}),
    product_sample("nothing stacked a transposed, one b", {0, 7, 5}, {7, 3}, {.transpose_a = true}),
    product_sample("one a, stacked b", {5, 7}, {2, 7, 3}),
    product_sample("broadcast both ways", {2, 1, 5, 7}, {3, 7, 2}),
    affine_sample("3x5 5x4", {3, 5}, {5, 4}, 4),
    affine_sample("weight transposed", {3, 5}, {4, 5}, 4, {.transpose_b = true}),
    affine_sample("x transposed", {5, 3}, {5, 4}, 4, {.transpose_a = true}),
    affine_sample("stacked", {2, 3, 5}, {5, 4}, 4),
    affine_sample("a row", {5}, {5, 4}, 4),
    affine_sample("no rows", {0, 5}, {5, 4}, 4),
    affine_sample("inner extent 0", {3, 0}, {0, 4}, 4),
    affine_sample("x like the weight", {4, 4}, {4, 4}, 4),
    affine_sample("x like the bias", {4}, {4, 4}, 4),
    product_sample("relu", {8, 16}, {16, 27}, {.relu = true}),
    product_sample("relu, a like b", {4, 4}, {4, 4}, {.relu = true}),
    product_sample("relu, broadcast both ways", {2, 1, 5, 7}, {3, 7, 2}, {.relu = true}),
    product_sample("relu, inner extent 0", {3, 0}, {0, 4}, {.relu = true}),
    affine_sample("relu", {3, 5}, {5, 17}, 17, {.relu = true}),
    affine_sample("relu, weight transposed", {3, 5}, {4, 5}, 4, {.transpose_b = true, .relu = true}),
    affine_sample("relu, x transposed", {5, 3}, {5, 4}, 4, {.transpose_a = true, .relu = true}),
    affine_sample("relu, stacked", {2, 3, 5}, {5, 4}, 4, {.relu = true}),
    affine_sample("relu, a row", {5}, {5, 4}, 4, {.relu = true}),
    affine_sample("relu, no rows", {0, 5}, {5, 4}, 4, {.relu = true}),
    affine_sample("relu, x like the weight", {4, 4}, {4, 4}, 4, {.relu = true}),
    affine_sample("relu, x like the bias", {4}, {4, 4}, 4, {.relu = true}),
    unbiased_sample("no bias", {3, 5}, {5, 4}, {}),
    unbiased_sample("no bias, weight transposed", {3, 5}, {4, 5}, {.transpose_b = true}),
    unbiased_sample("no bias, relu", {3, 5}, {5, 4}, {.relu = true}),
};

/// op(a) op(b) with plain loops, for matrices.
std::vector<double> plain_product(const Tensor<double>& a, const Tensor<double>& b, MatmulOptions options) {
    const bool ta = options.transpose_a, tb = options.transpose_b;
    const Index m = a.shape()[ta ? 1 : 0], k = a.shape()[ta ? 0 : 1], n = b.shape()[tb ? 0 : 1];
    std::vector<double> y;
    for (Index i = 0; i < m; ++i) {
        for (Index j = 0; j < n; ++j) {
            double sum = 0;
            for (Index p = 0; p < k; ++p)
                sum += a.data()[ta ? p * m + i : i * k + p] * b.data()[tb ? j * k + p : p * n + j];
            y.push_back(sum);
        }
    }
    return y;
}

void check_near(const Tensor<double>& y, std::span<const double> expected) {
    REQUIRE(y.size() == static_cast<Index>(expected.size()));
    for (std::size_t i = 0; i < expected.size(); ++i) CHECK(y.values()[i] == Approx(expected[i]).margin(1e-13));
}

}  // namespace

TEST_CASE("matmul: agrees with plain loops in all four transpositions") {
    for (const bool ta : {false, true}) {
        for (const bool tb : {false, true}) {
            const auto a = uniform(ta ? Shape{9, 6} : Shape{6, 9}, -1, 1, 1);
            const auto b = uniform(tb ? Shape{17, 9} : Shape{9, 17}, -1, 1, 2);
            const Tensor<double> y = matmul(a, b, {ta, tb});
            CHECK(y.shape() == Shape{6, 17});
            check_near(y, plain_product(a, b, {ta, tb}));
        }
    }
}

TEST_CASE("matmul: a stack is the product of each pair") {
    const auto a = uniform({2, 3, 4}, -1, 1, 1), b = uniform({2, 4, 5}, -1, 1, 2);
    const Tensor<double> y = matmul(a, b);
    REQUIRE(y.shape() == Shape{2, 3, 5});
    for (Index i = 0; i < 2; ++i) {
        const Tensor<double> ai({3, 4}, a.values().subspan(static_cast<std::size_t>(i * 12), 12));
        const Tensor<double> bi({4, 5}, b.values().subspan(static_cast<std::size_t>(i * 20), 20));
        const auto expected = plain_product(ai, bi, {});
        for (std::size_t j = 0; j < 15; ++j)
            CHECK(y.values()[static_cast<std::size_t>(i) * 15 + j] == Approx(expected[j]));
    }
}

TEST_CASE("matmul: a 2-D operand serves a stack as if repeated") {
    const auto a = uniform({2, 3, 4}, -1, 1, 1), b = uniform({4, 5}, -1, 1, 2);
    CHECK(matmul(a, b).shape() == Shape{2, 3, 5});
    check_near(matmul(a, b), matmul(a, broadcast_to(b, {2, 4, 5})).values());
    const auto stacked = uniform({2, 4, 5}, -1, 1, 3), one = uniform({3, 4}, -1, 1, 4);
    check_near(matmul(one, stacked), matmul(broadcast_to(one, {2, 3, 4}), stacked).values());
}

TEST_CASE("matmul: the product over an empty inner axis is zeros") {
    const Tensor<double> y = matmul(Tensor<double>::zeros({2, 0}), Tensor<double>::zeros({0, 3}));
    CHECK(y.shape() == Shape{2, 3});
    for (const double value : y.values()) CHECK(value == 0);
}

TEST_CASE("linear: is matmul plus the bias in every row") {
    const auto x = uniform({3, 5}, -1, 1, 1), w = uniform({5, 4}, -1, 1, 2), bias = uniform({4}, -1, 1, 3);
    check_near(linear(x, w, bias), add(matmul(x, w), bias).values());
    check_near(linear(x, w, {}), matmul(x, w).values());
}

TEMPLATE_TEST_CASE("linear: a relu in the product's pass, and its gradients, are those of relu by itself", "", float,
                   double) {
    const auto run = [](bool fused, TestType dy) {
        Tape<TestType> tape;
        std::vector<Tensor<TestType>> in;
        for (const auto& x : {uniform({33, 20}, -1, 1, 1), uniform({20, 50}, -1, 1, 2), uniform({50}, -1, 1, 3)})
            in.push_back(
                tape.leaf(Tensor<TestType>(x.shape(), std::vector<TestType>(x.values().begin(), x.values().end()))));
        const auto y = fused ? linear(in[0], in[1], in[2], {.relu = true}) : relu(linear(in[0], in[1], in[2]));
        const Tensor<TestType>* of[] = {&in[0], &in[1], &in[2]};
        auto all = tape.gradient(y, Tensor<TestType>::full(y.shape(), dy), of);
        all.push_back(y);
        return all;
    };
    const auto same = [](TestType a, TestType b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    for (const TestType dy : {TestType(0.3), std::numeric_limits<TestType>::infinity()}) {
        const auto fused = run(true, dy), composed = run(false, dy);
        for (std::size_t i = 0; i < fused.size(); ++i)
            CHECK(std::ranges::equal(fused[i].values(), composed[i].values(), same));
    }
}

TEST_CASE("linear: a relu in its pass masks the cotangent, whoever else holds that") {
    using D = Tensor<double>;
    using Loss = std::function<D(const D&)>;
    const Parameter<double> w(uniform({20, 50}, -1, 1, 2)), b(uniform({33, 50}, -1, 1, 3));
    const D x = uniform({33, 20}, -1, 1, 1), c = uniform({33, 50}, -1, 1, 4);
    const auto gradients = [&](bool fused, bool keep, const Loss& loss_of) {
        Tape<double> tape({.keep_records = keep, .recompute = true});
        const D in = tape.leaf(x);
        const D loss = loss_of(fused ? matmul(in, w, {.relu = true}) : relu(matmul(in, w)));
        std::vector<D> all = tape.gradient(loss, {in, w, b});
        if (!keep) return all;
        tape.replay();
        for (const D& again : tape.gradient(loss, {in, w, b})) all.push_back(again);
        return all;
    };
    const Loss losses[]{[&](const D& y) { return sum(y * c); },        // the cotangent is held by nobody else,
                        [&](const D& y) { return sum((y + b) * c); },  // is that of b, too,
                        [&](const D& y) {
                            return sum(reshape(y, {50, 33}) * reshape(c, {50, 33}));
                        },
                        [&](const D& y) { return sum(y * y); },
                        [&](const D& y) { return sum(rms_norm(y) * c) + sum(y); }};
    for (const Loss& loss_of : losses) {
        for (const bool keep : {false, true}) {
            const auto fused = gradients(true, keep, loss_of), composed = gradients(false, keep, loss_of);
            REQUIRE(fused.size() == composed.size());
            for (std::size_t i = 0; i < fused.size(); ++i)
                CHECK(std::ranges::equal(fused[i].values(), composed[i].values()));
        }
    }
}

TEST_CASE("linear: NaN passes through its relu") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const Tensor<double> x({2, 1}, {nan, -1}), w({1, 1}, {1});
    const Tensor<double> y = matmul(x, w, {.relu = true});
    CHECK(std::isnan(y.values()[0]));
    CHECK(y.values()[1] == 0);
}

TEST_CASE("linear: a relu in its pass spares an array in the forward, and costs none in the backward") {
    struct Peaks {
        std::int64_t forward, backward;
    };
    constexpr Index m = 512, k = 128, n = 256;
    const auto peaks = [](auto forward) {
        const Parameter<float> w(Tensor<float>::full({k, n}, 0.1f));
        const auto x = Tensor<float>::full({m, k}, 0.5f);
        const std::int64_t before = pool_statistics().bytes_in_use;
        Tape<float> tape;
        const auto in = tape.leaf(x);
        reset_pool_peak();
        const auto loss = sum(forward(in, w));
        const std::int64_t after_forward = pool_statistics().peak_bytes - before;
        reset_pool_peak();
        tape.backward(loss);
        return Peaks{after_forward, pool_statistics().peak_bytes - before};
    };
    const Peaks fused = peaks([](auto x, const auto& w) { return matmul(x, w, {.relu = true}); });
    const Peaks composed = peaks([](auto x, const auto& w) { return relu(matmul(x, w)); });
    CHECK(fused.forward < composed.forward * 2 / 3);
    CHECK(fused.backward <= composed.backward);
}

TEST_CASE("linear: with a relu, too, only what a wanted gradient reads is kept") {
    const auto kept = [](bool relu_too) {
        Tape<double> tape;
        const auto x = tanh(tape.leaf(uniform({64, 8}, -1, 1, 1)));  // read by the weight's gradient alone
        const auto y = matmul(sum(x) * x, uniform({8, 32}, -1, 1, 2), {.relu = relu_too});
        std::size_t bytes = 0;
        for (const RecordInfo& record : tape.records()) bytes += record.kept_bytes;
        return bytes;
    };
    CHECK(kept(true) == kept(false) + 64 * 32 * sizeof(double));
}

TEST_CASE("linear: the gradient of the bias is the column sums") {
    Tape<double> tape;
    const auto bias = tape.leaf(uniform({2}, -1, 1, 3));
    const auto y = linear(uniform({3, 5}, -1, 1, 1), uniform({5, 2}, -1, 1, 2), bias);
    const Tensor<double> dy({3, 2}, {1, 2, 3, 4, 5, 6});
    const Tensor<double>* of[] = {&bias};
    check_near(tape.gradient(y, dy, of).front(), std::vector<double>{9, 12});
}

TEST_CASE("matmul: errors name the operands and say what would fit") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    CHECK_THROWS_WITH(matmul(zeros({8, 16}), zeros({27, 16})),
                      StartsWith("matmul: inner dimensions differ: a is [8, 16], b is [27, 16]; did you mean matmul(a, "
                                 "transpose(b))?"));
    CHECK_THROWS_WITH(matmul(zeros({8, 16}), zeros({8, 27})),
                      StartsWith("matmul: inner dimensions differ: a is [8, 16], b is [8, 27]; did you mean "
                                 "matmul(transpose(a), b)?"));
    CHECK_THROWS_WITH(matmul(zeros({8, 16}), zeros({16, 27}), {.transpose_b = true}),
                      StartsWith("matmul: inner dimensions differ: a is [8, 16], b is [16, 27] transposed"));
    CHECK_THROWS_WITH(matmul(zeros({2, 8, 16}), zeros({3, 16, 4})),
                      StartsWith("matmul: leading axes do not broadcast: a is [2, 8, 16], b is [3, 16, 4]"));
    CHECK_THROWS_WITH(matmul(zeros({8, 16}), zeros({16})),
                      StartsWith("matmul: a matrix needs two axes: a is [8, 16], b is [16]"));
    CHECK_THROWS_AS(matmul(zeros({8, 16}), zeros({27, 16})), ShapeError);
}

TEST_CASE("linear: errors name x, weight and bias") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    CHECK_THROWS_WITH(linear(zeros({8, 16}), zeros({27, 16}), zeros({27})),
                      StartsWith("linear: inner dimensions differ: x is [8, 16], weight is [27, 16]; did you mean "
                                 "linear(x, transpose(weight), bias)?"));
    CHECK_THROWS_WITH(
        linear(zeros({8, 16}), zeros({16, 27}), zeros({16})),
        StartsWith("linear: the bias does not fit the result's columns: bias is [16], the result is [8, 27]"));
    CHECK_THROWS_WITH(linear(zeros({8, 16}), zeros({2, 16, 27}), zeros({27})),
                      StartsWith("linear: the weight must be a matrix: weight is [2, 16, 27]"));
}

TEST_CASE("linear: without a bias it goes by its own name, in errors and on the tape, and takes one record") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    CHECK_THROWS_WITH(linear(zeros({8, 16}), zeros({27, 16})),
                      StartsWith("linear: inner dimensions differ: x is [8, 16], weight is [27, 16]; did you mean "
                                 "linear(x, transpose(weight))?"));
    CHECK_THROWS_WITH(linear(zeros({2, 8, 16}), zeros({2, 16, 27})),
                      StartsWith("linear: the weight must be a matrix: weight is [2, 16, 27]"));
    for (const bool relu : {false, true}) {
        Tape<float> tape;
        linear(tape.leaf(zeros({8, 16})), zeros({16, 27}), {}, {.relu = relu});
        REQUIRE(tape.records().size() == 1);
        CHECK(tape.records().front().op == (relu ? "linear_relu" : "linear"));
    }
}

}  // namespace test_matmul
