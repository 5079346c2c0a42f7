#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/check/diagnose.hpp>
#include <xtape/engine/check/largest.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape {
namespace {

constexpr double eps32 = std::numeric_limits<float>::epsilon();
constexpr double eps64 = std::numeric_limits<double>::epsilon();
constexpr double vacuous_below = 1e-12;

using check::largest_of;

/// The error that rounding makes in one tensor; where the truth is (nearly) zero, in the whole model. A noise that is
/// not finite is no rounding.
double noise_floor(const Evidence& evidence, double truth_max, double largest, bool vacuous,
                   const JudgeOptions& options) {
    const double noise = std::isfinite(evidence.noise) ? evidence.noise : 0;
    if (options.precision == "f32") return std::max(std::max(noise, eps32) * truth_max, vacuous ? eps32 * largest : 0);
    const double cancellation = noise * (eps64 / eps32);
    const double relative = options.f64_tolerance / options.factor;
    return vacuous ? relative * largest : std::max(relative, cancellation) * truth_max;
}

void give_verdict(GradRow& row, const Evidence& evidence, std::span<const double> candidate,
                  std::span<const double> truth, double largest, const JudgeOptions& options) {
    const bool finite = std::ranges::all_of(truth, [](double v) { return std::isfinite(v); });
    const bool vacuous = finite && row.truth_max <= vacuous_below * largest;
    row.noise = noise_floor(evidence, row.truth_max, largest, vacuous, options);
    const double tolerance = options.factor * row.noise;
    row.noise_ratio = row.noise > 0 ? row.max_error / row.noise : row.max_error;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        if (!(std::abs(candidate[i] - truth[i]) <= tolerance)) ++row.over_tolerance;
    }
    if (row.over_tolerance == 0) {
        row.verdict = truth.empty() || vacuous ? Verdict::vacuous : Verdict::agree;
        if (evidence.truth.empty()) row.verdict = Verdict::unreached;
    } else if (vacuous) {
        row.verdict = Verdict::differs;
        row.diagnosis = evidence.truth.empty() ? "the loss does not depend on it" : "should be zero";
    } else {
        const bool unwritten = std::ranges::all_of(candidate, [](double v) { return v == 0; });
        row.verdict = unwritten ? Verdict::never_written : Verdict::differs;
        row.diagnosis = check::diagnose({.candidate = candidate,
                                         .truth = truth,
                                         .shape = row.shape,
                                         .tolerance = tolerance,
                                         .noise = row.noise,
                                         .factors = options.factors,
                                         .hypotheses = evidence.hypotheses});
    }
}

GradRow judge_row(const Evidence& evidence, double largest, const JudgeOptions& options) {
    const auto size = static_cast<std::size_t>(evidence.shape.size());
    const std::vector<double> zeros(evidence.truth.empty() || evidence.candidate.empty() ? size : 0);
    const std::span<const double> truth = evidence.truth.empty() ? zeros : evidence.truth;
    const std::span<const double> candidate = evidence.candidate.empty() ? zeros : evidence.candidate;
    if (candidate.size() != size || truth.size() != size) {
        return {.name = evidence.name,
                .shape = evidence.shape,
                .precision = options.precision,
                .verdict = Verdict::differs,
                .diagnosis = fmt::format("{} elements, should be {}", candidate.size(), truth.size())};
    }
    GradRow row = measure(evidence.name, evidence.shape, candidate, truth);
    row.precision = options.precision;
    give_verdict(row, evidence, candidate, truth, largest, options);
    return row;
}

}  // namespace

std::vector<NamedFactor> usual_factors(Index positions, Index head_width) {
    const auto S = static_cast<double>(positions);
    const double root = std::sqrt(static_cast<double>(head_width));
    return {{"1/S", 1 / S},     {"S", S},    {"S/(S-1)", S / (S - 1)}, {"(S-1)/S", (S - 1) / S}, {"√h", root},
            {"1/√h", 1 / root}, {"1/2", 0.5}};
}

double noise_of(std::span<const float> f32, std::span<const double> truth) {
    double error = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const double one = std::abs(f32[i] - truth[i]);
        if (std::isfinite(one)) error = std::max(error, one);  // an overflow is no rounding
    }
    const double largest = largest_of(truth);
    return largest > 0 ? error / largest : 0;
}

namespace check {

void add_notes(GradReport& report) {
    std::vector<std::string> vacuous;
    std::optional<double> scale;  // of those that were checked
    bool one_factor = report.rows.size() > 1;
    for (const GradRow& row : report.rows) {
        if (row.verdict == Verdict::vacuous && row.left_out == 0) vacuous.push_back(row.name);
        if (row.verdict == Verdict::vacuous || row.verdict == Verdict::unreached) continue;
        if (!scale) scale = row.scale;
        if (!row.diagnosis.starts_with("constant factor")) one_factor = false;
        if (std::abs(row.scale - *scale) > 1e-4 * std::abs(*scale)) one_factor = false;
    }
    if (one_factor && scale) report.notes.emplace_back("all gradients are off by one factor: look at the loss");
    if (!vacuous.empty())
        report.notes.push_back(
            fmt::format("vacuous: the true gradient of {} is zero here, so that nothing was checked; "
                        "is a weight behind it zero?",
                        fmt::join(vacuous, ", ")));
}

}  // namespace check

GradReport judge(std::span<const Evidence> evidence, const JudgeOptions& options) {
    double largest = 0;
    for (const Evidence& one : evidence) largest = std::max(largest, largest_of(one.truth));
    GradReport report{.check = options.check, .seed = options.seed, .factor = options.factor};
    for (const Evidence& one : evidence) report.rows.push_back(judge_row(one, largest, options));
    check::add_notes(report);
    return report;
}

GradRow judge_forward(const Evidence& output, const JudgeOptions& options) {
    GradRow row = judge_row(output, largest_of(output.truth), options);
    if (row.verdict == Verdict::vacuous) row.verdict = Verdict::agree;  // an output that is zero agrees with zero
    return row;
}

}  // namespace xtape
