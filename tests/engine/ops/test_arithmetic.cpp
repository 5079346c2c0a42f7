#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_arithmetic {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// a where a fixed condition is not 0, else b.
constexpr auto choose = [](auto in) {
    using T = typename std::remove_cvref_t<decltype(in[0])>::Scalar;
    return where(Tensor<T>({2, 1, 3}, {1, 0, -2, 0, 0, 1}), in[0], in[1]);
};
constexpr auto plus = [](auto in) { return add(in[0], in[1]); };
constexpr auto minus = [](auto in) { return sub(in[0], in[1]); };
constexpr auto times = [](auto in) { return mul(in[0], in[1]); };
constexpr auto over = [](auto in) { return div(in[0], in[1]); };
constexpr auto larger = [](auto in) { return maximum(in[0], in[1]); };
constexpr auto smaller = [](auto in) { return minimum(in[0], in[1]); };

const Samples samples{
    sample("add", "same shape", plus, {uniform({3, 5}, -1, 1), uniform({3, 5}, -1, 1, 2)}),
    sample("add", "row", plus, {uniform({3, 5}, -1, 1), uniform({5}, -1, 1, 2)}),
    sample("add", "both broadcast", plus, {uniform({4, 1, 3}, -1, 1), uniform({2, 1}, -1, 1, 2)}),
    sample("add", "scalar", plus, {uniform({}, -1, 1), uniform({7, 40}, -1, 1, 2)}),
    sample("add", "equal sizes", plus, {uniform({1, 3}, -1, 1), uniform({3}, -1, 1, 2)}),
    sample("add", "nothing", plus, {uniform({0, 5}, -1, 1), uniform({1}, -1, 1, 2)}),
    sample("add", "itself", [](auto in) { return in[0] + in[0]; }, {uniform({2, 9}, -1, 1)}),
    sample("add", "large, row", plus, {uniform({300, 200}, -1, 1), uniform({200}, -1, 1, 2)}),
    sample("sub", "same shape", minus, {uniform({17}, -1, 1), uniform({17}, -1, 1, 2)}),
    sample("sub", "column", minus, {uniform({3, 1}, -1, 1), uniform({3, 20}, -1, 1, 2)}),
    sample("sub", "nothing", minus, {uniform({0}, -1, 1), uniform({0}, -1, 1, 2)}),
    sample("mul", "same shape", times, {uniform({3, 5}, -1, 1), uniform({3, 5}, -1, 1, 2)}),
    sample("mul", "row", times, {uniform({2, 3, 33}, -1, 1), uniform({33}, -1, 1, 2)}),
    sample("mul", "middle axis", times, {uniform({2, 1, 5}, -1, 1), uniform({2, 4, 5}, -1, 1, 2)}),
    sample("mul", "outer", times, {uniform({4, 1}, -1, 1), uniform({1, 6}, -1, 1, 2)}),
    sample("mul", "alternating", times, {uniform({2, 1, 3, 1, 2}, -1, 1), uniform({2, 3, 1, 4, 1}, -1, 1, 2)}),
    sample("mul", "scalar", times, {uniform({5, 7}, -1, 1), uniform({}, -1, 1, 2)}),
    sample("mul", "nothing", times, {uniform({3, 0}, -1, 1), uniform({3, 1}, -1, 1, 2)}),
    sample("mul", "itself", [](auto in) { return in[0] * in[0]; }, {uniform({19}, -1, 1)}),
    sample("mul", "large, row", times, {uniform({301, 170}, -1, 1), uniform({170}, -1, 1, 2)}),
    sample("mul", "large, same shape", times, {uniform({60000}, -1, 1), uniform({60000}, -1, 1, 2)}),
    sample("div", "same shape", over, {uniform({3, 5}, -1, 1), uniform({3, 5}, 0.5, 2, 2)}),
    sample("div", "row", over, {uniform({3, 18}, -1, 1), uniform({18}, 0.5, 2, 2)}),
    sample("div", "column over", over, {uniform({18}, -1, 1), uniform({3, 1}, -2, -0.5, 2)}),
    sample("maximum", "same shape", larger, {uniform({5, 7}, -1, 0), uniform({5, 7}, 0.1, 1, 2)}),
    sample("maximum", "a scalar", larger, {uniform_off({5, 7}, -1, 1, {0}), Tensor<double>(0.0)}),
    sample("minimum", "same shape", smaller, {uniform({5, 7}, -1, 0), uniform({5, 7}, 0.1, 1, 2)}),
    sample("minimum", "a row", smaller, {uniform({5, 7}, 1, 2), uniform({7}, -1, 0.9, 2)}),
    sample("where", "broadcast", choose, {uniform({2, 4, 3}, -1, 1), uniform({4, 1}, -1, 1, 2)}),
    sample("where", "all chosen", [](auto in) { return where(in[0], in[1], in[2]); },
           {uniform({2, 3}, 1, 2), uniform({2, 3}, -1, 1, 2), uniform({3}, -1, 1, 3)}),
    sample(
        "scale", "3x5", [](auto in) { return scale(in[0], -2.5f); }, {uniform({3, 5}, -1, 1)}, true),
    sample(
        "scale", "nothing", [](auto in) { return 2 * in[0]; }, {uniform({0}, -1, 1)}, true),
    sample(
        "scale", "over", [](auto in) { return in[0] / 4; }, {uniform({1}, -1, 1)}, true),
    sample("offset", "3x5", [](auto in) { return offset(in[0], 1.5f); }, {uniform({3, 5}, -1, 1)}),
    sample("offset", "from", [](auto in) { return 1 - in[0]; }, {uniform({3, 5}, -1, 1)}),
    sample(
        "neg", "3x5", [](auto in) { return neg(in[0]); }, {uniform({3, 5}, -1, 1)}, true),
    sample("reciprocal", "3x5", [](auto in) { return reciprocal(in[0]); }, {uniform({3, 5}, 0.5, 2)}),
    sample("reciprocal", "of a number, negative x", [](auto in) { return 2 / in[0]; }, {uniform({3, 5}, -2, -0.5)}),
};

/// The gradients of sum(f(a, b)), or of any cotangent, by a and b.
template <class F> std::vector<Tensor<double>> gradients(const F& f, const Tensor<double>& a, const Tensor<double>& b) {
    Tape<double> tape;
    const auto x = tape.leaf(a), y = tape.leaf(b);
    const auto z = f(x, y);
    const Tensor<double>* of[] = {&x, &y};
    return tape.gradient(z, Tensor<double>::full(z.shape(), 1), of);
}

}  // namespace

TEST_CASE("add, sub, mul, div: the values of each pair of elements, as NumPy broadcasts them") {
    const Tensor<double> a({2, 1, 2}, {1, 2, 3, 4}), b({3, 1}, {10, 20, 40});
    const auto expect = [](const Tensor<double>& y, auto f) {
        REQUIRE(y.shape() == Shape{2, 3, 2});
        const double x[] = {1, 2, 3, 4}, z[] = {10, 20, 40};
        for (std::size_t i = 0; i < 12; ++i) CHECK(y.values()[i] == f(x[i / 6 * 2 + i % 2], z[i / 2 % 3]));
    };
    expect(a + b, std::plus<>());
    expect(a - b, std::minus<>());
    expect(a * b, std::multiplies<>());
    expect(a / b, std::divides<>());
}

TEST_CASE("arithmetic: operators with a number on either side") {
    const Tensor<float> x({2}, {1, -4});
    const auto expect = [](const Tensor<float>& y, float first, float second) {
        CHECK(y.values()[0] == first);
        CHECK(y.values()[1] == second);
    };
    expect(x + 2, 3, -2);
    expect(2 + x, 3, -2);
    expect(x - 2, -1, -6);
    expect(2 - x, 1, 6);
    expect(x * 3, 3, -12);
    expect(3 * x, 3, -12);
    expect(x / 2, 0.5f, -2);
    expect(2 / x, 2, -0.5f);
    expect(-x, -1, 4);
}

TEST_CASE("add: the gradient of what was broadcast is the sum over its copies") {
    const auto [da, db] = [] {
        auto g = gradients([](auto& a, auto& b) { return a + b; }, uniform({4, 3}, -1, 1), uniform({3}, -1, 1));
        return std::pair(g[0], g[1]);
    }();
    CHECK(da.shape() == Shape{4, 3});
    CHECK(db.shape() == Shape{3});
    for (const double v : da.values()) CHECK(v == 1);
    for (const double v : db.values()) CHECK(v == 4);
}

TEST_CASE("add: operands that share a gradient do not see each other's additions") {
    Tape<double> tape;
    const auto a = tape.leaf(uniform({3}, -1, 1)), b = tape.leaf(uniform({3}, -1, 1));
    const auto y = (a + b) + 2 * a;
    const Tensor<double>* of[] = {&a, &b};
    const auto g = tape.gradient(y, Tensor<double>::full({3}, 1), of);
    for (const double v : g[0].values()) CHECK(v == 3);
    for (const double v : g[1].values()) CHECK(v == 1);
}

TEMPLATE_TEST_CASE("mul: a long sum over a broadcast keeps its digits", "", float, double) {
    constexpr Index n = 100000;
    Tape<TestType> tape;
    const auto w = tape.leaf(Tensor<TestType>::full({3}, TestType(1)));
    const auto y = w * Tensor<TestType>::full({n, 3}, TestType(0.1));
    const Tensor<TestType>* of[] = {&w};
    const auto g = tape.gradient(y, Tensor<TestType>::full({n, 3}, 1), of)[0];
    for (const TestType v : g.values())
        CHECK(v ==
              Approx(n * static_cast<double>(TestType(0.1))).epsilon(std::is_same_v<TestType, float> ? 1e-6 : 1e-12));
}

TEST_CASE("maximum, minimum: NaN passes through from either side") {
    const Tensor<double> a({4}, {not_a_number, 1, not_a_number, 2}), b({4}, {1, not_a_number, not_a_number, 3});
    for (const auto& y : {maximum(a, b), minimum(a, b)})
        for (std::size_t i = 0; i < 3; ++i) CHECK(std::isnan(y.values()[i]));
    CHECK(maximum(a, b).values()[3] == 3);
    CHECK(minimum(a, b).values()[3] == 2);
}

TEST_CASE("maximum, minimum: equal ones share the gradient") {
    const Tensor<double> a({3}, {1, 2, 3}), b({3}, {3, 2, 1});
    const auto most = gradients([](auto& x, auto& y) { return maximum(x, y); }, a, b);
    const auto least = gradients([](auto& x, auto& y) { return minimum(x, y); }, a, b);
    const double da[] = {0, 0.5, 1}, db[] = {1, 0.5, 0};
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(most[0].values()[i] == da[i]);
        CHECK(most[1].values()[i] == db[i]);
        CHECK(least[0].values()[i] == db[i]);
        CHECK(least[1].values()[i] == da[i]);
    }
}

TEST_CASE("where: what is not chosen does not show, not even a NaN") {
    const Tensor<double> condition({4}, {1, 0, -0.0, 7});
    const Tensor<double> a({4}, {1, not_a_number, infinity, 4}), b({4}, {not_a_number, 2, 3, -infinity});
    Tape<double> tape;
    const auto x = tape.leaf(a), z = tape.leaf(b), c = tape.leaf(condition);
    const auto y = where(c, x, z);
    for (std::size_t i = 0; i < 4; ++i) CHECK(y.values()[i] == static_cast<double>(i + 1));
    const Tensor<double>* of[] = {&x, &z, &c};
    const auto g = tape.gradient(y, Tensor<double>({4}, {5, 6, 7, 8}), of);
    const double da[] = {5, 0, 0, 8}, db[] = {0, 6, 7, 0};
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(g[0].values()[i] == da[i]);
        CHECK(g[1].values()[i] == db[i]);
        CHECK(g[2].values()[i] == 0);
    }
}

TEST_CASE("where: a NaN condition is not 0") {
    CHECK(where(Tensor<double>(not_a_number), Tensor<double>(1.0), Tensor<double>(2.0)).item() == 1);
}

TEST_CASE("where: a NaN in the cotangent stays where it was chosen") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>({2}, {1, 2}));
    const auto y = where(Tensor<double>({2}, {0, 1}), x, Tensor<double>(0.0));
    const Tensor<double>* of[] = {&x};
    const auto g = tape.gradient(y, Tensor<double>({2}, {not_a_number, 3}), of);
    CHECK(g[0].values()[0] == 0);
    CHECK(g[0].values()[1] == 3);
}

TEST_CASE("arithmetic: shapes that do not broadcast are named with the axis at fault") {
    const Tensor<float> a({2, 3}, std::vector<float>(6)), b({2, 4}, std::vector<float>(8));
    const auto says = [](const char* op) {
        return StartsWith(std::string(op) +
                          ": shapes do not broadcast at axis 1 (3 against 4): a is [2, 3], b is [2, 4]");
    };
    CHECK_THROWS_WITH(add(a, b), says("add"));
    CHECK_THROWS_WITH(sub(a, b), says("sub"));
    CHECK_THROWS_WITH(mul(a, b), says("mul"));
    CHECK_THROWS_WITH(div(a, b), says("div"));
    CHECK_THROWS_WITH(maximum(a, b), says("maximum"));
    CHECK_THROWS_WITH(minimum(a, b), says("minimum"));
    CHECK_THROWS_WITH(where(a, a, b), says("where"));
    CHECK_THROWS_AS(a + b, ShapeError);
}

}  // namespace test_arithmetic
