#pragma once

#include "arrays.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

namespace xtape::reference {

struct AdamConfig {
    double beta1 = 0.85, beta2 = 0.99, epsilon = 1e-8, weight_decay = 0;
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
            for (const NamedArray<T>& array : parameters) moments_.emplace_back(array.values.size());
        ++steps_;
        const T beta1 = T(config_.beta1), beta2 = T(config_.beta2), epsilon = T(config_.epsilon);
        const T decay = T(config_.weight_decay);
        const T correction1 = T(1 - std::pow(config_.beta1, steps_));
        const T correction2 = T(1 - std::pow(config_.beta2, steps_));
        for (std::size_t i = 0; i < parameters.size(); ++i)
            for (std::size_t j = 0; j < parameters[i].values.size(); ++j) {
                const T g = gradients[i].values[j];
                auto& [m, v] = moments_[i][j];
                m = beta1 * m + (1 - beta1) * g;
                v = beta2 * v + (1 - beta2) * g * g;
                T& value = parameters[i].values[j];
                value -= T(lr) * decay * value;
                value -= T(lr) * (m / correction1) / (std::sqrt(v / correction2) + epsilon);
            }
    }

private:
    struct Moments {
        T m = 0, v = 0;
    };

    AdamConfig config_;
    int steps_ = 0;
    std::vector<std::vector<Moments>> moments_;
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

}  // namespace xtape::reference
