#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

namespace test_diagnose {

namespace {

using namespace xtape;
using Catch::Matchers::Contains;
using Values = std::vector<double>;

std::string diagnosis(const Values& truth, const Values& candidate, const Shape& shape, double noise = 0) {
    const Evidence one{"g", shape, truth, candidate, noise, {}};
    return judge(std::span(&one, 1), {.precision = noise > 0 ? "f32" : "f64"}).rows[0].diagnosis;
}

Values values_of(const Tensor<double>& x) { return {x.values().begin(), x.values().end()}; }

/// A row of two numbers for each of so many rows.
Values pairs(int rows) {
    Values all;
    for (int row = 0; row < rows; ++row) all.insert(all.end(), {1.0 + row, 100.0 - row * row});
    return all;
}

}  // namespace

TEST_CASE("diagnose: rows and columns in another order, said which") {
    CHECK(diagnosis({1, 2, 3, 4, 5, 7}, {3, 4, 1, 2, 5, 7}, {3, 2}) == "rows permuted: row 0 holds 1, 1 holds 0");
    CHECK(diagnosis({1, 2, 3, 4, 5, 7}, {5, 7, 1, 2, 3, 4}, {3, 2}) ==
          "rows permuted: row 0 holds 2, 1 holds 0, 2 holds 1");
    CHECK(diagnosis({1, 2, 3, 4, 5, 7}, {3, 2, 1, 7, 5, 4}, {2, 3}) == "columns permuted: column 0 holds 2, 2 holds 0");
    CHECK(diagnosis({1, 2, 3, 4}, {1, 3, 2, 4}, {4}) == "elements permuted: element 1 holds 2, 2 holds 1");
    CHECK(diagnosis({1, 2, 3, 4, 5, 7}, {3, 4, 1, 2.5, 5, 7}, {3, 2}).find("permuted") == std::string::npos);
}

TEST_CASE("diagnose: of many permuted rows the first are listed, rows that are equal do not confuse") {
    const Values truth = pairs(9);
    Values reversed;
    for (int row = 9; row-- > 0;) reversed.insert(reversed.end(), truth.begin() + 2 * row, truth.begin() + 2 * row + 2);
    CHECK(diagnosis(truth, reversed, {9, 2}) ==
          "rows permuted: row 0 holds 8, 1 holds 7, 2 holds 6, 3 holds 5, 5 holds 3, 6 holds 2, ... (8 of them)");
    CHECK(diagnosis({1, 1, 2, 2, 1, 1, 3, 3}, {2, 2, 1, 1, 3, 3, 1, 1}, {4, 2}) ==
          "rows permuted: row 0 holds 1, 1 holds 0, 2 holds 3, 3 holds 2");
}

TEST_CASE("diagnose: small errors without a pattern are rounding, those with one are not") {
    const Tensor<double> g = laws::uniform({16, 16}, -1, 1, 1), noise = laws::uniform({16, 16}, -1, 1, 2);
    const Values truth = values_of(g);
    constexpr double floor = 1e-6;
    CHECK(diagnosis(truth, values_of(g + 300 * floor * noise), {16, 16}, floor) ==
          "rounding only: small errors that follow no pattern");
    CHECK(diagnosis(truth, values_of(g + 3e5 * floor * noise), {16, 16}, floor).empty());        // not small
    CHECK(diagnosis(truth, values_of(g + 300 * floor * abs(noise)), {16, 16}, floor).empty());   // of one sign
    CHECK(diagnosis(truth, values_of(g + 300 * floor * (noise + g)), {16, 16}, floor).empty());  // correlated with it
    const Tensor<double> spike = pad(Tensor<double>({1, 1}, {1.0}), 0, 7, 8);
    CHECK_THAT(diagnosis(truth, values_of(g + 300 * floor * pad(spike, 1, 3, 12)), {16, 16}, floor),
               Contains("only row 7 of 16 is wrong"));
}

TEST_CASE("diagnose: a factor is not named after one that is infinite, as S/(S-1) is for one position") {
    const Evidence one{"g", {2}, {1, 2}, {3, 6}, 0, {}};
    const GradReport report = judge(std::span(&one, 1), {.precision = "f64", .factors = usual_factors(1, 4)});
    CHECK(report.rows[0].diagnosis == "constant factor 3");
}

TEST_CASE("judge: an infinity in the truth excuses no other element, and makes no other gradient vacuous") {
    const double infinity = std::numeric_limits<double>::infinity();
    const Evidence all[]{{"a", {2}, {infinity, 1}, {infinity, 7}, 0, {}}, {"b", {2}, {1, 2}, {1, 2}, 0, {}}};
    const GradReport report = judge(all, {});
    CHECK(report.rows[0].verdict == Verdict::differs);
    CHECK(report.rows[0].over_tolerance == 2);
    CHECK(report.rows[1].verdict == Verdict::agree);
}

TEST_CASE("judge: one factor in all gradients is said whatever was not checked, and never where nothing was") {
    const Evidence off[]{
        {"a", {2}, {}, {}, 0, {}}, {"b", {2}, {1, 2}, {3, 6}, 0, {}}, {"c", {2}, {2, 5}, {6, 15}, 0, {}}};
    REQUIRE(judge(off, {}).notes.size() == 1);
    CHECK_THAT(judge(off, {}).notes[0], Contains("one factor"));
    const Evidence nothing[]{{"a", {2}, {}, {}, 0, {}}, {"b", {2}, {}, {}, 0, {}}};
    CHECK(judge(nothing, {}).notes.empty());
    const Evidence small[]{{"a", {2}, {1, 2}, {3e-5, 6e-5}, 0, {}}, {"b", {2}, {2, 5}, {1e-4, 2.5e-4}, 0, {}}};
    CHECK(judge(small, {}).notes.empty());
}

}  // namespace test_diagnose
