#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_rope {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

constexpr RopeForm forms[] = {RopeForm::interleaved, RopeForm::half_split};

auto rotated(const Indices& positions, RopeOptions options) {
    return [=](auto in) { return rope(in[0], positions, options); };
}

const Indices row = indices({0, 1, 2, 3, 1000}), grid(Shape{2, 2}, {5, 0, 7, 7}), none(Shape{0}, {});

const bool registered = [] {
    const auto add = [](const std::string& label, const Indices& positions, RopeOptions options, const Shape& x) {
        for (const RopeForm form : forms) {
            options.form = form;
            const char* named = form == RopeForm::interleaved ? ", interleaved" : ", half split";
            all_samples().push_back(
                sample("rope", label + named, rotated(positions, options), {uniform(x, -1, 1)}, true));
        }
    };
    add("5 rows, 2 heads of 6", row, {.heads = 2}, {5, 12});
    add("one pair", row, {}, {5, 2});
    add("3 heads of 48", row, {.heads = 3, .theta = 500}, {5, 144});
    add("wide", row, {}, {5, 600});
    add("rank 3", grid, {.heads = 3}, {2, 2, 24});
    add("no rows", none, {.heads = 3}, {0, 24});
    return true;
}();

/// The definition, for one row of one head.
std::vector<double> plain(std::span<const double> x, double t, double theta, RopeForm form) {
    const std::size_t half = x.size() / 2;
    std::vector<double> y(x.size());
    for (std::size_t i = 0; i < half; ++i) {
        const bool interleaved = form == RopeForm::interleaved;
        const std::size_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + half;
        const double angle = t * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(x.size()));
        y[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
        y[b] = x[a] * std::sin(angle) + x[b] * std::cos(angle);
    }
    return y;
}

}  // namespace

TEMPLATE_TEST_CASE("rope: turns each pair by its position's angle, in both forms", "", float, double) {
    REQUIRE(registered);
    const std::int32_t positions[] = {0, 1, 77, 4095, 131071};
    for (const std::size_t width : {2u, 6u, 48u, 300u}) {
        const auto x = uniform({5, 3 * static_cast<Index>(width)}, -1, 1);
        const Tensor<TestType> cast(x.shape(), std::vector<TestType>(x.values().begin(), x.values().end()));
        for (const RopeForm form : forms) {
            const auto y = rope(cast, indices(positions), {.heads = 3, .theta = 10000, .form = form});
            for (std::size_t head = 0; head < 15; ++head) {
                const std::int32_t position = positions[head / 3];
                const auto expected = plain(x.values().subspan(head * width, width), position, 10000, form);
                for (std::size_t i = 0; i < width; ++i)
                    CHECK(y.values()[head * width + i] ==
                          Approx(expected[i]).margin(sizeof(TestType) == 4 ? 2e-7 : 1e-10));
            }
        }
    }
}

TEST_CASE("rope: position 0 changes nothing, and lengths never change") {
    const auto x = uniform({2, 64}, -1, 1);
    for (const RopeForm form : forms) {
        const auto y = rope(x, indices({0, 123456}), {.heads = 2, .form = form});
        double before = 0, after = 0;
        for (std::size_t i = 0; i < 64; ++i) {
            CHECK(y.values()[i] == x.values()[i]);
            before += x.values()[64 + i] * x.values()[64 + i];
            after += y.values()[64 + i] * y.values()[64 + i];
        }
        CHECK(after == Approx(before).epsilon(1e-14));
    }
}

TEST_CASE("rope: the product of a query and a key depends on the distance of their positions alone") {
    const auto q = uniform({1, 32}, -1, 1), k = uniform({1, 32}, -1, 1, 2);
    for (const RopeForm form : forms) {
        const auto score = [&](std::int32_t at_q, std::int32_t at_k) {
            return sum(rope(q, indices({at_q}), {.form = form}) * rope(k, indices({at_k}), {.form = form})).item();
        };
        CHECK(score(9, 4) == Approx(score(1005, 1000)).epsilon(1e-11));
        CHECK(score(9, 4) != Approx(score(4, 9)));
    }
}

TEST_CASE("rope: keeps nothing for its backward but the positions") {
    Tape<float> tape;
    const auto x = tape.leaf(Tensor<float>::zeros({5, 64}));
    rope(x, row, {.heads = 4});
    CHECK(tape.records().back().kept_bytes == 0);
}

TEST_CASE("rope: errors") {
    const auto x = Tensor<float>::zeros({5, 12});
    CHECK_THROWS_WITH(rope(x, row, {.heads = 4}),
                      StartsWith("rope: the rows of x do not make 4 heads of an even width: x is [5, 12]"));
    CHECK_THROWS_WITH(rope(x, row, {.heads = 0}), StartsWith("rope: the rows of x do not make 0 heads"));
    CHECK_THROWS_WITH(rope(Tensor<float>::zeros({5, 0}), row, {}), StartsWith("rope: the rows of x do not make 1 he"));
    CHECK_THROWS_WITH(rope(x, grid, {.heads = 2}),
                      StartsWith("rope: 5 rows but 4 positions: x is [5, 12], positions is [2, 2]"));
    CHECK_THROWS_WITH(rope(x, row, {.theta = 0}), StartsWith("rope: theta must be positive: theta is 0"));
}

}  // namespace test_rope
