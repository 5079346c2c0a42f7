#pragma once

#include "arrays.hpp"
#include "faults.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace xtape::reference {

/// Where weight decay acts: on the parameter, or, as a fault of AdamW, as a part of the gradient.
enum class Decay { decoupled, in_gradient };

/// `bias_correction` is left out as a fault: the corrections are then 1.
struct AdamConfig {
    double beta1 = 0.85, beta2 = 0.99, epsilon = 1e-8, weight_decay = 0;
    Decay decay = Decay::decoupled;
    bool bias_correction = true;
};

/// Adam with bias correction (Kingma and Ba 2015, algorithm 1), moments and update in T:
/// `θ −= lr m̂ / (√v̂ + ε)`, `m̂ = m / (1 − β₁ⁿ)`, `v̂ = v / (1 − β₂ⁿ)` at step n = 1, 2, ...
/// With a weight decay λ, AdamW (Loshchilov and Hutter 2019): every parameter is lowered by `lr λ θ` before that.
template <class T> class Adam {
public:
    explicit Adam(const AdamConfig& config = {}) : config_(config) {}

    /// One step; `gradients` match `parameters` array by array, and every call has the same arrays.
    void step(Arrays<T>& parameters, const Arrays<T>& gradients, double lr) {
        if (steps_ == 0)
            for (const NamedArray<T>& array : parameters) m_.emplace_back(array.values.size());
        if (steps_ == 0) v_ = m_;
        ++steps_;
        const T beta1 = T(config_.beta1), beta2 = T(config_.beta2), epsilon = T(config_.epsilon);
        const T correction1 = config_.bias_correction ? T(1 - std::pow(config_.beta1, steps_)) : T(1);
        const T correction2 = config_.bias_correction ? T(1 - std::pow(config_.beta2, steps_)) : T(1);
        const bool decoupled = config_.decay == Decay::decoupled;
        const T shrink = decoupled ? T(lr) * T(config_.weight_decay) : T(0);
        const T in_gradient = decoupled ? T(0) : T(config_.weight_decay);
        for (std::size_t i = 0; i < parameters.size(); ++i)
            for (std::size_t j = 0; j < parameters[i].values.size(); ++j) {
                T &value = parameters[i].values[j], &m = m_[i][j], &v = v_[i][j];
                const T g = gradients[i].values[j] + in_gradient * value;
                m = beta1 * m + (1 - beta1) * g;
                v = beta2 * v + (1 - beta2) * g * g;
                value -= shrink * value;
                value -= T(lr) * (m / correction1) / (std::sqrt(v / correction2) + epsilon);
            }
    }

    /// The moments, array by array.
    const std::vector<std::vector<T>>& m() const { return m_; }
    const std::vector<std::vector<T>>& v() const { return v_; }

private:
    AdamConfig config_;
    int steps_ = 0;
    std::vector<std::vector<T>> m_, v_;
};

/// What a clip holds against the maximum: the norm of all gradients, or, as a fault, the square of it.
enum class ClipBy { norm, squared_norm };

/// Scales all gradients by max / norm when their global norm, summed in f64, is above max; returns the norm.
template <class T> double clip_global_norm(Arrays<T>& gradients, double max, ClipBy by = ClipBy::norm) {
    double squares = 0;
    for (const NamedArray<T>& array : gradients)
        for (const T g : array.values) squares += double(g) * double(g);
    const double norm = by == ClipBy::norm ? std::sqrt(squares) : squares;
    if (norm > max)
        for (NamedArray<T>& array : gradients)
            for (T& g : array.values) g *= T(max / norm);
    return norm;
}

/// A training step's own faults, which no gradient shows.
inline constexpr std::array optimizer_faults{
    FaultInfo{"clip-squared-norm", "the global norm is clipped by its square"},
    FaultInfo{"decay-in-gradient", "weight decay is added to the gradient, and so to the moments"},
    FaultInfo{"no-bias-correction", "the moments are not corrected for their start at zero"},
};

/// AdamW behind a clip by the global norm, for whole training steps.
template <class T> class ClippedAdam {
public:
    /// With the id of an optimizer fault, or of any other, which changes nothing.
    ClippedAdam(AdamConfig config, double max_norm, std::string_view fault)
        : max_norm_(max_norm), clip_by_(fault == "clip-squared-norm" ? ClipBy::squared_norm : ClipBy::norm), adam_([&] {
              if (fault == "decay-in-gradient") config.decay = Decay::in_gradient;
              if (fault == "no-bias-correction") config.bias_correction = false;
              return config;
          }()) {}

    /// Clips the gradients, in place, and takes a step.
    void step(Arrays<T>& parameters, Arrays<T>& gradients, double lr) {
        clip_global_norm(gradients, max_norm_, clip_by_);
        adam_.step(parameters, gradients, lr);
    }

    const Adam<T>& adam() const { return adam_; }

private:
    double max_norm_;
    ClipBy clip_by_;
    Adam<T> adam_;
};

}  // namespace xtape::reference
