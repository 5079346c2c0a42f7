#pragma once
// What is done with all gradients of a model between backward and step.

#include <xtape/nn/module.hpp>

namespace xtape {

namespace detail {

template <Real T> double grad_norm(const std::vector<nn::Named<T>>& parameters);
template <Real T> double clip_grad_norm(const std::vector<nn::Named<T>>& parameters, double max);
template <Real T> void scale_grad(const std::vector<nn::Named<T>>& parameters, double factor);

}  // namespace detail

/// √(Σ g²) over all gradients of a model, summed in double in a fixed order.
template <class M> double grad_norm(const M& model) { return detail::grad_norm(nn::detail::collect(model, false)); }

/// What clip_grad_norm multiplies gradients of that norm by (1 up to max, and where it is not finite), for an optimizer
/// that does so in its own pass: `adamw.step(clip_factor(grad_norm(model), 1))`. Throws ValueError for a max that is
/// not above 0.
double clip_factor(double norm, double max);

/// Multiplies all gradients by max / norm when their global norm is above max, and returns the norm before. A norm that
/// is not finite is returned, and nothing is scaled. Throws ValueError for a max that is not above 0.
template <class M> double clip_grad_norm(M& model, double max) {
    return detail::clip_grad_norm(nn::detail::collect(model, false), max);
}

/// Multiplies all gradients by a factor: 1/n after n backward passes, for their mean.
template <class M> void scale_grad(M& model, double factor) {
    detail::scale_grad(nn::detail::collect(model, false), factor);
}

}  // namespace xtape
