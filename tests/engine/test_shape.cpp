#include <xtape/engine/error.hpp>
#include <xtape/engine/shape.hpp>
#include <xtape/tests/catch.hpp>

namespace test_shape {

namespace {

using namespace xtape;

}  // namespace

TEST_CASE("shape: a scalar has rank 0 and one element") {
    const Shape scalar;
    CHECK(scalar.rank() == 0);
    CHECK(scalar.size() == 1);
    CHECK(scalar.rows() == 1);
    CHECK(scalar.columns() == 1);
    CHECK(to_string(scalar) == "[]");
}

TEST_CASE("shape: extents, size, rows and columns") {
    const Shape shape{2, 3, 4};
    CHECK(shape.rank() == 3);
    CHECK(shape.size() == 24);
    CHECK(shape.rows() == 6);
    CHECK(shape.columns() == 4);
    CHECK(shape[1] == 3);
    CHECK(shape[-1] == 4);
    CHECK(to_string(shape) == "[2, 3, 4]");
    CHECK(Shape{2, 0}.size() == 0);
    CHECK(Shape{0, 5}.rows() == 0);
}

TEST_CASE("shape: equality is of rank and extents") {
    CHECK(Shape{2, 3} == Shape{2, 3});
    CHECK(Shape{2, 3} != Shape{3, 2});
    CHECK(Shape{2} != Shape{2, 1});
    CHECK(Shape{} != Shape{1});
    CHECK(Shape{0} != Shape{0, 0});
}

TEST_CASE("shape: an axis changed, removed or inserted") {
    const Shape shape{2, 3, 4};
    CHECK(shape.with(1, 7) == Shape{2, 7, 4});
    CHECK(shape.without(0) == Shape{3, 4});
    CHECK(shape.without(2) == Shape{2, 3});
    CHECK(shape.inserted(0, 5) == Shape{5, 2, 3, 4});
    CHECK(shape.inserted(3, 5) == Shape{2, 3, 4, 5});
    CHECK(shape.without(0) == Shape{3, 4});
}

TEST_CASE("shape: errors") {
    CHECK_THROWS_WITH((Shape{2, -1}), "shape: an extent is negative: shape is [2, -1]");
    CHECK_THROWS_WITH((Shape{1, 1, 1, 1, 1, 1, 1}), "shape: rank 7 is above 6: shape is [1, 1, 1, 1, 1, 1, 1]");
    CHECK_THROWS_WITH((Shape{Index{1} << 40, Index{1} << 40}),
                      "shape: too many elements: shape is [1099511627776, 1099511627776]");
    CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1}.inserted(0, 1)), ShapeError);
}

TEST_CASE("axis_of: counts from either end, and names the op in its error") {
    CHECK(axis_of("sum", -1, {2, 3}) == 1);
    CHECK(axis_of("sum", 0, {2, 3}) == 0);
    CHECK_THROWS_WITH(axis_of("sum", 2, {2, 3}), "sum: axis 2 does not exist: x is [2, 3]");
    CHECK_THROWS_WITH(axis_of("sum", -3, {2, 3}), "sum: axis -3 does not exist: x is [2, 3]");
    CHECK_THROWS_AS(axis_of("sum", 0, {}), ValueError);
}

TEST_CASE("broadcast: the rule of NumPy") {
    CHECK(broadcast("add", {2, 3}, {2, 3}) == Shape{2, 3});
    CHECK(broadcast("add", {2, 3}, {}) == Shape{2, 3});
    CHECK(broadcast("add", {3}, {2, 1}) == Shape{2, 3});
    CHECK(broadcast("add", {4, 1, 3}, {5, 1}) == Shape{4, 5, 3});
    CHECK(broadcast("add", {1, 3}, {0, 3}) == Shape{0, 3});
    CHECK_THROWS_WITH(broadcast("add", {2, 3}, {2, 4}),
                      "add: shapes do not broadcast at axis 1 (3 against 4): a is [2, 3], b is [2, 4]");
    CHECK_THROWS_WITH(broadcast("mul", {0, 3}, {2, 3}),
                      "mul: shapes do not broadcast at axis 0 (0 against 2): a is [0, 3], b is [2, 3]");
}

}  // namespace test_shape
