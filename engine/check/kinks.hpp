#pragma once
// Kinks: inputs where the derivative of a forward is a convention (relu at 0, equal maxima, the bounds of a clamp), so
// that the tape and a right hand-written backward may differ.

#include <xtape/engine/check/function.hpp>

namespace xtape::check {

/// How far the gradient of each element of each input jumps at the inputs, or as near to them as rounding in f32 gets;
/// 0 where it is continuous. It is the spread of the tape's gradients at points around, if it stays when they move
/// nearer. That finds kinks whose one-sided differences cancel, and no values are subtracted.
std::vector<std::vector<double>> gradient_jumps(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
                                                const Tensor<double>& dy);

/// Whether an error at such an element is one of convention.
inline bool is_convention(double error, double jump) { return error <= 10 * jump; }

}  // namespace xtape::check
