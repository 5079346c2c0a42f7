#pragma once
// One variable of a function against finite differences: in random directions, and entry by entry.

#include <xtape/engine/check/function.hpp>
#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/check/report.hpp>
#include <xtape/engine/check/slope.hpp>

namespace xtape::check {

/// What is differentiated by: where it stands, and the tape's gradient (empty: the tape does not reach it).
struct Variable {
    std::string name;
    Shape shape;
    std::vector<double> at;
    Tensor<double> gradient;

    std::size_t size() const { return at.size(); }
    double slope(std::size_t i) const { return gradient ? gradient.data()[i] : 0; }
};

/// The weighed output with the elements of one variable replaced.
using Evaluate = std::function<Weighed(const std::vector<double>& elements)>;

class VariableCheck {
public:
    VariableCheck(const Variable& x, Evaluate evaluate, const GradcheckOptions& options);

    /// Random directions; the row has their statistics.
    GradRow directions(Random& random);
    /// The verdict on that row, given the largest derivative of all variables. Where it differs, the entries say how.
    void judge(GradRow& row, double largest) const;
    /// ∂/∂x_i by finite differences.
    Slope entry(std::size_t i) const;

    /// The largest derivative that the directions showed, and their number that crossed a kink.
    double largest() const { return largest_; }
    int redrawn() const { return redrawn_; }

private:
    struct Direction {
        std::vector<double> d;
        Slope slope;
        double scale;  ///< ‖g‖‖d‖/√n
    };

    Direction smooth_direction(Random& random);
    Slope along(const std::vector<double>& d, double scale, double step) const;
    void entries(GradRow& row) const;

    const Variable& x_;
    Evaluate evaluate_;
    const GradcheckOptions& options_;
    double unit_;  ///< a step of 1: as the input's elements are, but between 0.001 and 1
    double largest_ = 0;
    double rounding_ = 0;
    bool kinked_ = false;
    int redrawn_ = 0;
};

/// The checks of all variables, side by side: whether a gradient is vacuous depends on the others.
GradReport run_checks(std::vector<VariableCheck>& checks, const GradcheckOptions& options, std::string name);

/// Compares entries by the tape with differences and fills what the row says of them.
void fill_from_entries(GradRow& row, std::span<const double> by_tape, std::span<const double> by_difference,
                       double tolerance);

}  // namespace xtape::check
