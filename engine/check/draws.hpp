#pragma once
// Draws: the inputs and cotangents on which `compare` judges a backward pass, chosen to expose what is wrong.

#include <xtape/engine/check/compare.hpp>

namespace xtape::check {

/// The function in both precisions.
struct Forward {
    const TensorFunction<double>& f64;
    const TensorFunction<float>& f32;
    bool scalar;  ///< the backward takes no cotangent: it is 1
};

/// One set of inputs with its cotangent, and the tape's gradients there. The inputs are numbers of f32, so that both
/// precisions see the same.
struct Draw {
    std::string_view place;  ///< "at the given inputs"
    std::vector<Tensor<double>> inputs;
    Tensor<double> cotangent = {};
    TapeGradients<double> truth = {};
    TapeGradients<float> f32 = {};
};

/// Draws that are alike enough to have one noise floor. It is absolute: a gradient or a loss that happens to be small
/// in one draw has no smaller rounding errors there.
struct Trial {
    std::vector<Draw> draws;
    std::vector<double> noise;  ///< of each gradient, and (last) of the output
};

/// Four draws: `inputs` and three others, perturbed (where all of an input is zero, away from it) or, if `redraw`, new
/// ones. Where magnitudes are asked for, a second trial of such inputs.
std::vector<Trial> make_trials(const Forward& forward, std::span<const Tensor<double>> inputs, bool redraw,
                               const CompareOptions& options, Random& random);

/// Raises the noise floors to the candidate's own rounding, which in sequential sums is more than the tape's: at inputs
/// that differ in their last bits the error of rounding differs, while that of a fault stays.
void raise_by_rounding(Trial& trial, const Forward& forward, const Backward<float>& backward, Random& random);

/// What a hand-written backward gives.
template <class T> struct HandRun {
    std::vector<T> output;
    Arrays<T> gradients;
};

/// So many passes on one draw, without zeroing in between.
template <class T> HandRun<T> run_by_hand(const Backward<T>& backward, const Draw& draw, int passes);

}  // namespace xtape::check
