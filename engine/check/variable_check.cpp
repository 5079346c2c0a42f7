#include <xtape/engine/check/diagnose.hpp>
#include <xtape/engine/check/variable_check.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xtape::check {
namespace {

constexpr int redraws = 16;                // of a direction that crosses a kink
constexpr std::size_t most_entries = 256;  // differenced one by one where a row differs
constexpr double vacuous_below = 1e-12;
constexpr double infinity = std::numeric_limits<double>::infinity();

double norm(const auto& values) {
    double sum = 0;
    for (const double v : values) sum += v * v;
    return std::sqrt(sum);
}

double dot(const Variable& x, const std::vector<double>& d) {
    double sum = 0;
    for (std::size_t i = 0; i < d.size(); ++i) sum += x.slope(i) * d[i];
    return sum;
}

double unit_of(const Variable& x) {
    const double size = norm(x.at) / std::sqrt(static_cast<double>(x.size()));
    return size > 0 ? std::clamp(size, 1e-3, 1.0) : 1;
}

double or_infinity(double v) { return std::isnan(v) ? infinity : v; }

}  // namespace

VariableCheck::VariableCheck(const Variable& x, Evaluate evaluate, const GradcheckOptions& options)
    : x_(x), evaluate_(std::move(evaluate)), options_(options), unit_(unit_of(x)) {}

Slope VariableCheck::along(const std::vector<double>& d, double scale, double step) const {
    std::vector<double> moved(x_.size());
    const auto phi = [&](double t) {
        for (std::size_t i = 0; i < d.size(); ++i) moved[i] = x_.at[i] + t * d[i];
        return evaluate_(moved);
    };
    return slope_of(phi, step, options_.tolerance / 10, scale);
}

VariableCheck::Direction VariableCheck::smooth_direction(Random& random) {
    Direction drawn;
    const double length = x_.gradient ? norm(x_.gradient.values()) : 0;
    const double size = std::isfinite(length) ? length : 0;  // a NaN in it is no kink
    for (int attempt = 0; attempt <= redraws; ++attempt) {
        drawn.d.resize(x_.size());
        for (double& v : drawn.d) v = unit_ * random.uniform(-1, 1);
        drawn.scale = size * norm(drawn.d) / std::sqrt(static_cast<double>(x_.size()));
        drawn.slope = along(drawn.d, drawn.scale, options_.step);
        if (drawn.slope.smooth) return drawn;
        ++redrawn_;
    }
    kinked_ = true;
    return drawn;
}

GradRow VariableCheck::directions(Random& random) {
    std::vector<double> by_tape, by_difference;
    double relative = 0, noise_ratio = 0, noise = 0;
    for (int i = 0; i < options_.directions && x_.size() > 0 && !kinked_; ++i) {
        auto [d, slope, scale] = smooth_direction(random);
        by_tape.push_back(dot(x_, d));
        if (!(std::abs(by_tape.back() - slope.value) <= options_.tolerance * scale + slope.rounding)) {
            // Where the function is steep the extrapolation may settle too early; a wrong gradient stays wrong.
            const Slope shorter = along(d, scale, options_.step / 16);
            const bool nearer = std::abs(by_tape.back() - shorter.value) < std::abs(by_tape.back() - slope.value);
            if (nearer && shorter.rounding <= options_.tolerance * scale) slope = shorter;
        }
        by_difference.push_back(slope.value);
        const double error = or_infinity(std::abs(by_tape.back() - slope.value));
        const double size = std::max(scale, std::abs(slope.value));
        const double allowed = options_.tolerance * scale + slope.rounding;
        largest_ = std::max(largest_, size / unit_);
        rounding_ = std::max(rounding_, slope.rounding / unit_);
        if (error == 0) continue;
        relative = std::max(relative, or_infinity(error / size));
        const double ratio = or_infinity(error / allowed);
        if (ratio <= noise_ratio) continue;
        noise_ratio = ratio;
        noise = allowed;
    }
    GradRow row = measure(x_.name, {static_cast<Index>(by_tape.size())}, by_tape, by_difference);
    row.shape = x_.shape;
    row.worst.reset();
    row.relative = relative;
    row.noise = noise;
    row.noise_ratio = noise_ratio;
    return row;
}

void VariableCheck::judge(GradRow& row, double largest) const {
    if (kinked_) {
        row.verdict = Verdict::differs;
        row.diagnosis = "every direction crosses a kink: move the input away from it";
    } else if (row.noise_ratio > 1) {
        row.verdict = x_.gradient ? Verdict::differs : Verdict::never_written;
        entries(row);
        if (!x_.gradient) row.diagnosis = "the tape does not reach it";
    } else if (!x_.gradient) {
        row.verdict = x_.size() == 0 ? Verdict::vacuous : Verdict::unreached;
    } else if (largest_ <= std::max(vacuous_below * largest, rounding_)) {
        row.verdict = Verdict::vacuous;
    }
}

void VariableCheck::entries(GradRow& row) const {
    const std::size_t stride = std::max<std::size_t>(1, (x_.size() + most_entries - 1) / most_entries);
    std::vector<double> by_tape, by_difference;
    double size = 0, rounding = 0;
    for (std::size_t i = 0; i < x_.size(); i += stride) {
        const Slope slope = entry(i);
        by_tape.push_back(x_.slope(i));
        by_difference.push_back(slope.value);
        size = std::max(size, std::abs(slope.value));
        rounding = std::max(rounding, slope.rounding);
    }
    GradRow found{.shape = stride == 1 ? x_.shape : Shape{}};
    fill_from_entries(found, by_tape, by_difference, options_.tolerance * size + rounding);
    row.cosine = found.cosine;
    row.scale = found.scale;
    row.relative_l2 = found.relative_l2;
    row.worst = *found.worst * static_cast<Index>(stride);
    row.worst_candidate = found.worst_candidate;
    row.worst_truth = found.worst_truth;
    row.over_tolerance = found.over_tolerance;
    row.diagnosis = found.diagnosis;
    if (stride == 1) return;
    if (found.over_tolerance == 0) row.diagnosis = "not at the entries looked at";
    row.diagnosis += fmt::format(" (one entry in {} was looked at)", stride);
}

Slope VariableCheck::entry(std::size_t i) const {
    std::vector<double> d(x_.size());
    d[i] = unit_;
    Slope slope = along(d, std::abs(x_.slope(i)) * unit_, options_.step);
    slope.value /= unit_;
    slope.rounding /= unit_;
    return slope;
}

GradReport run_checks(std::vector<VariableCheck>& checks, const GradcheckOptions& options, std::string name) {
    GradReport report{.check = std::move(name), .seed = options.seed};
    Random random(options.seed);
    double largest = 0;
    int redrawn = 0;
    for (VariableCheck& one : checks) {
        report.rows.push_back(one.directions(random));
        largest = std::max(largest, one.largest());
        redrawn += one.redrawn();
    }
    for (std::size_t i = 0; i < checks.size(); ++i) checks[i].judge(report.rows[i], largest);
    if (redrawn > 0) report.notes.push_back(fmt::format("{} directions crossed a kink and were drawn again", redrawn));
    return report;
}

void fill_from_entries(GradRow& row, std::span<const double> by_tape, std::span<const double> by_difference,
                       double tolerance) {
    row = measure(row.name, row.shape, by_tape, by_difference);
    row.noise = tolerance;
    row.noise_ratio = row.max_error == 0 ? 0 : or_infinity(row.max_error / tolerance);
    for (std::size_t i = 0; i < by_tape.size(); ++i) {
        if (!(std::abs(by_tape[i] - by_difference[i]) <= tolerance)) ++row.over_tolerance;
    }
    if (row.over_tolerance == 0) return;
    row.verdict = Verdict::differs;
    row.diagnosis = diagnose({.candidate = by_tape,
                              .truth = by_difference,
                              .shape = row.shape,
                              .tolerance = tolerance,
                              .factors = {},
                              .hypotheses = {}});
}

}  // namespace xtape::check
