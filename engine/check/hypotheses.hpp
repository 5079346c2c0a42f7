#pragma once
// One fault for all gradients that differ: the tape's backward is run again with one thing wrong, until it gives what
// the candidate gives.

#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/tape.hpp>

namespace xtape::check {

/// Looks for the one fault of a backward pass that gives all of a candidate's gradients at once, within tolerance or to
/// a thousandth of their errors: at every edge of the tape a gradient dropped, added twice, negated or scaled, at every
/// op the known mistakes of its vjp; in one place, in every layer, or wherever that op stands. Puts what it finds
/// into `report.explanation`, and into the diagnosis of rows that have none; of a mistake that is not known it says
/// where it must be, unless the forward differs too. Notes when it gave up early.
/// The tape keeps its records and made `output`; rows and candidates (empty: zeros) are those of `of`, in order.
void explain(GradReport& report, Tape<double>& tape, const Tensor<double>& output, const Tensor<double>& cotangent,
             std::span<const Tensor<double>* const> of, std::span<const std::vector<double>> candidates);

/// The same for a function of inputs, which is run on a tape of its own.
void explain(GradReport& report, const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
             const Tensor<double>& cotangent, std::span<const Evidence> evidence);

}  // namespace xtape::check
