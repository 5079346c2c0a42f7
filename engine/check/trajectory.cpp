#include <xtape/engine/check/diagnose.hpp>
#include <xtape/engine/check/largest.hpp>
#include <xtape/engine/check/trajectory.hpp>
#include <xtape/engine/error.hpp>

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape {
namespace {

using check::largest_of;
using check::Random;
using Values = std::vector<double>;
using Step = std::vector<StepArray>;

constexpr int shadows = 4;  // runs of the truth from other starts
constexpr int most_steps = std::numeric_limits<int>::max();
constexpr double most_apart = 1e6;  // floors, that rounding may grow to
constexpr double perturbed = 4;     // epsilons, either way
constexpr double near = 0.05;       // how far a step may be from a multiple of the right one to be called so

double distance(const Values& a, const Values& b) {
    double largest = 0;
    for (std::size_t i = 0; i < b.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

Values difference(const Values& a, const Values& b) {
    Values d(a);
    for (std::size_t i = 0; i < d.size(); ++i) d[i] -= b[i];
    return d;
}

std::string title(const StepArray& array) {
    if (array.stage == Stage::loss) return "loss";
    if (array.stage == Stage::optimizer_state || array.stage == Stage::parameter) return array.name;
    return fmt::format("{} of {}", to_string(array.stage), array.name);
}

/// The s for which `a` is nearest to s `b`, where it is near.
std::optional<double> multiple(const Values& a, const Values& b) {
    const GradRow fit = measure("", Shape{static_cast<Index>(b.size())}, a, b);
    const double residual = std::sqrt(std::max(0.0, 1 - fit.cosine * fit.cosine));
    if (b.size() < 2 || fit.scale == 0 || !(residual <= near)) return {};
    return fit.scale;
}

/// A training run, the same again, and others from starts that are off by a few epsilon.
class Bundle {
public:
    Bundle(const Training& training, const std::vector<Values>& start, const TrajectoryOptions& options)
        : run_(training(start)), again_(training(start)) {
        Random random(options.seed);
        for (int i = 0; i < shadows; ++i) {
            std::vector<Values> other = start;
            for (Values& values : other)
                for (double& v : values) v *= 1 + perturbed * options.epsilon * random.uniform(-1, 1);
            beside_.push_back(training(other));
        }
    }

    void advance() {
        now = run_();
        const Step again = again_();
        refuse_other_sizes(again);
        for (std::size_t i = 0; i < now.size(); ++i)  // bit by bit: a NaN may be repeated
            repeats = repeats && std::ranges::equal(std::as_bytes(std::span(again[i].values)),
                                                    std::as_bytes(std::span(now[i].values)));
        others_.clear();
        for (const TrainingStep& other : beside_) refuse_other_sizes(others_.emplace_back(other()));
    }

    /// How far rounding has taken array i by now; 0 where a run does not repeat itself or overflows: that is no
    /// rounding.
    double moved(std::size_t i) const {
        double furthest = 0;
        for (const Step& other : others_) furthest = std::max(furthest, distance(other[i].values, now[i].values));
        return repeats && std::isfinite(furthest) ? furthest : 0;
    }

    Step now;
    bool repeats = true;

private:
    void refuse_other_sizes(const Step& step) const {
        const auto same = [](const StepArray& a, const StepArray& b) { return a.values.size() == b.values.size(); };
        if (!std::ranges::equal(step, now, same))
            throw ShapeError("compare_trajectories: two runs of one training give arrays of other numbers or sizes");
    }

    TrainingStep run_, again_;
    std::vector<TrainingStep> beside_;
    std::vector<Step> others_;
};

/// One step of both runs, and what it began with.
struct Moment {
    const Step& truth;
    std::map<std::string, Values> before;  ///< parameters by name
    const TrajectoryOptions& options;

    std::vector<NamedFactor> factors(Stage stage) const {
        std::vector<NamedFactor> all = options.factors;
        double squares = 0;
        for (const StepArray& array : truth)
            if (array.stage == Stage::gradient)
                for (const double g : array.values) squares += g * g;
        if (stage == Stage::clipped_gradient && squares > 0)
            all.push_back({"1/norm: clipped by the squared norm", 1 / std::sqrt(squares)});
        return all;
    }

    std::string diagnosis(const StepArray& right, const Values& wrong, const GradRow& row) const {
        const std::vector<NamedFactor> known = factors(right.stage);
        const auto parameter =
            before.find(right.name.substr(right.stage == Stage::optimizer_state ? right.name.find('.') + 1 : 0));
        if (right.stage == Stage::parameter) {
            const Values &start = parameter->second, step = difference(right.values, start);
            const std::optional<double> s = multiple(difference(wrong, start), step);
            if (!s) return {};
            for (const NamedFactor& factor : known)
                if (std::abs(*s - factor.value) < near * std::abs(factor.value))
                    return fmt::format("the step is off by a factor near {:.4g}: {}", factor.value, factor.name);
            return fmt::format("the step is off by a factor near {:.3g}", *s);
        }
        std::string text = check::diagnose({.candidate = wrong,
                                            .truth = right.values,
                                            .shape = right.shape,
                                            .tolerance = options.factor * row.noise,
                                            .factors = known,
                                            .hypotheses = {}});
        if (!text.empty() || parameter == before.end() || parameter->second.size() != wrong.size()) return text;
        const std::optional<double> share = multiple(difference(wrong, right.values), parameter->second);
        if (share) text = fmt::format("the error is {:.3g} of the parameter: is weight decay in the gradient?", *share);
        return text;
    }

    GradRow judge(const StepArray& right, const StepArray& candidate, double noise) const {
        GradRow row = measure(title(right), right.shape, candidate.values, right.values);
        row.precision = options.epsilon < 1e-12 ? "f64" : "f32";
        row.noise = noise;
        row.noise_ratio = row.noise > 0 ? row.max_error / row.noise : row.max_error;
        const double tolerance = options.factor * row.noise;
        for (std::size_t k = 0; k < right.values.size(); ++k)
            if (!(std::abs(candidate.values[k] - right.values[k]) <= tolerance)) ++row.over_tolerance;
        if (row.over_tolerance == 0) return row;
        row.verdict = Verdict::differs;
        row.diagnosis = diagnosis(right, candidate.values, row);
        return row;
    }
};

/// How many arrays of a stage depart, of how many.
struct Count {
    int departed = 0, all = 0;
};

/// "first departs at step 1: gradient (2 of 9), parameter; loss agrees", in the order of the stages.
std::string note_of_departure(int step, const std::map<Stage, Count>& stages) {
    std::vector<std::string> depart, agree;
    for (const auto& [stage, count] : stages) {
        const std::string name(to_string(stage));
        if (count.departed == 0)
            agree.push_back(name);
        else
            depart.push_back(
                count.departed == count.all ? name : fmt::format("{} ({} of {})", name, count.departed, count.all));
    }
    const std::string rest = agree.empty() ? "nothing" : fmt::format("{}", fmt::join(agree, ", "));
    return fmt::format("first departs at step {}: {}; {} agree{}", step, fmt::join(depart, ", "), rest,
                       agree.size() > 1 ? "" : "s");
}

/// The comparison as it goes.
class Comparison {
public:
    explicit Comparison(const TrajectoryOptions& options) : options_(options) {
        report_.check = "compare_trajectories";
        report_.seed = options.seed;
        report_.factor = options.factor;
    }

    void add(int step, const Bundle& truth, const Bundle& candidate, const std::map<std::string, Values>& before) {
        const Moment moment{truth.now, before, options_};
        refuse_unknown(truth.now, candidate.now);
        std::map<Stage, Count> stages;
        for (std::size_t i = 0; i < truth.now.size(); ++i) {
            const StepArray& right = truth.now[i];
            const auto given = std::ranges::find_if(candidate.now, [&](const StepArray& array) {
                return array.stage == right.stage && array.name == right.name;
            });
            const bool judged = given != candidate.now.end();
            const double moved = judged ? candidate.moved(static_cast<std::size_t>(given - candidate.now.begin())) : 0;
            const double floor = raised_floor(truth.now, right, std::max(truth.moved(i), moved));
            if (!judged || departed(right)) continue;
            StepArray excused = *given;
            if (right.stage == Stage::parameter) excuse(excused, right, truth.now, before.at(right.name));
            GradRow row = moment.judge(right, excused, floor * spread_);
            const double off = distance(given->values, right.values);
            if (row.verdict == Verdict::agree && off > floor * spread_) spread_ = std::min(off / floor, most_apart);
            ++stages[right.stage].all;
            if (row.verdict != Verdict::agree) ++stages[right.stage].departed;
            keep(step, std::move(row));
        }
        const bool departs = std::ranges::any_of(stages, [](const auto& stage) { return stage.second.departed > 0; });
        if (departs && !departed_) report_.notes.push_back(note_of_departure(step, stages));
        departed_ = departed_ || departs;
    }

    GradReport finish(const Step& truth, bool repeats) {
        std::ranges::stable_sort(report_.rows, {}, [&](const GradRow& row) { return steps_[row.name]; });
        std::vector<std::string> missing;
        for (const StepArray& array : truth)
            if (std::ranges::find(report_.rows, title(array), &GradRow::name) == report_.rows.end())
                missing.push_back(title(array));
        if (!missing.empty()) report_.notes.push_back(fmt::format("not given: {}", fmt::join(missing, ", ")));
        if (!repeats)
            report_.notes.emplace_back("nondeterministic: a second run from the same start gave other numbers");
        return std::move(report_);
    }

private:
    bool departed(const StepArray& array) const {
        const auto known = steps_.find(title(array));
        return known != steps_.end() && known->second < most_steps;
    }

    static void refuse_unknown(const Step& truth, const Step& candidate) {
        for (const StepArray& array : candidate) {
            const auto right = std::ranges::find_if(
                truth, [&](const StepArray& known) { return known.stage == array.stage && known.name == array.name; });
            if (right == truth.end())
                throw ValueError(fmt::format("compare_trajectories: the candidate gives {}, which the truth does not",
                                             title(array)));
            if (right->values.size() != array.values.size())
                throw ShapeError(fmt::format("compare_trajectories: {} has {} elements, should have {}", title(array),
                                             array.values.size(), right->values.size()));
        }
    }

    /// What rounding has moved either run, an epsilon of what the stage was once (a loss that has become small, and its
    /// gradient, are differences of numbers that have not), and what a clipped gradient or a moment inherits from the
    /// gradient. It never falls.
    double raised_floor(const Step& truth, const StepArray& array, double moved) {
        double& size = sizes_[array.stage];
        double& floor = floors_[title(array)];
        const double largest = largest_of(array.values);
        size = std::max(size, largest);
        floor = std::max(floor, moved + options_.epsilon * size);
        if (array.stage != Stage::clipped_gradient && array.stage != Stage::optimizer_state) return floor;
        for (const StepArray& source : truth) {
            const bool own = array.name == source.name || array.name.ends_with("." + source.name);
            const double from = largest_of(source.values);
            if (!own || source.stage == Stage::loss || source.stage >= array.stage || from == 0) continue;
            floor = std::max(floor, floors_[title(source)] * std::min(1.0, largest / from));
        }
        return floor;
    }

    /// A step divides a moment by its size, and so magnifies its floor where it is small: in elements that are within
    /// that, the candidate is given the right value.
    void excuse(StepArray& candidate, const StepArray& right, const Step& truth, const Values& before) {
        const StepArray* source = nullptr;  // the first moment, or else the gradient
        for (const StepArray& array : truth)
            if (array.stage < Stage::parameter && array.values.size() == before.size() &&
                (array.name == right.name || array.name == "m." + right.name))
                source = &array;
        if (source == nullptr) return;
        const double floor = floors_[title(*source)];
        Values& excused = excused_[right.name];
        excused.resize(before.size());
        for (std::size_t i = 0; i < before.size(); ++i) {
            const double from = source->values[i];
            if (from != 0) excused[i] += std::abs((right.values[i] - before[i]) / from) * floor;
            const double off = std::abs(candidate.values[i] - right.values[i]);
            if (off <= options_.factor * spread_ * excused[i]) candidate.values[i] = right.values[i];
        }
    }

    void keep(int step, GradRow row) {
        steps_.emplace(row.name, most_steps);
        if (row.verdict == Verdict::differs) {
            steps_[row.name] = std::min(steps_[row.name], step);
            row.diagnosis = fmt::format("from step {} on{}{}", step, row.diagnosis.empty() ? "" : ": ", row.diagnosis);
        }
        const auto known = std::ranges::find(report_.rows, row.name, &GradRow::name);
        if (known == report_.rows.end())
            report_.rows.push_back(std::move(row));
        else if (known->verdict == Verdict::agree &&
                 (row.verdict != Verdict::agree || row.noise_ratio > known->noise_ratio))
            *known = std::move(row);
    }

    TrajectoryOptions options_;
    GradReport report_;
    std::map<Stage, double> sizes_;         ///< the largest value of each so far
    std::map<std::string, double> floors_;  ///< of each array, by its title
    double spread_ = 1;                     ///< floors by which arrays have been off and agree: what follows may be too
    std::map<std::string, Values> excused_;  ///< of each parameter, by its name: what its elements may be off too
    std::map<std::string, int> steps_;       ///< at which a row departs, by its name
    bool departed_ = false;
};

/// The parameters that a step began with, by name; keeps in `values` those that it leaves.
std::map<std::string, Values> exchanged(std::vector<Values>& values, const Step& step) {
    std::map<std::string, Values> before;
    std::size_t i = 0;
    for (const StepArray& array : step) {
        if (array.values.size() != static_cast<std::size_t>(array.shape.size()))
            throw ShapeError(fmt::format("compare_trajectories: {} has {} elements: its shape is {}", title(array),
                                         array.values.size(), to_string(array.shape)));
        if (array.stage != Stage::parameter) continue;
        if (i >= values.size() || values[i].size() != array.values.size())
            throw ShapeError(fmt::format("compare_trajectories: {} has {} elements, its start has {}", title(array),
                                         array.values.size(), i < values.size() ? values[i].size() : 0));
        before[array.name] = std::exchange(values[i++], array.values);
    }
    return before;
}

}  // namespace

std::string_view to_string(Stage stage) {
    switch (stage) {
        case Stage::loss:
            return "loss";
        case Stage::gradient:
            return "gradient";
        case Stage::clipped_gradient:
            return "clipped gradient";
        case Stage::optimizer_state:
            return "optimizer state";
        case Stage::parameter:
            return "parameter";
    }
    return "";
}

GradReport compare_trajectories(const Training& truth, const Training& candidate, const std::vector<Values>& start,
                                const TrajectoryOptions& options) {
    Bundle right(truth, start, options), judged(candidate, start, options);
    Comparison comparison(options);
    std::vector<Values> values = start;
    for (int step = 1; step <= options.steps; ++step) {
        right.advance();
        judged.advance();
        comparison.add(step, right, judged, exchanged(values, right.now));
    }
    return comparison.finish(right.now, judged.repeats);
}

}  // namespace xtape
