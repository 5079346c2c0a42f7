#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

namespace test_segment {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

auto pooled(const Indices& offsets) {
    return [offsets](auto in) { return segment_mean(in[0], offsets); };
}

const Indices three = indices({0, 1, 4, 9});

const Samples samples{
    sample("segment_mean", "9x16", pooled(three), {uniform({9, 16}, -1, 1)}, true),
    sample("segment_mean", "9x2x5", pooled(three), {uniform({9, 2, 5}, -1, 1)}, true),
    sample("segment_mean", "a vector", pooled(three), {uniform({9}, -1, 1)}, true),
    sample("segment_mean", "one sequence", pooled(indices({0, 9})), {uniform({9, 3}, -1, 1)}, true),
    sample("segment_mean", "no sequences", pooled(indices({0})), {uniform({0, 3}, -1, 1)}, true),
    sample("segment_mean", "no columns", pooled(three), {uniform({9, 0}, -1, 1)}, true),
};

}  // namespace

TEST_CASE("segment_mean: is the mean of each sequence") {
    const auto x = uniform({9, 21}, -1, 1);
    const auto y = segment_mean(x, three);
    REQUIRE(y.shape() == Shape{3, 21});
    for (Index s = 0; s < 3; ++s) {
        const auto expected = mean(slice(x, 0, three.data()[s], three.data()[s + 1]), {0});
        for (Index i = 0; i < 21; ++i) CHECK(y.data()[s * 21 + i] == Approx(expected.data()[i]).margin(1e-15));
    }
}

TEST_CASE("segment_mean: each row of a sequence gets its share of the gradient") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>::zeros({5}));
    const auto y = segment_mean(x, indices({0, 4, 5}));
    const Tensor<double>* of[] = {&x};
    const auto dx = tape.gradient(y, Tensor<double>({2}, {8, 3}), of).front();
    CHECK(std::vector<double>(dx.values().begin(), dx.values().end()) == std::vector<double>{2, 2, 2, 2, 3});
}

TEST_CASE("segment_mean: errors") {
    const auto x = Tensor<float>::zeros({9, 4});
    CHECK_THROWS_WITH(segment_mean(x, indices({0, 3, 3, 9})),
                      StartsWith("segment_mean: the mean of nothing: sequence 1 begins and ends at row 3"));
    CHECK_THROWS_WITH(segment_mean(x, indices({0, 8})),
                      StartsWith("segment_mean: offsets must run from 0 to the 9 rows of x: they run from 0 to 8"));
    CHECK_THROWS_WITH(segment_mean(x, Indices(Shape{1, 2}, {0, 9})),
                      StartsWith("segment_mean: offsets must be one row of begins and the end: offsets is [1, 2]"));
    CHECK_THROWS_WITH(segment_mean(Tensor<float>(1.0f), indices({0, 1})),
                      StartsWith("segment_mean: a scalar has no rows: x is []"));
}

}  // namespace test_segment
