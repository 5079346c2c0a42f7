#pragma once
// What every check returns: one row a parameter, never one global number.

#include <xtape/engine/shape.hpp>

#include <concepts>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xtape {

/// Vacuous: the true gradient is zero, or below 1e-12 of the largest, so that nothing was checked. Unreached: the
/// result does not depend on the parameter. Never written: the candidate is zero where the truth is not.
enum class Verdict { agree, differs, vacuous, unreached, never_written };

/// `agree`, `never written`.
std::string_view to_string(Verdict verdict);

/// How one gradient (the candidate, a) compares with the truth (b).
struct GradRow {
    std::string name = {};
    Shape shape = {};
    std::string_view precision = "f64";  ///< what the candidate ran in
    double truth_max = 0;                ///< max|b|
    double max_error = 0;                ///< max|a − b|
    double rms_error = 0;
    double relative = 0;     ///< max|a − b| / max|b|
    double relative_l2 = 0;  ///< ‖a − b‖ / ‖b‖
    double cosine = 1;
    double scale = 1;                 ///< the s for which s b is nearest to a
    double noise = 0;                 ///< the error that rounding alone makes
    double noise_ratio = 0;           ///< max_error / noise
    Index over_tolerance = 0;         ///< elements whose error is above the tolerance
    Index left_out = 0;               ///< elements at a kink of the forward, which do not count: the most in one draw
    std::optional<Index> worst = {};  ///< where |a − b| is largest, row-major; a random direction has no such place
    double worst_candidate = 0;
    double worst_truth = 0;
    Verdict verdict = Verdict::agree;
    std::string diagnosis = {};
};

/// Whether the candidate is wrong: its verdict is `differs` or `never_written`.
bool differs(const GradRow& row);

/// The statistics of a candidate against the truth, arrays of one size; an element that is not finite counts as an
/// infinite error. Tolerances and verdict are the caller's.
GradRow measure(std::string name, const Shape& shape, std::span<const double> candidate, std::span<const double> truth);

/// `[2, 7]` for the element at a row-major position.
std::string place_of(Index position, const Shape& shape);

/// One fault that explains all gradients that differ.
struct Explanation {
    std::string diagnosis;                ///< "the gradient is passed on unchanged, as if there were no rms_norm"
    std::string scope;                    ///< "every rms_norm"
    std::vector<std::string> parameters;  ///< whose gradients it explains
    bool inferred = false;                ///< only from which gradients are wrong: no backward was run that gives them
};

/// Diagnosis and scope: `sign of the gradient through ... (layers.1.wq)`.
std::string to_string(const Explanation& explanation);

/// The result of a check: true when nothing differs and something was checked. It prints itself.
struct GradReport {
    std::string check = {};               ///< which instrument: "gradcheck"
    std::uint64_t seed = 0;               ///< reproduces the random directions and cotangents
    double factor = 1;                    ///< a row agrees while noise_ratio <= factor
    std::optional<GradRow> forward = {};  ///< parity of the forward values, where they were compared
    std::vector<GradRow> rows = {};       ///< the gradients
    std::vector<std::string> notes = {};  ///< what else the reader should know
    std::optional<Explanation> explanation = {};

    bool passed() const;
    explicit operator bool() const { return passed(); }

    /// To a GoogleTest AssertionResult, so that EXPECT_TRUE(gradcheck(...)) prints the report.
    template <class Result>
    requires requires(Result result, const std::string& text) {
        { result.failure_message() } -> std::convertible_to<const char*>;
        { result << text } -> std::same_as<Result&>;
    }
    operator Result() const {
        Result result(passed());
        result << text();
        return result;
    }

    /// `1 of 3 gradients differ`; says so where some agree only because there is nothing to check.
    std::string headline() const;
    /// The table, one line a row; those that differ have a second line.
    std::string text() const;
};

std::ostream& operator<<(std::ostream& out, const GradReport& report);

}  // namespace xtape
