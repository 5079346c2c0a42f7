#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/fuse.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_fuse {

namespace {

using namespace xtape;
using Catch::Matchers::StartsWith;
using laws::uniform;
using laws::uniform_off;

constexpr double infinity = std::numeric_limits<double>::infinity();

/// One function twice: fused, and composed of ops.
struct Pair {
    const char* name;
    check::TensorFunction<double> fused, composed;
    std::vector<Tensor<double>> inputs;
};

const std::vector<Pair> pairs{
    {"gated silu",
     [](auto in) { return fuse([](auto x, auto y) { return x / (1 + exp(-x)) * y; }, in[0], in[1]); },
     [](auto in) { return silu(in[0]) * in[1]; },
     {uniform({3, 37}, -3, 3), uniform({3, 37}, -1, 1, 2)}},
    {"one operand",
     [](auto in) { return fuse([](auto x) { return tanh(x) * tanh(x) + 3 * x - 1; }, in[0]); },
     [](auto in) { return tanh(in[0]) * tanh(in[0]) + 3 * in[0] - 1; },
     {uniform({2, 3, 9}, -2, 2)}},
    {"a row and a column",
     [](auto in) { return fuse([](auto x, auto g, auto b) { return x * g + sigmoid(b) * g; }, in[0], in[1], in[2]); },
     [](auto in) { return in[0] * in[1] + sigmoid(in[2]) * in[1]; },
     {uniform({4, 19}, -1, 1), uniform({19}, -1, 1, 2), uniform({4, 1}, -1, 1, 3)}},
    {"nothing of full size",
     [](auto in) { return fuse([](auto x, auto y) { return x / y; }, in[0], in[1]); },
     [](auto in) { return in[0] / in[1]; },
     {uniform({5, 1}, -1, 1), uniform({1, 6}, 1, 2, 2)}},
    {"the same tensor for every operand, used before and after",
     [](auto in) { return in[0] * fuse([](auto x, auto y) { return x * x * y; }, in[0], in[0]) + 2 * in[0]; },
     [](auto in) { return in[0] * (in[0] * in[0] * in[0]) + 2 * in[0]; },
     {uniform({3, 29}, -1, 1)}},
    {"kinks",
     [](auto in) { return fuse([](auto x, auto y) { return max(x, y) - min(2 * x, 0.5) + abs(y); }, in[0], in[1]); },
     [](auto in) {
         const Tensor<double> half(0.5);
         return maximum(in[0], in[1]) - minimum(2 * in[0], half) + abs(in[1]);
     },
     {uniform_off({40}, -1, 1, {0.25}), uniform_off({40}, -1, 1, {0}, 0.05, 2)}},
    {"powers and roots",
     [](auto in) { return fuse([](auto x) { return pow(x, 3) / sqrt(x) + log(x) * pow(x, -0.3); }, in[0]); },
     [](auto in) { return pow(in[0], 3) / sqrt(in[0]) + log(in[0]) * pow(in[0], -0.3); },
     {uniform({23}, 0.5, 2)}},
    {"an operand that is not used",
     [](auto in) { return fuse([](auto x, auto) { return -x; }, in[0], in[1]); },
     [](auto in) { return -in[0] + 0 * in[1]; },
     {uniform({7}, -1, 1), uniform({7}, -1, 1, 2)}},
    {"more than one tile",
     [](auto in) { return fuse([](auto x, auto y) { return exp(x) * y; }, in[0], in[1]); },
     [](auto in) { return exp(in[0]) * in[1]; },
     {uniform({250, 301}, -1, 1), uniform({301}, -1, 1, 2)}},
};

}  // namespace

TEST_CASE("fuse: value and gradients are those of the composition") {
    for (const Pair& pair : pairs) {
        INFO(pair.name);
        CHECK(check::same_gradient(pair.fused, pair.composed, pair.inputs, 1e-12));
    }
}

TEST_CASE("fuse: the gradient is what finite differences say") {
    for (const Pair& pair : pairs) {
        if (pair.inputs[0].size() > 1000) continue;
        INFO(pair.name);
        const GradReport report = check::gradcheck(pair.fused, pair.inputs, {.tolerance = 1e-7});
        INFO(report);
        CHECK(report);
    }
}

TEST_CASE("fuse: of nothing is nothing, and the gradient of what was broadcast to it is zero") {
    for (const auto& [none, some] : {std::pair(Shape{0, 3}, Shape{3}), std::pair(Shape{5, 0}, Shape{5, 1})}) {
        Tape<double> tape;
        const auto x = tape.leaf(Tensor<double>::zeros(none)), y = tape.leaf(uniform(some, -1, 1));
        const auto z = fuse([](auto a, auto b) { return a * b; }, x, y);
        REQUIRE(z.shape() == none);
        const Tensor<double>* of[] = {&x, &y};
        const auto g = tape.gradient(z, z, of);
        CHECK(g[0].shape() == none);
        for (const double v : g[1].values()) CHECK(v == 0);
    }
}

TEST_CASE("fuse: one tensor passed twice gets both gradients") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>({2}, {3, 5}));
    const auto y = fuse([](auto a, auto b) { return a * a * b; }, x, x);
    const auto g = tape.gradient(sum(y), {x})[0];
    CHECK(g.values()[0] == Approx(27));
    CHECK(g.values()[1] == Approx(75));
}

TEST_CASE("fuse: gradients are added to what a Parameter has") {
    Parameter<float> w(Tensor<float>({3}, {1, 2, 3}));
    for (int pass = 1; pass <= 2; ++pass) {
        Tape<float> tape;
        tape.backward(sum(fuse([](auto a, auto b) { return a * b; }, w, Tensor<float>::full({3}, 4))));
        const auto grad = w.grad();
        for (const float v : grad.values()) CHECK(v == static_cast<float>(4 * pass));
    }
}

TEST_CASE("fuse: an infinite derivative by one operand makes no NaN of another's") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>({1}, {0})), y = tape.leaf(Tensor<double>({1}, {2}));
    const auto z = fuse([](auto a, auto b) { return sqrt(a) + 3 * b; }, x, y);
    const Tensor<double>* of[] = {&x, &y};
    const auto g = tape.gradient(z, Tensor<double>::full({1}, 1), of);
    CHECK(g[0].values()[0] == infinity);
    CHECK(g[1].values()[0] == 3);
}

TEMPLATE_TEST_CASE("fuse: sigmoid has a finite derivative everywhere, max and min pass NaN", "", float, double) {
    Tape<TestType> tape;
    const auto x = tape.leaf(Tensor<TestType>({2}, {-1000, 1000}));
    const auto y = fuse([](auto a) { return a * sigmoid(a); }, x);
    const auto g = tape.gradient(sum(y), {x})[0];
    CHECK(g.values()[0] == Approx(0).margin(1e-12));
    CHECK(g.values()[1] == Approx(1));
    const auto nan = Tensor<TestType>(std::numeric_limits<TestType>::quiet_NaN());
    CHECK(std::isnan(fuse([](auto a) { return max(a, 1); }, nan).item()));
    CHECK(std::isnan(fuse([](auto a) { return min(1, a); }, nan).item()));
}

TEST_CASE("fuse: what the lambda captured is kept for the backward") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>({2}, {1, 2}));
    Tensor<double> y;
    {
        const double c = 7;
        y = fuse([c](auto a) { return c * a; }, x);
    }
    const auto g = tape.gradient(sum(y), {x})[0];
    for (const double v : g.values()) CHECK(v == 7);
}

TEST_CASE("fuse: shapes that do not broadcast are an error") {
    const Tensor<float> a = Tensor<float>::zeros({2, 3}), b = Tensor<float>::zeros({2, 4});
    CHECK_THROWS_WITH(fuse([](auto x, auto y) { return x + y; }, a, b),
                      StartsWith("fuse: shapes do not broadcast at axis 1 (3 against 4): a is [2, 3], b is [2, 4]"));
}

TEST_CASE("dual: arithmetic on plain numbers, by hand") {
    const Dual<double, 1> x{3, {1}};
    const Dual<double, 2> y{2, {1}};
    const auto z = x * x / y - exp(y) + max(x, y) * min(x, 1);
    CHECK(z.value == Approx(4.5 - std::exp(2.0) + 3));
    CHECK(z.partial<0>() == Approx(3 + 1));
    CHECK(z.partial<1>() == Approx(-2.25 - std::exp(2.0)));
    CHECK(z.partial<2>() == 0);
    const auto tie = max(x, 3);
    CHECK(tie.partial<0>() == 0.5);
    CHECK(abs(Dual<double, 1>{0, {1}}).partial<0>() == 0);
}

}  // namespace test_fuse
