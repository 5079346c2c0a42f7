#pragma once
// xtape profile: where the time of a model's training step goes.

#include <xtape/engine/tape.hpp>
#include <xtape/tools/trainer.hpp>

#include <functional>
#include <vector>

namespace xtape::tools {

/// Means over some steps of forward and backward; the optimizer is no part of them.
struct StepProfile {
    std::vector<ProfileRow> rows;  ///< one an op, the slowest first; `calls` is that of the first step
    double tokens = 0;
    double flops = 0;  ///< by the model's formula; 0 where none is known

    double seconds() const;
    std::size_t kept_bytes() const;
};

/// Of `steps` micro-batches, after one that warms up. The gradients are dropped.
StepProfile profile_steps(Learner& learner, int steps);

/// {"steps", "seconds", "tokens", "gflops" (a second; null where unknown), "kept_bytes", "ops": [{"op", "calls",
/// "forward_seconds", "backward_seconds", "kept_bytes"}]}, all of one step.
Json to_json(const StepProfile& profile, int steps);

/// The subcommand. It sets `action` to what the arguments ask for.
void add_profile(CLI::App& app, std::function<Exit()>& action);

}  // namespace xtape::tools
