#pragma once
// Kinks: inputs where the derivative of a forward is a convention (relu at 0, equal maxima, the bounds of a clamp), so
// that the tape and a right hand-written backward may differ.

#include <xtape/engine/check/function.hpp>

namespace xtape::check {

/// Which elements of one input stand at a kink.
struct Kinks {
    std::vector<Index> elements = {};
    Index unexamined = 0;  ///< elements that differ but were not looked at, there being too many
};

/// The elements of inputs[which] where `candidate` is off from `truth` by more than `tolerance`, and where the
/// one-sided finite differences of ⟨dy, f⟩ differ by enough to explain it. It ends early when the largest errors are of
/// no kink: the gradient is wrong then, whatever the others are.
Kinks find_kinks(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs, const Tensor<double>& dy,
                 std::size_t which, std::span<const double> candidate, double tolerance, std::span<const double> truth);

}  // namespace xtape::check
