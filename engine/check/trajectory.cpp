#include <xtape/engine/check/diagnose.hpp>
#include <xtape/engine/check/trajectory.hpp>
#include <xtape/engine/error.hpp>

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape {
namespace {

using check::Random;
using Values = std::vector<double>;
using Step = std::vector<StepArray>;

constexpr int shadows = 4;       // runs of the truth from other starts
constexpr double perturbed = 4;  // epsilons, either way
constexpr double near = 0.05;    // how far a step may be from a multiple of the right one to be called so

double largest_of(const Values& values) {
    double largest = 0;
    for (const double v : values) largest = std::max(largest, std::abs(v));
    return largest;
}

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

/// One step of both runs, what it began with, and the floor of its rounding.
struct Moment {
    const Step& truth;
    std::vector<Step> shadows;
    std::map<std::string, Values> before;  ///< parameters by name
    const TrajectoryOptions& options;

    double floor(std::size_t i) const {
        double stage_largest = 0, moved = 0;
        for (const StepArray& array : truth)
            if (array.stage == truth[i].stage) stage_largest = std::max(stage_largest, largest_of(array.values));
        for (const Step& shadow : shadows) moved = std::max(moved, distance(shadow[i].values, truth[i].values));
        return moved + options.epsilon * stage_largest;
    }

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
                if (std::abs(*s - factor.value) <= near * std::abs(factor.value))
                    return fmt::format("the step is off by a factor near {:.4g}: {}", factor.value, factor.name);
            return fmt::format("the step is off by a factor near {:.3g}", *s);
        }
        std::string text = check::diagnose({.candidate = wrong,
                                            .truth = right.values,
                                            .shape = right.shape,
                                            .tolerance = options.factor * row.noise,
                                            .factors = known,
                                            .hypotheses = {}});
        if (!text.empty() || parameter == before.end()) return text;
        const std::optional<double> share = multiple(difference(wrong, right.values), parameter->second);
        if (share) text = fmt::format("the error is {:.3g} of the parameter: is weight decay in the gradient?", *share);
        return text;
    }

    GradRow judge(std::size_t i, const StepArray& candidate) const {
        const StepArray& right = truth[i];
        GradRow row = measure(title(right), right.shape, candidate.values, right.values);
        row.precision = options.epsilon < 1e-12 ? "f64" : "f32";
        row.noise = floor(i);
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

/// "gradient (9 arrays)", in the order of the stages.
std::string listed(const std::vector<std::pair<Stage, int>>& stages) {
    std::vector<std::string> words;
    for (const auto& [stage, count] : stages)
        words.push_back(count == 1 ? std::string(to_string(stage))
                                   : fmt::format("{} ({} arrays)", to_string(stage), count));
    return words.empty() ? "nothing" : fmt::format("{}", fmt::join(words, ", "));
}

/// The comparison as it goes.
class Comparison {
public:
    explicit Comparison(const TrajectoryOptions& options) {
        report_.check = "compare_trajectories";
        report_.seed = options.seed;
        report_.factor = options.factor;
    }

    void add(int step, const Moment& moment, const Step& candidate) {
        std::map<Stage, int> departs, agrees;
        for (const StepArray& array : candidate) {
            const auto right = std::ranges::find_if(moment.truth, [&](const StepArray& known) {
                return known.stage == array.stage && known.name == array.name;
            });
            if (right == moment.truth.end())
                throw ValueError(fmt::format("compare_trajectories: the candidate gives {}, which the truth does not",
                                             title(array)));
            if (right->values.size() != array.values.size())
                throw ShapeError(fmt::format("compare_trajectories: {} has {} elements, should have {}", title(array),
                                             array.values.size(), right->values.size()));
            GradRow row = moment.judge(static_cast<std::size_t>(right - moment.truth.begin()), array);
            ++(row.verdict == Verdict::agree ? agrees : departs)[array.stage];
            keep(step, std::move(row));
        }
        if (departed_ || departs.empty()) return;
        departed_ = true;
        report_.notes.push_back(
            fmt::format("first departs at step {}: {}; {} {}", step, listed({departs.begin(), departs.end()}),
                        listed({agrees.begin(), agrees.end()}), agrees.size() == 1 ? "agrees" : "agree"));
    }

    GradReport finish(const Step& truth) {
        std::vector<std::string> missing;
        for (const StepArray& array : truth)
            if (std::ranges::find(report_.rows, title(array), &GradRow::name) == report_.rows.end())
                missing.push_back(title(array));
        if (!missing.empty()) report_.notes.push_back(fmt::format("not given: {}", fmt::join(missing, ", ")));
        return std::move(report_);
    }

private:
    void keep(int step, GradRow row) {
        if (row.verdict == Verdict::differs)
            row.diagnosis = fmt::format("from step {} on{}{}", step, row.diagnosis.empty() ? "" : ": ", row.diagnosis);
        const auto known = std::ranges::find(report_.rows, row.name, &GradRow::name);
        if (known == report_.rows.end())
            report_.rows.push_back(std::move(row));
        else if (known->verdict == Verdict::agree &&
                 (row.verdict != Verdict::agree || row.noise_ratio > known->noise_ratio))
            *known = std::move(row);
    }

    GradReport report_;
    bool departed_ = false;
};

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
    Random random(options.seed);
    const TrainingStep right = truth(start), judged = candidate(start);
    std::vector<TrainingStep> beside;
    for (int i = 0; i < shadows; ++i) {
        std::vector<Values> moved = start;
        for (Values& values : moved)
            for (double& v : values) v *= 1 + perturbed * options.epsilon * random.uniform(-1, 1);
        beside.push_back(truth(moved));
    }
    Comparison comparison(options);
    Step now;
    std::vector<Values> before = start;
    for (int step = 1; step <= options.steps; ++step) {
        now = right();
        Moment moment{now, {}, {}, options};
        for (const TrainingStep& shadow : beside) moment.shadows.push_back(shadow());
        std::size_t i = 0;
        for (const StepArray& array : now) {
            if (array.stage != Stage::parameter) continue;
            moment.before[array.name] = std::exchange(before.at(i++), array.values);
        }
        comparison.add(step, moment, judged());
    }
    return comparison.finish(now);
}

}  // namespace xtape
