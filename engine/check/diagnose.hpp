#pragma once
// Names for the ways in which a gradient is wrong.

#include <xtape/engine/check/compare.hpp>

namespace xtape::check {

/// A candidate that differs from the truth, and how near two gradients must be to count as the same.
struct Suspect {
    std::span<const double> candidate;
    std::span<const double> truth;
    const Shape& shape;
    double tolerance;  ///< absolute
    double noise = 0;  ///< the error that rounding alone makes, absolute
    std::span<const NamedFactor> factors;
    std::span<const Hypothesis> hypotheses;
};

/// The first diagnosis of the table that fits; empty when none does.
std::string diagnose(const Suspect& suspect);

/// Whether a diagnosis is none, a guess, or no more than a number.
bool is_weak(std::string_view diagnosis);

/// Notes on what the rows have in common: vacuous ones, one factor in all of them.
void add_notes(GradReport& report);

}  // namespace xtape::check
