#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_reduce {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

constexpr auto sum_over = [](Axes axes, bool keep = false) {
    return [axes, keep](auto in) { return sum(in[0], axes, keep); };
};
constexpr auto mean_over = [](Axes axes, bool keep = false) {
    return [axes, keep](auto in) { return mean(in[0], axes, keep); };
};
constexpr auto max_over = [](Axes axes, bool keep = false) {
    return [axes, keep](auto in) { return max(in[0], axes, keep); };
};
constexpr auto min_over = [](Axes axes, bool keep = false) {
    return [axes, keep](auto in) { return min(in[0], axes, keep); };
};

/// Elements 0.01 and more apart, in no order.
Tensor<double> apart(const Shape& shape) {
    const auto n = static_cast<std::size_t>(shape.size());
    std::vector<double> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = 0.01 * static_cast<double>(i * 7919 % std::max<std::size_t>(n, 1));
    return {shape, values};
}

const Samples samples{
    sample("sum", "all", sum_over({}), {uniform({3, 5}, -1, 1)}, true),
    sample("sum", "scalar", sum_over({}), {uniform({}, -1, 1)}, true),
    sample("sum", "rows", sum_over({-1}), {uniform({3, 37}, -1, 1)}, true),
    sample("sum", "columns", sum_over({0}), {uniform({5, 37}, -1, 1)}, true),
    sample("sum", "many columns", sum_over({0}, true), {uniform({300, 150}, -1, 1)}, true),
    sample("sum", "many rows", sum_over({1}), {uniform({150, 400}, -1, 1)}, true),
    sample("sum", "middle", sum_over({1}), {uniform({3, 4, 5}, -1, 1)}, true),
    sample("sum", "ends", sum_over({0, 2}, true), {uniform({3, 4, 5}, -1, 1)}, true),
    sample("sum", "alternating", sum_over({0, 2, 4}), {uniform({2, 3, 2, 3, 2}, -1, 1)}, true),
    sample("sum", "extents of one", sum_over({0, 1}), {uniform({1, 5, 1}, -1, 1)}, true),
    sample("sum", "nothing", sum_over({}), {uniform({0, 5}, -1, 1)}, true),
    sample("sum", "of nothing, kept", sum_over({0}), {uniform({0, 5}, -1, 1)}, true),
    sample("mean", "all", mean_over({}), {uniform({3, 5}, -1, 1)}, true),
    sample("mean", "rows", mean_over({1}, true), {uniform({3, 37}, -1, 1)}, true),
    sample("mean", "columns", mean_over({-2}), {uniform({2, 5, 37}, -1, 1)}, true),
    sample("mean", "no rows", mean_over({1}), {uniform({0, 5}, -1, 1)}, true),
    sample("max", "all", max_over({}), {apart({5, 7})}),
    sample("max", "rows", max_over({1}), {apart({5, 37})}),
    sample("max", "columns", max_over({0}, true), {apart({5, 37})}),
    sample("max", "ends", max_over({0, 2}), {apart({3, 4, 5})}),
    sample("max", "no rows", max_over({1}), {uniform({0, 5}, -1, 1)}),
    sample("min", "all", min_over({}), {apart({5, 7})}),
    sample("min", "rows", min_over({1}, true), {apart({5, 37})}),
    sample("min", "columns", min_over({0}), {apart({5, 37})}),
};

/// The sum in long double, by plain loops over all elements.
std::vector<long double> plain_sum(const Tensor<double>& x, std::uint32_t mask) {
    const Shape& shape = x.shape();
    Index out = 1;
    for (int axis = 0; axis < shape.rank(); ++axis) out *= ((mask >> axis) & 1u) != 0 ? 1 : shape[axis];
    std::vector<long double> y(static_cast<std::size_t>(out));
    for (Index i = 0; i < x.size(); ++i) {
        Index at = 0, rest = i, run = 1;
        for (int axis = shape.rank(); axis-- > 0;) {
            if (((mask >> axis) & 1u) == 0) {
                at += rest % shape[axis] * run;
                run *= shape[axis];
            }
            rest /= shape[axis];
        }
        y[static_cast<std::size_t>(at)] += x.data()[i];
    }
    return y;
}

std::vector<int> axes_of(std::uint32_t mask) {
    std::vector<int> axes;
    for (int axis = 0; axis < 4; ++axis)
        if (((mask >> axis) & 1u) != 0) axes.push_back(axis);
    return axes;
}

Axes axes_from(const std::vector<int>& a) {
    switch (a.size()) {
        case 0:
            return Axes(std::initializer_list<int>{});
        case 1:
            return {a[0]};
        case 2:
            return {a[0], a[1]};
        case 3:
            return {a[0], a[1], a[2]};
        default:
            return {a[0], a[1], a[2], a[3]};
    }
}

}  // namespace

TEST_CASE("sum, mean, max: every choice of axes agrees with plain loops") {
    for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{1, 17, 1, 33}, Shape{7, 1, 3, 2}, Shape{2, 130, 2, 70}}) {
        const Tensor<double> x = uniform(shape, -1, 1);
        for (std::uint32_t mask = 0; mask < 16; ++mask) {
            INFO(to_string(shape) << ", axes " << mask);
            const Axes axes = axes_from(axes_of(mask));
            const auto expected = plain_sum(x, mask);
            const Tensor<double> y = sum(x, axes), m = mean(x, axes, true), top = max(x, axes);
            REQUIRE(y.values().size() == expected.size());
            REQUIRE(m.shape().rank() == 4);
            const double n = static_cast<double>(x.size()) / static_cast<double>(y.size());
            for (std::size_t i = 0; i < expected.size(); ++i) {
                REQUIRE(y.values()[i] == Approx(static_cast<double>(expected[i])).epsilon(1e-12).margin(1e-12));
                REQUIRE(m.values()[i] == Approx(static_cast<double>(expected[i]) / n).epsilon(1e-12).margin(1e-12));
                REQUIRE(top.values()[i] >= m.values()[i] - 1e-12);
            }
            CHECK(min(-x, axes).values()[0] == -top.values()[0]);
        }
    }
}

TEST_CASE("sum, mean: over everything they are exact to f32, whatever the length") {
    const Tensor<float> x = Tensor<float>::full({1000003}, 0.1f);
    CHECK(sum(x).item() == static_cast<float>(1000003 * static_cast<double>(0.1f)));
    CHECK(mean(x).item() == 0.1f);
    const Tensor<float> y({4}, {1e8f, 1, -1e8f, 1});
    CHECK(sum(y).item() == 2);
}

TEST_CASE("sum: long sums over an axis keep their digits in f32") {
    const Tensor<float> x = Tensor<float>::full({100000, 5}, 0.1f);
    const auto columns = sum(x, {0});
    for (const float v : columns.values()) CHECK(v == Approx(1e5 * 0.1f).epsilon(3e-6));
    const Tensor<float> z = reshape(x, {5, 100000});
    const auto rows = sum(z, {1});
    for (const float v : rows.values()) CHECK(v == Approx(1e5 * 0.1f).epsilon(3e-6));
}

TEST_CASE("sum: of nothing is zero") {
    CHECK(sum(Tensor<double>::zeros({0, 3})).item() == 0);
    const Tensor<double> y = sum(Tensor<double>::zeros({0, 3}), {0});
    REQUIRE(y.shape() == Shape{3});
    for (const double v : y.values()) CHECK(v == 0);
}

TEST_CASE("sum: dropped and kept axes") {
    const Tensor<float> x = Tensor<float>::zeros({2, 3, 4});
    CHECK(sum(x).shape() == Shape{});
    CHECK(sum(x, {}, true).shape() == Shape{1, 1, 1});
    CHECK(sum(x, {-1}).shape() == Shape{2, 3});
    CHECK(sum(x, {2, 0}, true).shape() == Shape{1, 3, 1});
}

TEMPLATE_TEST_CASE("max, min: NaN passes through wherever it stands", "", float, double) {
    using T = TestType;
    for (std::size_t at = 0; at < 40; ++at) {
        std::vector<T> values(40, T(1));
        values[at] = static_cast<T>(not_a_number);
        const Tensor<T> x({40}, values);
        CHECK(std::isnan(max(x).item()));
        CHECK(std::isnan(min(x).item()));
        const Tensor<T> y = max(reshape(x, {8, 5}), {0});
        for (std::size_t i = 0; i < 5; ++i) CHECK(std::isnan(y.values()[i]) == (i == at % 5));
    }
}

TEST_CASE("max, min: equal ones share the gradient") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>({2, 4}, {3, 1, 3, 3, -2, -2, 0, -1}));
    const auto most = max(x, {1}), least = min(x, {1});
    const auto g = tape.gradient(sum(most * Tensor<double>({2}, {6, 5})) + sum(least), {x})[0];
    const double expected[] = {2, 1, 2, 2, 0.5, 0.5, 5, 0};
    for (std::size_t i = 0; i < 8; ++i) CHECK(g.values()[i] == expected[i]);
}

TEST_CASE("max, min: infinities are found") {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    CHECK(max(Tensor<double>({2}, {-infinity, -infinity})).item() == -infinity);
    CHECK(min(Tensor<double>({2}, {infinity, infinity})).item() == infinity);
}

TEST_CASE("reductions: errors say what is wrong") {
    const Tensor<float> x = Tensor<float>::zeros({0, 3});
    CHECK_THROWS_WITH(mean(x), StartsWith("mean: there is no mean of nothing: x is [0, 3]"));
    CHECK_THROWS_WITH(mean(x, {0}), StartsWith("mean: there is no mean of nothing: x is [0, 3]"));
    CHECK_THROWS_WITH(max(x), StartsWith("max: there is no largest of nothing: x is [0, 3]"));
    CHECK_THROWS_WITH(min(x, {0}), StartsWith("min: there is no smallest of nothing: x is [0, 3]"));
    CHECK(mean(x, {1}).shape() == Shape{0});
    CHECK_THROWS_WITH(sum(x, {2}), StartsWith("sum: axis 2 does not exist: x is [0, 3]"));
    CHECK_THROWS_WITH(sum(x, {-3}), StartsWith("sum: axis -3 does not exist: x is [0, 3]"));
    CHECK_THROWS_WITH(max(x, {1, -1}), StartsWith("max: axis 1 is given twice: x is [0, 3]"));
    CHECK_THROWS_AS(mean(x), ValueError);
}

}  // namespace test_reduce
