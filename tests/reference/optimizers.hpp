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
/// With a weight decay λ it is AdamW (Loshchilov and Hutter 2019): `θ −= lr λ θ` first, on the value before the step.
template <class T> class Adam {
public:
    explicit Adam(const AdamConfig& config = {}) : config_(config) {}

    /// One step; `gradients` match `parameters` array by array, and every call has the same arrays.
    void step(Arrays<T>& parameters, const Arrays<T>& gradients, double lr) {
        if (steps_ == 0)
            for (const NamedArray<T>& array : parameters) moments_.emplace_back(array.values.size());
        ++steps_;
        const T beta1 = T(config_.beta1), beta2 = T(config_.beta2), epsilon = T(config_.epsilon);
        const T correction1 = T(1 - std::pow(config_.beta1, steps_));
        const T correction2 = T(1 - std::pow(config_.beta2, steps_));
        for (std::size_t i = 0; i < parameters.size(); ++i)
            for (std::size_t j = 0; j < parameters[i].values.size(); ++j) {
                const T g = gradients[i].values[j];
                auto& [m, v] = moments_[i][j];
                m = beta1 * m + (1 - beta1) * g;
                v = beta2 * v + (1 - beta2) * g * g;
                parameters[i].values[j] -= T(lr) * T(config_.weight_decay) * parameters[i].values[j];
                parameters[i].values[j] -= T(lr) * (m / correction1) / (std::sqrt(v / correction2) + epsilon);
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

}  // namespace xtape::reference
