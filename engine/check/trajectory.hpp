#pragma once
// compare_trajectories: a few steps of training, the tape with its optimizer against a hand-written loop. It shows what
// no gradient shows: clipping by the squared norm, decay in the wrong place, a missing bias correction.

#include <xtape/engine/check/compare.hpp>

#include <limits>

namespace xtape {

/// What a step of training makes, in this order.
enum class Stage { loss, gradient, clipped_gradient, optimizer_state, parameter };

/// `clipped gradient`.
std::string_view to_string(Stage stage);

/// An array that a step leaves. `name` is the parameter's, of the optimizer's state the state's as well: `m.wte`.
struct StepArray {
    Stage stage;
    std::string name;
    Shape shape;
    std::vector<double> values;
};

/// Takes the next step of a training run.
using TrainingStep = std::function<std::vector<StepArray>()>;
/// Begins a training run at these parameters, in the order in which its steps give them.
using Training = std::function<TrainingStep(const std::vector<std::vector<double>>& start)>;

struct TrajectoryOptions {
    int steps = 10;
    double epsilon = std::numeric_limits<double>::epsilon();  ///< of what the candidate computes in
    double factor = 16;                                       ///< how many noise floors it may be off
    std::vector<NamedFactor> factors = {};                    ///< names for factors by which a step may be off
    std::uint64_t seed = 1;
};

/// Two training runs from one start, array by array and step by step; the candidate may leave arrays out, which is
/// noted. The noise floor is measured: runs of both from starts that are off by a few epsilon show how far rounding has
/// taken each array by each step. A candidate that does not repeat itself is said to be nondeterministic. A row is of
/// the first step at which its array departs, or else of the step with the largest noise ratio; those that depart
/// first come first. A note names the first step that departs and what still agrees there. Throws ValueError for an
/// array that the truth does not have, ShapeError for one of another size, also than its shape, its start or in another
/// run.
GradReport compare_trajectories(const Training& truth, const Training& candidate,
                                const std::vector<std::vector<double>>& start, const TrajectoryOptions& options = {});

}  // namespace xtape
