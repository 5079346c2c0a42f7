#pragma once
// Where the time of a training step goes, and how much of the machine it uses.

#include <xtape/engine/tape.hpp>
#include <xtape/tools/trainer.hpp>

namespace xtape::tools {

/// Floating-point operations a second of a product of two 1024 × 1024 matrices on all threads: the best of some.
double measure_product_rate();

/// The ops of one forward and backward, each with its time and bytes in all scopes, the slowest first. The gradients
/// that this makes are dropped.
std::vector<ProfileRow> profile_step(Learner& learner, Index draw);

/// Prints such rows as a table.
void print_profile(std::span<const ProfileRow> rows);

}  // namespace xtape::tools
