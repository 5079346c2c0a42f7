// compare: a candidate judged on all draws, and the worst of each gradient reported.
#include <xtape/engine/check/diagnose.hpp>
#include <xtape/engine/check/draws.hpp>
#include <xtape/engine/check/hypotheses.hpp>
#include <xtape/engine/check/kinks.hpp>
#include <xtape/engine/check/largest.hpp>

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::check {
namespace {

template <class T> std::vector<double> widened(const std::vector<T>& values) { return {values.begin(), values.end()}; }

std::vector<double> widened(const Tensor<double>& x) {
    return x ? std::vector<double>(x.values().begin(), x.values().end()) : std::vector<double>();
}

constexpr const char* overwritten = "overwritten instead of accumulated";

int weight(const GradRow& row) {
    constexpr std::array<Verdict, 5> order{Verdict::unreached, Verdict::vacuous, Verdict::agree, Verdict::never_written,
                                           Verdict::differs};
    return static_cast<int>(std::ranges::find(order, row.verdict) - order.begin());
}

bool worse(const GradRow& a, const GradRow& b) {
    return std::pair(weight(a), a.noise_ratio) > std::pair(weight(b), b.noise_ratio);
}

std::string name_of(const CompareOptions& options, std::size_t input) {
    return input < options.names.size() ? options.names[input] : fmt::format("input {}", input);
}

void add_note(GradReport& report, std::string note) {
    if (std::ranges::find(report.notes, note) == report.notes.end()) report.notes.push_back(std::move(note));
}

/// Sets what differs by convention to zero on both sides, and judges again.
void leave_out_kinks(GradReport& report, std::vector<Evidence>& evidence, const Forward& forward, const Draw& draw,
                     const JudgeOptions& judging) {
    if (std::ranges::none_of(report.rows, differs)) return;
    const auto jumps = gradient_jumps(forward.f64, draw.inputs, draw.cotangent);
    std::vector<Index> left_out(evidence.size());
    for (std::size_t i = 0; i < evidence.size(); ++i) {
        const GradRow& row = report.rows[i];
        auto& [name, shape, truth, candidate, noise, hypotheses] = evidence[i];
        if (!differs(row) || truth.size() != candidate.size()) continue;
        for (std::size_t k = 0; k < truth.size(); ++k) {
            const double error = std::abs(candidate[k] - truth[k]);
            if (!(error > judging.factor * row.noise) || !is_convention(error, jumps[i][k])) continue;
            truth[k] = candidate[k] = 0;
            for (Hypothesis& known : hypotheses) known.gradient[k] = 0;
            ++left_out[i];
        }
    }
    if (std::ranges::all_of(left_out, [](Index n) { return n == 0; })) return;
    report = judge(evidence, judging);
    for (std::size_t i = 0; i < left_out.size(); ++i) report.rows[i].left_out = left_out[i];
}

void add_note_of_kinks(GradReport& report) {
    std::vector<std::string> counts;
    for (const GradRow& row : report.rows) {
        if (row.left_out > 0)
            counts.push_back(fmt::format("{} of {} elements of {}", row.left_out, row.shape.size(), row.name));
    }
    if (counts.empty()) return;
    report.notes.push_back(
        fmt::format("left out, in the draw with most: {}, where the forward has a kink and its derivative is a "
                    "convention",
                    fmt::join(counts, ", ")));
}

/// A floor as `judge` takes it: relative to the truth.
double relative(double noise, const Tensor<double>& truth) {
    const double largest = truth ? largest_of(truth.values()) : 0;
    return largest > 0 ? noise / largest : 0;
}

/// What the candidate says on one draw.
template <class T>
GradReport judge_draw(const Forward& forward, const Draw& draw, const Backward<T>& backward,
                      std::span<const double> noise, const CompareOptions& options) {
    const auto [output, gradients] = run_by_hand(backward, draw, options.accumulates ? 2 : 1);
    std::vector<Evidence> evidence;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
        Evidence& one = evidence.emplace_back(Evidence{name_of(options, i),
                                                       draw.inputs[i].shape(),
                                                       widened(draw.truth.dx[i]),
                                                       widened(gradients[i]),
                                                       relative(noise[i], draw.truth.dx[i]),
                                                       {}});
        if (!options.accumulates) continue;
        for (double& v : one.candidate) v /= 2;
        one.hypotheses.push_back({overwritten, one.truth});
        for (double& v : one.hypotheses.back().gradient) v /= 2;
    }
    const JudgeOptions judging{.precision = sizeof(T) == 4 ? "f32" : "f64",
                               .factor = options.factor,
                               .f64_tolerance = options.f64_tolerance,
                               .factors = options.factors,
                               .seed = options.seed};
    GradReport report = judge(evidence, judging);
    leave_out_kinks(report, evidence, forward, draw, judging);
    if (!output.empty())
        report.forward = judge_forward({"forward",
                                        draw.truth.y.shape(),
                                        widened(draw.truth.y),
                                        widened(output),
                                        relative(noise.back(), draw.truth.y),
                                        {}},
                                       judging);
    if (std::ranges::count(report.rows, overwritten, &GradRow::diagnosis) == 0)  // which is no fault of the mathematics
        explain(report, forward.f64, draw.inputs, draw.cotangent, evidence);
    return report;
}

/// Says so where the first draw alone would have told less than the worst one.
void add_note_of_place(GradReport& report, const GradRow& first, const GradRow& worst, std::string_view first_place,
                       std::string_view place) {
    if (weight(worst) <= weight(first)) return;
    if (first.verdict == Verdict::agree)
        add_note(report, fmt::format("{} agrees {}, and differs {}", worst.name, first_place, place));
    else if (first.verdict == Verdict::vacuous)
        add_note(report, fmt::format("{} could not be checked {}, but {}", worst.name, first_place, place));
}

/// The largest relative difference of two runs on the same bits; 0 where they give the same bits.
template <class T> double difference(const std::vector<T>& a, const std::vector<T>& b) {
    if (std::ranges::equal(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)))) return 0;
    double most = 0, largest = 0;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
        largest = std::max(largest, std::abs(static_cast<double>(a[i])));
    }
    return largest > 0 ? most / largest : most;
}

/// Runs the candidate twice on the same bits. Where that alone explains an error it is the diagnosis.
template <class T>
void check_determinism(GradReport& report, const Draw& draw, const Backward<T>& backward,
                       const CompareOptions& options) {
    const HandRun<T> a = run_by_hand(backward, draw, 1), b = run_by_hand(backward, draw, 1);
    for (std::size_t i = 0; i < report.rows.size(); ++i) {
        GradRow& row = report.rows[i];
        const double apart = difference(a.gradients[i], b.gradients[i]);
        if (apart == 0) continue;
        const std::string what = fmt::format("nondeterministic: two runs differ by {:.1e}", apart);
        if (differs(row) && apart * row.truth_max > options.factor * row.noise)
            row.diagnosis = what;
        else
            add_note(report, fmt::format("{} is {} of its largest element", row.name, what));
    }
}

/// The worst row of each gradient over the draws, and the first.
struct Worst {
    GradReport first = {}, report = {};
    std::vector<std::string_view> places = {};  ///< of the draws that the rows are from

    void add(const GradReport& one, std::string_view place) {
        if (places.empty()) {
            first = report = one;
            report.notes.clear();
            places.assign(one.rows.size(), place);
            return;
        }
        if (one.forward && (!report.forward || worse(*one.forward, *report.forward))) report.forward = one.forward;
        if (!report.explanation) report.explanation = one.explanation;
        for (std::size_t i = 0; i < places.size(); ++i) {
            GradRow& row = report.rows[i];
            const Index most = std::max(row.left_out, one.rows[i].left_out);
            if (worse(one.rows[i], row)) {
                row = one.rows[i];
                places[i] = place;
            }
            row.left_out = most;
        }
    }
};

template <class T>
void judge_all(GradReport& report, const Forward& forward, std::span<const Trial> trials, const Backward<T>& backward,
               const CompareOptions& options) {
    Worst worst;
    for (const Trial& trial : trials) {
        for (const Draw& draw : trial.draws)
            worst.add(judge_draw(forward, draw, backward, trial.noise, options), draw.place);
    }
    const Draw& first = trials.front().draws.front();
    GradReport& found = worst.report;
    check_determinism(found, first, backward, options);
    add_notes(found);
    add_note_of_kinks(found);
    for (std::size_t i = 0; i < found.rows.size(); ++i)
        add_note_of_place(found, worst.first.rows[i], found.rows[i], first.place, worst.places[i]);
    if (found.forward && (!report.forward || worse(*found.forward, *report.forward))) report.forward = found.forward;
    if (found.explanation) report.explanation = found.explanation;
    report.rows.insert(report.rows.end(), found.rows.begin(), found.rows.end());
    for (const std::string& note : found.notes) add_note(report, note);
}

/// Where a gradient is wrong in both precisions, f64 says how: in f32 rounding may hide it. The rows of f32 come first.
void tell_one_story(GradReport& report, std::size_t inputs) {
    for (std::size_t i = 0; i < inputs; ++i) {
        const GradRow& f64 = report.rows[inputs + i];
        if (differs(report.rows[i]) && differs(f64) && !f64.diagnosis.empty() && is_weak(report.rows[i].diagnosis))
            report.rows[i].diagnosis = f64.diagnosis;
    }
}

}  // namespace

GradReport compare(const TensorFunction<double>& forward64, const TensorFunction<float>& forward32,
                   const Backward<double>& backward64, const Backward<float>& backward32,
                   std::span<const Tensor<double>> inputs, bool redraw, bool scalar, const CompareOptions& options) {
    Random random(options.seed);
    const Forward forward{forward64, forward32, scalar};
    std::vector<Trial> trials = make_trials(forward, inputs, redraw, options, random);
    if (backward32) {
        for (Trial& trial : trials) raise_by_rounding(trial, forward, backward32, random);
    }
    GradReport report{.check = "compare", .seed = options.seed, .factor = options.factor};
    if (backward32) judge_all(report, forward, trials, backward32, options);
    if (backward64) judge_all(report, forward, trials, backward64, options);
    if (backward32 && backward64) tell_one_story(report, inputs.size());
    if (!report.forward) report.notes.emplace_back("the forward was not compared: return its output from the backward");
    return report;
}

}  // namespace xtape::check
