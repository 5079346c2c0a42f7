#pragma once
// The derivative of a function on a line, by finite differences.

#include <functional>

namespace xtape::check {

/// ⟨u, y⟩, and Σ |u y|, which says how large its rounding error is.
struct Weighed {
    double value = 0;
    double magnitude = 0;
};

struct Slope {
    double value = 0;
    double rounding = 0;  ///< the error that rounding of φ leaves in the value
    bool smooth = true;   ///< false: the differences do not settle, or their slopes on both sides differ
};

/// dφ/dt at 0: central differences with steps halved from `step`, extrapolated to step 0 (Ridders), until their own
/// error estimate is below `tolerance` times the larger of the slope and `scale`.
Slope slope_of(const std::function<Weighed(double)>& phi, double step, double tolerance, double scale);

}  // namespace xtape::check
