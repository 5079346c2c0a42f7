#pragma once

#include <xtape/engine/ops.hpp>
#include <xtape/engine/parameter.hpp>

namespace xtape::nn {

/// y = (x − mean(x)) / √(var(x) + eps) ⊙ weight + bias over the last axis, of width `dim`; starts at 1 and 0.
template <Real T> struct LayerNorm {
    Parameter<T> weight, bias;
    double eps;

    explicit LayerNorm(Index dim, double eps = 1e-5)
        : weight(Tensor<T>::full({dim}, T(1))), bias(Shape{dim}), eps(eps) {}

    Tensor<T> operator()(const Tensor<T>& x) const { return layer_norm(x, weight, bias, eps); }

    void each_parameter(auto&& visit) {
        visit("weight", weight);
        visit("bias", bias);
    }
};

}  // namespace xtape::nn
