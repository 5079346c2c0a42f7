#pragma once
// How well a gate learns and decides.

#include <xtape/engine/shape.hpp>

#include <deque>
#include <limits>

namespace xtape::models {

/// The losses of the steps of a course.
class LossHistory {
public:
    LossHistory() = default;
    /// As it was after `steps` steps. Throws ValueError for more than the last 100 losses.
    LossHistory(Index steps, double average, std::deque<double> last);

    void add(double loss);

    Index steps() const { return steps_; }
    /// Exponential moving average, a ← 0.99 a + 0.01 loss from the first loss on; NaN before it.
    double average() const { return average_; }
    /// At most 100, the newest at the end.
    const std::deque<double>& last() const { return last_; }
    /// The mean of the last 10 minus that of the 10 before; 0 with fewer than 20.
    double trend() const;

private:
    Index steps_ = 0;
    double average_ = std::numeric_limits<double>::quiet_NaN();
    std::deque<double> last_;
};

/// Decisions by what the model says (first word) and what it should say. Allow is the positive class: what is let
/// through and should not be is a false positive.
struct Confusion {
    Index allow_allow = 0, allow_block = 0, block_allow = 0, block_block = 0;

    void add(bool says_allow, bool should_allow);

    Index decisions() const { return allow_allow + allow_block + block_allow + block_block; }
    /// The fraction of decisions that are as they should be; NaN without any, as are those below.
    double alignment() const;
    /// Of those allowed, the fraction that should be.
    double precision() const;
    /// Of those that should be allowed, the fraction that is.
    double recall() const;
    /// At least 1,000 decisions, and 0.95 of them as they should be.
    bool converged() const { return decisions() >= 1000 && alignment() >= 0.95; }
};

}  // namespace xtape::models
