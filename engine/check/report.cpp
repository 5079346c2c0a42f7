#include <xtape/engine/check/report.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <set>

#include <fmt/format.h>

namespace xtape {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::string line_of(const GradRow& row, std::size_t width) {
    std::string line = fmt::format("\n  {:<{}}  {:<12} {}  {:<14}", row.name, width, to_string(row.shape),
                                   row.precision, to_string(row.verdict));
    if (row.verdict == Verdict::unreached) return line;
    line += fmt::format("relative {:.1e}  max {:.1e}  rms {:.1e}  noise ratio {:.2g}", row.relative, row.max_error,
                        row.rms_error, row.noise_ratio);
    if (!differs(row)) return line;
    line += fmt::format("\n  {:<{}}  ", "", width);
    if (!row.diagnosis.empty()) line += row.diagnosis + "; ";
    if (row.worst)
        line += fmt::format("worst at {}: {:.9g}, should be {:.9g}; ", place_of(*row.worst, row.shape),
                            row.worst_candidate, row.worst_truth);
    return line + fmt::format("cosine {:.6f}, best-fit scale {:.6g}, relative L2 {:.1e}, {} of {} over tolerance",
                              row.cosine, row.scale, row.relative_l2, row.over_tolerance, row.shape.size());
}

}  // namespace

std::string_view to_string(Verdict verdict) {
    switch (verdict) {
        case Verdict::agree:
            return "agree";
        case Verdict::differs:
            return "differs";
        case Verdict::vacuous:
            return "vacuous";
        case Verdict::unreached:
            return "unreached";
        case Verdict::never_written:
            return "never written";
    }
    return "";
}

bool differs(const GradRow& row) { return row.verdict == Verdict::differs || row.verdict == Verdict::never_written; }

std::string to_string(const Explanation& explanation) {
    return fmt::format("{} ({})", explanation.diagnosis, explanation.scope);
}

GradRow measure(std::string name, const Shape& shape, std::span<const double> candidate,
                std::span<const double> truth) {
    GradRow row{.name = std::move(name), .shape = shape};
    double errors = 0, aa = 0, bb = 0, ab = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const double a = candidate[i];
        const double b = truth[i];
        const double difference = std::abs(a - b);
        const double error = std::isnan(difference) ? infinity : difference;
        if (!row.worst || error > row.max_error) {
            row.worst = static_cast<Index>(i);
            row.worst_candidate = a;
            row.worst_truth = b;
        }
        row.max_error = std::max(row.max_error, error);
        if (std::isfinite(b)) row.truth_max = std::max(row.truth_max, std::abs(b));
        errors += error * error;
        aa += a * a;
        bb += b * b;
        ab += a * b;
    }
    if (truth.empty()) return row;
    row.rms_error = std::sqrt(errors / static_cast<double>(truth.size()));
    row.relative = row.truth_max > 0 ? row.max_error / row.truth_max : (row.max_error > 0 ? infinity : 0);
    row.relative_l2 = bb > 0 ? std::sqrt(errors / bb) : (errors > 0 ? infinity : 0);
    row.cosine = aa > 0 && bb > 0 ? ab / std::sqrt(aa) / std::sqrt(bb) : (aa == bb ? 1 : 0);
    row.scale = bb > 0 ? ab / bb : 1;
    return row;
}

std::string place_of(Index position, const Shape& shape) {
    std::string text;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
        text = std::to_string(position % shape[axis]) + (text.empty() ? "" : ", ") + text;
        position /= shape[axis];
    }
    return "[" + text + "]";
}

bool GradReport::passed() const {
    if (forward && forward->verdict != Verdict::agree) return false;
    const bool checked = std::ranges::any_of(rows, [](const GradRow& row) { return row.verdict == Verdict::agree; });
    return checked && std::ranges::none_of(rows, differs);
}

std::string GradReport::headline() const {
    std::set<std::string_view> names, right, wrong;  // a gradient that ran in f32 and in f64 is one
    for (const GradRow& row : rows) {
        names.insert(row.name);
        if (differs(row)) wrong.insert(row.name);
        if (row.verdict == Verdict::agree) right.insert(row.name);
    }
    const std::string of_them = fmt::format("of {} gradients", names.size());
    std::string headline = "all gradients agree";
    if (!wrong.empty())
        headline = fmt::format("{} {} differ", wrong.size(), of_them);
    else if (right.empty())
        headline = "nothing was checked";
    else if (right.size() < names.size())
        headline =
            fmt::format("{} {} agree, the true gradient of the rest is zero or negligible", right.size(), of_them);
    return (forward && forward->verdict != Verdict::agree ? "the forward differs; " : "") + headline;
}

std::string GradReport::text() const {
    std::string text = fmt::format("{}: {} (within {:g} of the noise floor, seed {})", check, headline(), factor, seed);
    std::size_t width = forward ? forward->name.size() : 0;
    for (const GradRow& row : rows) width = std::max(width, row.name.size());
    if (forward) text += line_of(*forward, width);
    for (const GradRow& row : rows) text += line_of(row, width);
    if (explanation)
        text +=
            fmt::format("\n  one fault behind {} of them: {}", explanation->parameters.size(), to_string(*explanation));
    for (const std::string& note : notes) text += "\n  " + note;
    return text;
}

std::ostream& operator<<(std::ostream& out, const GradReport& report) { return out << report.text(); }

}  // namespace xtape
