#include <xtape/engine/check/diagnose.hpp>

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::check {
namespace {

using Values = std::span<const double>;

/// Whether the candidate is `expected`, an element of which is `expected(i)`.
bool matches(const Suspect& suspect, const auto& expected, double tolerance) {
    for (std::size_t i = 0; i < suspect.truth.size(); ++i) {
        if (!(std::abs(suspect.candidate[i] - expected(i)) <= tolerance)) return false;
    }
    return true;
}

std::string not_finite(const Suspect& suspect) {
    for (const auto& [values, whose] : {std::pair{suspect.candidate, ""}, {suspect.truth, " of the truth itself"}}) {
        const auto at = std::ranges::find_if(values, [](double v) { return !std::isfinite(v); });
        if (at == values.end()) continue;
        return fmt::format("{} at {}{}", std::isnan(*at) ? "NaN" : "infinity",
                           place_of(at - values.begin(), suspect.shape), whose);
    }
    return {};
}

std::string never_written(const Suspect& suspect) {
    return std::ranges::all_of(suspect.candidate, [](double v) { return v == 0; }) ? "never written" : "";
}

std::string known_fault(const Suspect& suspect) {
    for (const Hypothesis& known : suspect.hypotheses) {
        if (known.gradient.size() != suspect.truth.size()) continue;
        if (matches(
                suspect, [&](std::size_t i) { return known.gradient[i]; }, suspect.tolerance))
            return known.name;
    }
    return {};
}

/// A factor of one element says nothing, unless it is a well-known one.
std::string constant_factor(const Suspect& suspect) {
    double ab = 0, bb = 0;
    for (std::size_t i = 0; i < suspect.truth.size(); ++i) {
        ab += suspect.candidate[i] * suspect.truth[i];
        bb += suspect.truth[i] * suspect.truth[i];
    }
    const double s = ab / bb;
    const double tolerance = suspect.tolerance * std::max(1.0, std::abs(s));
    if (!matches(
            suspect, [&](std::size_t i) { return s * suspect.truth[i]; }, tolerance))
        return {};
    const auto is = [&](double value) { return std::abs(s - value) < 1e-5 * std::abs(value); };
    if (is(-1)) return "sign";
    if (is(2)) return "doubled: added twice";
    for (const NamedFactor& known : suspect.factors) {
        if (is(known.value)) return fmt::format("constant factor {:.6g}: {}", s, known.name);
    }
    if (std::ranges::count_if(suspect.truth, [](double v) { return v != 0; }) < 2) return {};
    return fmt::format("constant factor {:.6g}", s);
}

std::string transposed(const Suspect& suspect) {
    const Shape& shape = suspect.shape;
    if (shape.rank() != 2 || shape[0] == 1 || shape[1] == 1) return {};
    const auto rows = static_cast<std::size_t>(shape[0]);
    const auto columns = static_cast<std::size_t>(shape[1]);
    const auto other = [&](std::size_t i) { return suspect.truth[i % rows * columns + i / rows]; };
    return matches(suspect, other, suspect.tolerance) ? "transposed" : "";
}

/// Which rows (axis 0), or with axis −1 columns, are wrong, and what else is known of them.
struct Lines {
    std::vector<Index> wrong;
    Index count;
    bool all_zero = true;     ///< the candidate, in those that are wrong
    bool some_right = false;  ///< a line that is not zero agrees
};

Lines lines_along(const Suspect& suspect, int axis) {
    const Index count = suspect.shape[axis];
    const Index inner = axis == 0 ? suspect.shape.size() / count : 1;
    Lines lines{.wrong = {}, .count = count};
    std::vector<char> wrong(static_cast<std::size_t>(count)), zero(wrong.size(), 1), nothing(wrong.size(), 1);
    for (std::size_t i = 0; i < suspect.truth.size(); ++i) {
        const auto line = i / static_cast<std::size_t>(inner) % wrong.size();
        if (!(std::abs(suspect.candidate[i] - suspect.truth[i]) <= suspect.tolerance)) wrong[line] = 1;
        if (suspect.candidate[i] != 0) zero[line] = 0;
        if (suspect.truth[i] != 0) nothing[line] = 0;
    }
    for (std::size_t line = 0; line < wrong.size(); ++line) {
        if (wrong[line] != 0) lines.wrong.push_back(static_cast<Index>(line));
        if (wrong[line] != 0 && zero[line] == 0) lines.all_zero = false;
        if (wrong[line] == 0 && nothing[line] == 0) lines.some_right = true;
    }
    return lines;
}

std::string listed(const Lines& lines, std::string_view noun) {
    const auto shown = std::span(lines.wrong).first(std::min<std::size_t>(lines.wrong.size(), 8));
    return fmt::format("{}{} {}{} of {}", noun, lines.wrong.size() > 1 ? "s" : "", fmt::join(shown, ", "),
                       shown.size() < lines.wrong.size() ? ", ..." : "", lines.count);
}

std::string missing(const Suspect& suspect, int axis, std::string_view noun) {
    const Lines lines = lines_along(suspect, axis);
    if (!lines.all_zero || !lines.some_right) return {};
    if (lines.wrong.size() > 1) return listed(lines, noun) + " missing";
    if (lines.wrong.front() == 0) return fmt::format("first {} missing", noun);
    if (lines.wrong.front() == lines.count - 1) return fmt::format("last {} missing", noun);
    return listed(lines, noun) + " missing";
}

std::string missing_rows(const Suspect& suspect) {
    if (suspect.shape.rank() == 0) return {};
    return missing(suspect, 0, suspect.shape.rank() == 1 ? "element" : "row");
}

std::string missing_columns(const Suspect& suspect) {
    return suspect.shape.rank() < 2 ? "" : missing(suspect, -1, "column");
}

/// The elements of line `k` of those that run along an axis: row k of axis 0, column k of axis −1.
struct LinesOf {
    std::size_t count, length, step, stride;

    LinesOf(const Shape& shape, int axis)
        : count(static_cast<std::size_t>(shape[axis])),
          length(static_cast<std::size_t>(shape.size()) / count),
          step(axis == 0 ? length : 1),
          stride(axis == 0 ? 1 : count) {}
    double at(Values values, std::size_t line, std::size_t i) const { return values[line * step + i * stride]; }
};

/// For each wrong line of the candidate, in order, the line of the truth that it is; empty unless they are the wrong
/// lines in another order.
std::vector<Index> sources_of(const Suspect& suspect, const std::vector<Index>& wrong, const LinesOf& lines) {
    const auto first = [&](Index line) { return lines.at(suspect.truth, static_cast<std::size_t>(line), 0); };
    std::vector<Index> left = wrong, sources;
    std::ranges::stable_sort(left, {}, first);
    for (const Index line : wrong) {
        const auto is_source = [&](Index source) {
            for (std::size_t i = 0; i < lines.length; ++i) {
                const double truth = lines.at(suspect.truth, static_cast<std::size_t>(source), i);
                const double there = lines.at(suspect.candidate, static_cast<std::size_t>(line), i);
                if (!(std::abs(there - truth) <= suspect.tolerance)) return false;
            }
            return true;
        };
        const double begin = lines.at(suspect.candidate, static_cast<std::size_t>(line), 0) - suspect.tolerance;
        auto at = std::ranges::lower_bound(left, begin, {}, first);
        while (at != left.end() && first(*at) <= begin + 2 * suspect.tolerance && !is_source(*at)) ++at;
        if (at == left.end() || !is_source(*at)) return {};
        sources.push_back(*at);
        left.erase(at);
    }
    return sources;
}

std::string permuted(const Suspect& suspect, int axis, std::string_view noun) {
    const std::vector<Index> wrong = lines_along(suspect, axis).wrong;
    if (wrong.size() < 2) return {};
    const std::vector<Index> sources = sources_of(suspect, wrong, LinesOf(suspect.shape, axis));
    if (sources.empty()) return {};
    constexpr std::size_t most = 6;
    std::vector<std::string> moves;
    for (std::size_t i = 0; i < std::min(sources.size(), most); ++i)
        moves.push_back(fmt::format("{} holds {}", wrong[i], sources[i]));
    return fmt::format("{}s permuted: {} {}{}", noun, noun, fmt::join(moves, ", "),
                       sources.size() > most ? fmt::format(", ... ({} of them)", sources.size()) : "");
}

std::string permuted_rows(const Suspect& suspect) {
    if (suspect.shape.rank() == 0) return {};
    return permuted(suspect, 0, suspect.shape.rank() == 1 ? "element" : "row");
}

std::string permuted_columns(const Suspect& suspect) {
    return suspect.shape.rank() < 2 ? "" : permuted(suspect, -1, "column");
}

/// Small errors that have nothing to do with the gradient: of either sign, spread evenly, correlated with nothing.
std::string rounding_only(const Suspect& suspect) {
    constexpr double most = 1e3;
    const std::size_t n = suspect.truth.size();
    if (n < 8) return {};
    double largest = 0, sum = 0, ee = 0, eb = 0, bb = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double e = suspect.candidate[i] - suspect.truth[i];
        largest = std::max(largest, std::abs(e));
        sum += e;
        ee += e * e;
        eb += e * suspect.truth[i];
        bb += suspect.truth[i] * suspect.truth[i];
    }
    const auto size = static_cast<double>(n);
    const bool small = largest <= most * suspect.noise;
    const bool even = largest <= (3 + std::sqrt(2 * std::log(size))) * std::sqrt(ee / size);
    const bool unbiased = std::abs(sum) <= 3 * std::sqrt(ee) && std::abs(eb) <= 3 * std::sqrt(ee * bb / size);
    return small && even && unbiased ? "rounding only: small errors that follow no pattern" : "";
}

std::string wrong_rows(const Suspect& suspect) {
    if (suspect.shape.rank() < 2) return {};
    const Lines lines = lines_along(suspect, 0);
    if (!lines.some_right) return {};
    return "only " + listed(lines, "row") + (lines.wrong.size() > 1 ? " are" : " is") +
           " wrong: overwritten instead of accumulated?";
}

/// In this order: the first that fits is the diagnosis.
constexpr std::array<std::string (*)(const Suspect&), 11> table{
    not_finite,      never_written, known_fault,      constant_factor, transposed, missing_rows,
    missing_columns, permuted_rows, permuted_columns, rounding_only,   wrong_rows,
};

}  // namespace

std::string diagnose(const Suspect& suspect) {
    for (const auto& test : table) {
        if (std::string name = test(suspect); !name.empty()) return name;
    }
    return {};
}

bool is_weak(std::string_view diagnosis) {
    return diagnosis.empty() || diagnosis.ends_with('?') || diagnosis.starts_with("constant factor") ||
           diagnosis.starts_with("rounding");
}

}  // namespace xtape::check
