#include <xtape/engine/check/trajectory.hpp>
#include <xtape/engine/error.hpp>
#include <xtape/tests/catch.hpp>

#include <cmath>

namespace test_trajectory {

using namespace xtape;

namespace {

using Values = std::vector<double>;

/// What may be wrong with the hand-written loop.
struct Mistakes {
    bool squared_norm = false, decay_in_gradient = false, no_bias_correction = false;
    int forgets_momentum_after = 1000;
    bool backwards = false;  ///< not a mistake: sums in another order
};

/// L = ½ Σ_ij (tanh(w_i) c_j − (i − j)/2)², clipped at a norm of 0.1, by AdamW. T is what it computes in.
template <class T> Training training(const Mistakes& wrong) {
    return [wrong](const std::vector<Values>& start) -> TrainingStep {
        struct State {
            std::vector<T> w, c, m = std::vector<T>(7), v = m;
            int step = 0;
        };
        State state{{start[0].begin(), start[0].end()}, {start[1].begin(), start[1].end()}};
        return [wrong, state]() mutable {
            const int rows = 4, columns = 3;
            T loss = 0;
            std::vector<T> g(7);
            for (int k = 0; k < rows * columns; ++k) {
                const int at = wrong.backwards ? rows * columns - 1 - k : k;
                const auto i = static_cast<std::size_t>(at / columns), j = static_cast<std::size_t>(at % columns);
                const T t = std::tanh(state.w[i]), r = t * state.c[j] - T(0.5) * (T(i) - T(j));
                loss += r * r / 2;
                g[i] += r * state.c[j] * (1 - t * t);
                g[4 + j] += r * t;
            }
            const std::vector<T> gradient = g;
            T squares = 0;
            for (const T x : g) squares += x * x;
            const T norm = wrong.squared_norm ? squares : std::sqrt(squares);
            for (T& x : g) x *= std::min(T(1), T(0.1) / norm);
            const std::vector<T> clipped = g;
            ++state.step;
            const T c1 = wrong.no_bias_correction ? T(1) : T(1 - std::pow(0.9, state.step));
            const T c2 = wrong.no_bias_correction ? T(1) : T(1 - std::pow(0.9975, state.step));
            for (std::size_t k = 0; k < 7; ++k) {
                T& x = k < 4 ? state.w[k] : state.c[k - 4];
                if (wrong.decay_in_gradient) g[k] += T(0.01) * x;
                if (state.step > wrong.forgets_momentum_after) state.m[k] = 0;
                state.m[k] = T(0.9) * state.m[k] + T(0.1) * g[k];
                state.v[k] = T(0.9975) * state.v[k] + T(0.0025) * g[k] * g[k];
                if (!wrong.decay_in_gradient) x *= 1 - T(0.05) * T(0.01);
                x -= T(0.05) * (state.m[k] / c1) / (std::sqrt(state.v[k] / c2) + T(1e-8));
            }
            std::vector<StepArray> arrays{{Stage::loss, "", {}, {double(loss)}}};
            const auto add = [&](Stage stage, const std::string& prefix, const std::vector<T>& of) {
                arrays.push_back({stage, prefix + "w", {4}, {of.begin(), of.begin() + 4}});
                arrays.push_back({stage, prefix + "c", {3}, {of.begin() + 4, of.begin() + 7}});
            };
            add(Stage::gradient, "", gradient);
            add(Stage::clipped_gradient, "", clipped);
            add(Stage::optimizer_state, "m.", state.m);
            add(Stage::optimizer_state, "v.", state.v);
            std::vector<T> all = state.w;
            all.insert(all.end(), state.c.begin(), state.c.end());
            add(Stage::parameter, "", all);
            return arrays;
        };
    };
}

const std::vector<Values> start{{0.3, -0.8, 1.1, 0.5}, {0.9, -0.4, 0.7}};

const GradRow& row_of(const GradReport& report, const std::string& name) {
    const auto found = std::ranges::find(report.rows, name, &GradRow::name);
    REQUIRE(found != report.rows.end());
    return *found;
}

GradReport judged(const Mistakes& mistakes, const TrajectoryOptions& options = {}) {
    return compare_trajectories(training<double>({}), training<double>(mistakes), start, options);
}

/// The right loop, with an edit of what its steps give.
template <class Edit> Training edited(Edit edit) {
    return [edit](const std::vector<Values>& from) -> TrainingStep {
        return [edit, step = training<double>({})(from)]() mutable {
            std::vector<StepArray> arrays = step();
            edit(arrays);
            return arrays;
        };
    };
}

}  // namespace

TEST_CASE("compare_trajectories: sums in another order agree, in f64 and, with its epsilon, in f32") {
    const Mistakes none{.backwards = true};
    CHECK(judged(none));
    const TrajectoryOptions f32{.epsilon = std::numeric_limits<float>::epsilon()};
    CHECK(compare_trajectories(training<double>({}), training<float>(none), start, f32));
    CHECK_FALSE(compare_trajectories(training<double>({}), training<float>(none), start));
}

TEST_CASE("compare_trajectories: clipping by the squared norm departs after the gradients, by 1/norm") {
    const GradReport report = judged({.squared_norm = true});
    CHECK_FALSE(report);
    REQUIRE(report.notes.size() == 1);
    CHECK(report.notes[0] ==
          "first departs at step 1: clipped gradient, optimizer state, parameter; loss, gradient agree");
    CHECK_THAT(row_of(report, "clipped gradient of w").diagnosis,
               Catch::Matchers::StartsWith("from step 1 on: constant factor ") &&
                   Catch::Matchers::EndsWith(": 1/norm: clipped by the squared norm"));
    CHECK(row_of(report, "gradient of w").diagnosis.starts_with("from step 2 on"));
}

TEST_CASE("compare_trajectories: decay in the gradient departs in the moments, by a share of the parameter") {
    const GradReport report = judged({.decay_in_gradient = true});
    CHECK_FALSE(report);
    CHECK_THAT(report.notes.at(0),
               Catch::Matchers::Equals(
                   "first departs at step 1: optimizer state, parameter; loss, gradient, clipped gradient agree"));
    CHECK(row_of(report, "m.w").diagnosis ==
          "from step 1 on: the error is 0.001 of the parameter: is weight decay in the gradient?");
}

TEST_CASE("compare_trajectories: without bias correction only the parameters depart, by (1 - β₁)/√(1 - β₂)") {
    const GradReport report = judged({.no_bias_correction = true}, {.factors = {{"no bias correction", 2}}});
    CHECK_FALSE(report);
    CHECK_THAT(report.notes.at(0),
               Catch::Matchers::Equals(
                   "first departs at step 1: parameter; loss, gradient, clipped gradient, optimizer state agree"));
    CHECK(row_of(report, "w").diagnosis == "from step 1 on: the step is off by a factor near 2: no bias correction");
}

TEST_CASE("compare_trajectories: a fault of the fourth step is found at the fourth step") {
    const GradReport report = judged({.forgets_momentum_after = 3});
    CHECK_FALSE(report);
    CHECK(report.notes.at(0).starts_with(
        "first departs at step 4: optimizer state (2 of 4), parameter; loss, gradient, "));
}

TEST_CASE("compare_trajectories: what the candidate leaves out is said, what it adds or cuts is refused") {
    const GradReport report =
        compare_trajectories(training<double>({}),
                             edited([](auto& arrays) { arrays.erase(arrays.begin() + 5, arrays.begin() + 9); }), start);
    CHECK(report);
    CHECK(report.notes.at(0) == "not given: m.w, m.c, v.w, v.c");
    CHECK_THROWS_WITH(
        compare_trajectories(training<double>({}), edited([](auto& arrays) { arrays.back().name += 'x'; }), start),
        "compare_trajectories: the candidate gives cx, which the truth does not");
    CHECK_THROWS_WITH(compare_trajectories(training<double>({}),
                                           edited([](auto& arrays) { arrays.back().values.pop_back(); }), start),
                      "compare_trajectories: c has 2 elements, should have 3");
}

TEST_CASE("compare_trajectories: a candidate that does not repeat itself is not excused by its own spread") {
    int runs = 0;
    const Training noisy = [&runs](const std::vector<Values>& from) -> TrainingStep {
        return [step = training<double>({})(from), by = 1e-9 * ++runs] {
            std::vector<StepArray> arrays = step();
            arrays.front().values[0] += by;
            return arrays;
        };
    };
    const GradReport report = compare_trajectories(training<double>({}), noisy, start);
    CHECK_FALSE(report);
    CHECK(report.notes.back() == "nondeterministic: a second run from the same start gave other numbers");
}

TEST_CASE("compare_trajectories: a candidate that overflows where runs beside it do not departs") {
    const Training overflowing = [](const std::vector<Values>& from) -> TrainingStep {
        return [step = training<double>({})(from), here = from == start] {
            std::vector<StepArray> arrays = step();
            if (here) arrays.front().values[0] = std::numeric_limits<double>::infinity();
            return arrays;
        };
    };
    CHECK_FALSE(compare_trajectories(training<double>({}), overflowing, start));
}

TEST_CASE("compare_trajectories: a NaN that is there in every run departs, and is not nondeterministic") {
    const GradReport report =
        compare_trajectories(training<double>({}), edited([](auto& arrays) { arrays[1].values[0] = NAN; }), start);
    CHECK_FALSE(report);
    CHECK(row_of(report, "gradient of w").diagnosis == "from step 1 on: NaN at [0]");
    CHECK(report.notes.size() == 1);
}

TEST_CASE("compare_trajectories: a truth that overflows excuses no other array") {
    const Training truth = edited([](auto& arrays) { arrays[1].values[0] = INFINITY; });
    const GradReport report = compare_trajectories(truth, edited([](auto& arrays) {
                                                       arrays[1].values[0] = INFINITY;
                                                       arrays[2].values[0] += 1;
                                                   }),
                                                   start);
    CHECK(row_of(report, "gradient of c").verdict == Verdict::differs);
}

TEST_CASE("compare_trajectories: optimizer state of another size than its parameter is judged as it is") {
    const auto with_count = [](double count) {
        return edited([count](auto& arrays) {
            arrays[5] = {Stage::optimizer_state, "m.w", {2}, {1, count}};
            arrays[6] = {Stage::optimizer_state, "t.c", {}, {count}};
        });
    };
    CHECK(compare_trajectories(with_count(2), with_count(2), start));
    const GradReport report = compare_trajectories(with_count(2), with_count(3), start);
    CHECK(row_of(report, "m.w").verdict == Verdict::differs);
    CHECK(row_of(report, "t.c").verdict == Verdict::differs);
}

TEST_CASE("compare_trajectories: runs, starts and shapes that do not fit are refused") {
    const Training right = training<double>({});
    int runs = 0;
    const Training shrinking = [&](const std::vector<Values>& from) -> TrainingStep {
        return ++runs == 1 ? right(from) : edited([](auto& arrays) { arrays.pop_back(); })(from);
    };
    CHECK_THROWS_WITH(compare_trajectories(right, shrinking, start),
                      "compare_trajectories: two runs of one training give arrays of other numbers or sizes");
    const Training added = edited([](auto& arrays) { arrays.push_back({Stage::parameter, "d", {1}, {0}}); });
    CHECK_THROWS_WITH(compare_trajectories(added, right, start),
                      "compare_trajectories: d has 1 elements, its start has 0");
    const Training cut = edited([](auto& arrays) { arrays[1].values.pop_back(); });
    CHECK_THROWS_WITH(compare_trajectories(cut, right, start),
                      "compare_trajectories: gradient of w has 3 elements: its shape is [4]");
}

}  // namespace test_trajectory
