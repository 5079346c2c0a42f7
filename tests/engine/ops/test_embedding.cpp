#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

namespace test_embedding {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

auto gather(const Indices& ids) {
    return [ids](auto in) { return embedding(in[0], ids); };
}
auto scatter(const Indices& ids, Index rows) {
    return [ids, rows](auto in) { return scatter_add(in[0], ids, rows); };
}

const Indices repeated = indices({4, 0, 4, 1}), square(Shape{2, 2}, {0, 2, 2, 1}), none(Shape{0}, {});

const Samples samples{
    sample("embedding", "repeated ids", gather(repeated), {uniform({5, 16}, -1, 1)}, true),
    sample("embedding", "ids of rank 2", gather(square), {uniform({3, 7}, -1, 1)}, true),
    sample("embedding", "one id", gather(Indices(Shape{}, {1})), {uniform({3, 1}, -1, 1)}, true),
    sample("embedding", "no ids", gather(none), {uniform({3, 4}, -1, 1)}, true),
    sample("embedding", "no ids of no rows", gather(none), {uniform({0, 4}, -1, 1)}, true),
    sample("embedding", "no columns", gather(repeated), {uniform({5, 0}, -1, 1)}, true),
    sample("embedding", "wide", gather(repeated), {uniform({5, 300}, -1, 1)}, true),
    sample("scatter_add", "repeated ids", scatter(repeated, 5), {uniform({4, 16}, -1, 1)}, true),
    sample("scatter_add", "ids of rank 2", scatter(square, 4), {uniform({2, 2, 7}, -1, 1)}, true),
    sample("scatter_add", "one id", scatter(Indices(Shape{}, {1}), 3), {uniform({1}, -1, 1)}, true),
    sample("scatter_add", "no ids", scatter(none, 3), {uniform({0, 4}, -1, 1)}, true),
    sample("scatter_add", "no rows", scatter(none, 0), {uniform({0, 4}, -1, 1)}, true),
    sample("scatter_add", "wide", scatter(repeated, 5), {uniform({4, 300}, -1, 1)}, true),
};

std::vector<double> list(const Tensor<double>& x) { return {x.values().begin(), x.values().end()}; }

}  // namespace

TEST_CASE("embedding: takes the rows of the table at the ids, in the shape of the ids") {
    const Tensor<double> table({3, 2}, {1, 2, 3, 4, 5, 6});
    const Tensor<double> y = embedding(table, Indices(Shape{2, 1}, {2, 0}));
    CHECK(y.shape() == Shape{2, 1, 2});
    CHECK(list(y) == std::vector<double>{5, 6, 1, 2});
}

TEST_CASE("embedding: an id that occurs twice receives both gradients") {
    Tape<double> tape;
    const auto table = tape.leaf(Tensor<double>::zeros({3, 1}));
    const auto y = embedding(table, indices({2, 0, 2}));
    const Tensor<double>* of[] = {&table};
    CHECK(list(tape.gradient(y, Tensor<double>({3, 1}, {1, 10, 100}), of).front()) == std::vector<double>{10, 0, 101});
}

TEST_CASE("embedding: two uses of one table add up") {
    Tape<double> tape;
    const auto table = tape.leaf(Tensor<double>::zeros({3, 1}));
    const auto y = embedding(table, indices({2, 0})) + embedding(table, indices({2, 1}));
    const Tensor<double>* of[] = {&table};
    CHECK(list(tape.gradient(y, Tensor<double>({2, 1}, {1, 10}), of).front()) == std::vector<double>{10, 10, 2});
}

TEST_CASE("scatter_add: rows of one id add up, and rows of the table without an id are zero") {
    const Tensor<double> y = scatter_add(Tensor<double>({3, 2}, {1, 2, 10, 20, 100, 200}), indices({1, 3, 1}), 4);
    CHECK(list(y) == std::vector<double>{0, 0, 101, 202, 0, 0, 10, 20});
}

TEST_CASE("embedding: errors say which id, and where") {
    const auto table = Tensor<float>::zeros({27, 4});
    std::vector<std::int32_t> ids(12);
    ids[5] = 27;
    CHECK_THROWS_WITH(embedding(table, Indices(Shape{2, 6}, ids)),
                      StartsWith("embedding: id 27 at [0, 5] is outside the table of 27 rows (0 to 26)"));
    CHECK_THROWS_WITH(embedding(table, indices({-1})),
                      StartsWith("embedding: id -1 at [0] is outside the table of 27 rows (0 to 26)"));
    CHECK_THROWS_WITH(embedding(Tensor<float>::zeros({0, 4}), indices({0})),
                      StartsWith("embedding: id 0 at [0] is outside the table of 0 rows"));
    CHECK_THROWS_WITH(embedding(Tensor<float>::zeros({4}), indices({0})),
                      StartsWith("embedding: the table must be a matrix: table is [4]"));
    CHECK_THROWS_AS(embedding(table, indices({27})), ValueError);
}

TEST_CASE("scatter_add: errors") {
    const auto x = Tensor<float>::zeros({2, 4});
    CHECK_THROWS_WITH(scatter_add(x, indices({0, 3}), 3),
                      StartsWith("scatter_add: id 3 at [1] is outside the table of 3 rows (0 to 2)"));
    CHECK_THROWS_WITH(scatter_add(x, indices({0, 1, 2}), 3),
                      StartsWith("scatter_add: each row needs one id: x is [2, 4], ids is [3]"));
    CHECK_THROWS_WITH(scatter_add(x, indices({0, 1}), -1),
                      StartsWith("scatter_add: the number of rows must not be negative: it is -1"));
}

}  // namespace test_embedding
