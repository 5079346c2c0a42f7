#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <numeric>

namespace test_shape {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

constexpr auto reshaped = [](Shape shape) { return [shape](auto in) { return reshape(in[0], shape); }; };
constexpr auto permuted = [](std::vector<int> order) {
    return [order](auto in) { return permute(in[0], std::span<const int>(order)); };
};
constexpr auto transposed = [](auto in) { return transpose(in[0]); };
constexpr auto sliced = [](int axis, Index begin, Index end) {
    return [=](auto in) { return slice(in[0], axis, begin, end); };
};
constexpr auto padded = [](int axis, Index before, Index after) {
    return [=](auto in) { return pad(in[0], axis, before, after); };
};
constexpr auto shifted = [](int axis, Index by) { return [=](auto in) { return shift(in[0], axis, by); }; };
constexpr auto joined = [](int axis) { return [axis](auto in) { return concat(std::span(in), axis); }; };
constexpr auto stacked = [](int axis) { return [axis](auto in) { return stack(std::span(in), axis); }; };
/// All pieces of a split, each weighed differently.
constexpr auto pieces = [](int axis, std::vector<Index> extents) {
    return [axis, extents](auto in) {
        auto parts = split(in[0], std::span<const Index>(extents), axis);
        for (std::size_t i = 0; i < parts.size(); ++i) parts[i] = scale(parts[i], static_cast<float>(i + 1));
        return concat(std::span<const typename decltype(parts)::value_type>(parts), axis);
    };
};
constexpr auto repeated = [](Shape shape) { return [shape](auto in) { return broadcast_to(in[0], shape); }; };

const Samples samples{
    sample("reshape", "2x6 to 3x4", reshaped({3, 4}), {uniform({2, 6}, -1, 1)}, true),
    sample("reshape", "to a scalar", reshaped({}), {uniform({1, 1}, -1, 1)}, true),
    sample("reshape", "nothing", reshaped({7, 0}), {uniform({0, 3}, -1, 1)}, true),
    sample("reshape", "twice used", [](auto in) { return reshape(in[0], {6}) * reshape(in[0], {6}); },
           {uniform({2, 3}, -1, 1)}),
    sample("permute", "120", permuted({1, 2, 0}), {uniform({2, 3, 4}, -1, 1)}, true),
    sample("permute", "0213", permuted({0, 2, 1, 3}), {uniform({2, 3, 4, 5}, -1, 1)}, true),
    sample("permute", "0132", permuted({0, 1, 3, 2}), {uniform({2, 3, 19, 35}, -1, 1)}, true),
    sample("permute", "identity", permuted({0, 1}), {uniform({3, 5}, -1, 1)}, true),
    sample("permute", "negative axes", permuted({-1, 0, -2}), {uniform({3, 5, 2}, -1, 1)}, true),
    sample("permute", "nothing", permuted({1, 0}), {uniform({3, 0}, -1, 1)}, true),
    sample("permute", "a scalar", permuted({}), {uniform({}, -1, 1)}, true),
    sample("transpose", "3x5", transposed, {uniform({3, 5}, -1, 1)}, true),
    sample("transpose", "a row", transposed, {uniform({1, 5}, -1, 1)}, true),
    sample("transpose", "2x40x70", transposed, {uniform({2, 40, 70}, -1, 1)}, true),
    sample("transpose", "large", transposed, {uniform({260, 270}, -1, 1)}, true),
    sample("slice", "rows", sliced(0, 1, 3), {uniform({4, 5}, -1, 1)}, true),
    sample("slice", "columns", sliced(-1, -4, -1), {uniform({4, 5}, -1, 1)}, true),
    sample("slice", "nothing", sliced(1, 2, 2), {uniform({4, 5}, -1, 1)}, true),
    sample("slice", "everything", sliced(1, 0, 5), {uniform({4, 5, 3}, -1, 1)}, true),
    sample("slice", "twice used", [](auto in) { return slice(in[0], 0, 0, 3) * slice(in[0], 0, 1, 4); },
           {uniform({4, 5}, -1, 1)}),
    sample("slice", "large", sliced(1, 100, 700), {uniform({100, 800}, -1, 1)}, true),
    sample("pad", "rows", padded(0, 1, 2), {uniform({4, 5}, -1, 1)}, true),
    sample("pad", "columns", padded(-1, 0, 3), {uniform({4, 5}, -1, 1)}, true),
    sample("pad", "nothing there", padded(1, 2, 1), {uniform({4, 0}, -1, 1)}, true),
    sample("concat", "rows", joined(0), {uniform({2, 5}, -1, 1), uniform({1, 5}, -1, 1, 2)}),
    sample("concat", "five columns", joined(-1),
           {uniform({2, 1}, -1, 1), uniform({2, 3}, -1, 1, 2), uniform({2, 0}, -1, 1, 3), uniform({2, 2}, -1, 1, 4),
            uniform({2, 3}, -1, 1, 5)}),
    sample("stack", "first axis", stacked(0), {uniform({3}, -1, 1), uniform({3}, -1, 1, 2), uniform({3}, -1, 1, 3)}),
    sample("stack", "last axis", stacked(-1), {uniform({3, 2}, -1, 1), uniform({3, 2}, -1, 1, 2)}),
    sample("stack", "scalars", stacked(0), {uniform({}, -1, 1), uniform({}, -1, 1, 2)}),
    sample("split", "columns", pieces(1, {1, 3, 2}), {uniform({3, 6}, -1, 1)}, true),
    sample("split", "rows", pieces(0, {2, 0, 1}), {uniform({3, 6}, -1, 1)}, true),
    sample("shift", "later", shifted(0, 1), {uniform({4, 5}, -1, 1)}, true),
    sample("shift", "earlier", shifted(-2, -2), {uniform({2, 4, 5}, -1, 1)}, true),
    sample("shift", "not", shifted(0, 0), {uniform({4, 5}, -1, 1)}, true),
    sample("shift", "out", shifted(1, 7), {uniform({4, 5}, -1, 1)}, true),
    sample("broadcast_to", "rows", repeated({4, 5}), {uniform({5}, -1, 1)}, true),
    sample("broadcast_to", "columns", repeated({4, 5}), {uniform({4, 1}, -1, 1)}, true),
    sample("broadcast_to", "both", repeated({2, 3, 4, 5}), {uniform({3, 1, 5}, -1, 1)}, true),
    sample("broadcast_to", "the same", repeated({1, 5}), {uniform({5}, -1, 1)}, true),
    sample("broadcast_to", "no copies", repeated({0, 5}), {uniform({5}, -1, 1)}, true),
};

/// 0, 1, 2, ...
Tensor<double> counted(const Shape& shape) {
    std::vector<double> values(static_cast<std::size_t>(shape.size()));
    std::iota(values.begin(), values.end(), 0.0);
    return {shape, values};
}

void check_values(const Tensor<double>& y, const Shape& shape, std::vector<double> expected) {
    REQUIRE(y.shape() == shape);
    CHECK(std::vector<double>(y.values().begin(), y.values().end()) == expected);
}

}  // namespace

TEST_CASE("reshape: the same elements in the same order, without a copy") {
    const Tensor<double> x = counted({2, 3}), y = reshape(x, {3, 2});
    check_values(y, {3, 2}, {0, 1, 2, 3, 4, 5});
    CHECK(y.data() == x.data());
}

TEST_CASE("permute: axis i of the result is axis order[i] of x, for every order of four axes") {
    const Tensor<double> x = counted({2, 3, 4, 5});
    std::vector<int> order{0, 1, 2, 3};
    const Index stride[] = {60, 20, 5, 1};
    do {
        const Tensor<double> y = permute(x, std::span<const int>(order));
        for (Index i = 0; i < y.size(); ++i) {
            Index rest = i, at = 0;
            for (int axis = 4; axis-- > 0; rest /= y.shape()[axis])
                at += rest % y.shape()[axis] * stride[order[static_cast<std::size_t>(axis)]];
            REQUIRE(y.data()[i] == static_cast<double>(at));
        }
    } while (std::ranges::next_permutation(order).found);
}

TEMPLATE_TEST_CASE("transpose: y[j, i] = x[i, j] at sizes around those of blocks", "", float, double) {
    for (const Index rows : {1, 7, 16, 17, 64, 70}) {
        for (const Index columns : {1, 8, 15, 32, 65}) {
            std::vector<TestType> values(static_cast<std::size_t>(2 * rows * columns));
            std::iota(values.begin(), values.end(), TestType(0));
            const Tensor<TestType> y = transpose(Tensor<TestType>({2, rows, columns}, values));
            REQUIRE(y.shape() == Shape{2, columns, rows});
            for (Index b = 0; b < 2; ++b)
                for (Index i = 0; i < rows; ++i)
                    for (Index j = 0; j < columns; ++j)
                        REQUIRE(y.data()[(b * columns + j) * rows + i] ==
                                static_cast<TestType>((b * rows + i) * columns + j));
        }
    }
}

TEST_CASE("slice, pad, shift: where each element goes") {
    const Tensor<double> x = counted({2, 3});
    check_values(slice(x, 1, 1, 3), {2, 2}, {1, 2, 4, 5});
    check_values(slice(x, 0, -1, 2), {1, 3}, {3, 4, 5});
    check_values(pad(x, 1, 1, 0), {2, 4}, {0, 0, 1, 2, 0, 3, 4, 5});
    check_values(pad(x, 0, 0, 1), {3, 3}, {0, 1, 2, 3, 4, 5, 0, 0, 0});
    check_values(shift(x, 0, 1), {2, 3}, {0, 0, 0, 0, 1, 2});
    check_values(shift(x, -1, -1), {2, 3}, {1, 2, 0, 4, 5, 0});
    check_values(shift(x, 0, std::numeric_limits<Index>::min()), {2, 3}, {0, 0, 0, 0, 0, 0});
}

TEST_CASE("concat, stack: parts side by side in their order") {
    const Tensor<double> a({2, 1}, {1, 2}), b({2, 2}, {3, 4, 5, 6}), c({2, 1}, {7, 8});
    check_values(concat({a, b, c}, 1), {2, 4}, {1, 3, 4, 7, 2, 5, 6, 8});
    check_values(concat({a}, 0), {2, 1}, {1, 2});
    const std::vector<Tensor<double>> parts{a, c, a};
    check_values(stack(std::span(parts), 1), {2, 3, 1}, {1, 7, 1, 2, 8, 2});
    check_values(stack(std::span(parts), -1), {2, 1, 3}, {1, 7, 1, 2, 8, 2});
}

TEST_CASE("split: the pieces put together again are the whole") {
    const Tensor<double> x = uniform({3, 7, 2}, -1, 1);
    const Index extents[] = {3, 0, 1, 3};
    const auto parts = split(x, extents, 1);
    REQUIRE(parts.size() == 4);
    CHECK(parts[1].shape() == Shape{3, 0, 2});
    const Tensor<double> y = concat(std::span(parts), 1);
    check_values(y, x.shape(), {x.values().begin(), x.values().end()});
}

TEST_CASE("broadcast_to: copies along new axes and those of extent one") {
    check_values(broadcast_to(counted({2, 1}), {2, 2, 3}), {2, 2, 3}, {0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1});
}

TEST_CASE("shape ops: errors say what is wrong") {
    const Tensor<float> x = Tensor<float>::zeros({2, 3}), scalar(1.0f);
    const std::vector<Tensor<float>> none, unequal{x, Tensor<float>::zeros({3, 3})};
    const std::vector<Index> extents{1, 1}, negative{4, -1};
    CHECK_THROWS_WITH(reshape(x, {4, 2}), StartsWith("reshape: 6 elements do not fit 8: x is [2, 3], shape is [4, 2]"));
    CHECK_THROWS_WITH(permute(x, {0}),
                      StartsWith("permute: the order must name each axis once: order is [0], x is [2, 3]"));
    CHECK_THROWS_WITH(permute(x, {1, -1}),
                      StartsWith("permute: the order must name each axis once: order is [1, -1], x is [2, 3]"));
    CHECK_THROWS_WITH(permute(x, {0, 2}), StartsWith("permute: axis 2 does not exist: x is [2, 3]"));
    CHECK_THROWS_WITH(transpose(scalar), StartsWith("transpose: there must be two axes to exchange: x is []"));
    CHECK_THROWS_WITH(slice(x, 1, 1, 4), StartsWith("slice: [1, 4) is not inside axis 1 of 3: x is [2, 3]"));
    CHECK_THROWS_WITH(slice(x, -1, 2, 1), StartsWith("slice: [2, 1) is not inside axis 1 of 3: x is [2, 3]"));
    CHECK_THROWS_WITH(slice(x, 0, -3, 1), StartsWith("slice: [-3, 1) is not inside axis 0 of 2: x is [2, 3]"));
    CHECK_THROWS_WITH(slice(x, 5, 0, 1), StartsWith("slice: axis 5 does not exist: x is [2, 3]"));
    CHECK_THROWS_WITH(pad(x, 0, -1, 0), StartsWith("pad: a width is negative: before is -1, after is 0, x is [2, 3]"));
    CHECK_THROWS_WITH(shift(x, 2, 1), StartsWith("shift: axis 2 does not exist: x is [2, 3]"));
    CHECK_THROWS_WITH(concat(std::span(none), 0), StartsWith("concat: there are no parts"));
    CHECK_THROWS_WITH(concat(std::span(unequal), 1),
                      StartsWith("concat: parts do not fit beside axis 1: part 0 is [2, 3], part 1 is [3, 3]"));
    CHECK_THROWS_WITH(stack(std::span(unequal), 0),
                      StartsWith("stack: parts do not fit: part 0 is [2, 3], part 1 is [3, 3]"));
    CHECK_THROWS_WITH(stack(std::span(none), 0), StartsWith("stack: there are no parts"));
    CHECK_THROWS_WITH(split(x, std::span(extents), 1),
                      StartsWith("split: the pieces do not add up to axis 1: pieces are [1, 1], x is [2, 3]"));
    CHECK_THROWS_WITH(split(x, std::span(negative), 1),
                      StartsWith("split: the pieces do not add up to axis 1: pieces are [4, -1], x is [2, 3]"));
    CHECK_THROWS_WITH(broadcast_to(x, {3}),
                      StartsWith("broadcast_to: x does not broadcast to the shape: x is [2, 3], shape is [3]"));
    CHECK_THROWS_WITH(broadcast_to(x, {1, 3}),
                      StartsWith("broadcast_to: x does not broadcast to the shape: x is [2, 3], shape is [1, 3]"));
}

}  // namespace test_shape
