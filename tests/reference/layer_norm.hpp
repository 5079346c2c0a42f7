#pragma once

#include "kernels.hpp"

#include <cmath>
#include <vector>

namespace xtape::reference {

/// Weight and bias of a layer norm, or their gradients.
template <class T> struct LayerNorm { std::vector<T> weight, bias; };

template <class T> LayerNorm<T> zero_layer_norm(int n) {
    const std::vector<T> zeros(static_cast<std::size_t>(n));
    return {zeros, zeros};
}

/// x̂ = (x − mean x) / √(var x + ε) of one row, var the biased variance; returns 1 / √(var x + ε).
template <class T> T normalize(T* xhat, const T* x, int n, T epsilon) {
    T sum = 0, squares = 0;
    for (int j = 0; j < n; ++j) sum += x[j];
    const T mean = sum / T(n);
    for (int j = 0; j < n; ++j) squares += (x[j] - mean) * (x[j] - mean);
    const T inverse = 1 / std::sqrt(squares / T(n) + epsilon);
    for (int j = 0; j < n; ++j) xhat[j] = inverse * (x[j] - mean);
    return inverse;
}

/// Layer norm: y = x̂ ⊙ weight + bias, x̂ of each row.
template <class T> void layer_norm_forward(Matrix<T>& y, const Matrix<T>& x, const LayerNorm<T>& norm, T epsilon) {
    for (int t = 0; t < y.rows; ++t) {
        normalize(y[t], x[t], x.columns, epsilon);
        for (std::size_t j = 0; j < norm.weight.size(); ++j) y[t][j] = y[t][j] * norm.weight[j] + norm.bias[j];
    }
}

template <class T>
void layer_norm_backward(Matrix<T>& dx, LayerNorm<T>& dnorm, const Matrix<T>& dy, const Matrix<T>& x,
                         const LayerNorm<T>& norm, T epsilon) {
    const int n = x.columns;
    Matrix<T> xhat(1, n), g(1, n);
    for (int t = 0; t < dy.rows; ++t) {
        const T inverse = normalize(xhat[0], x[t], n, epsilon);
        T sum = 0;
        for (std::size_t j = 0; j < norm.weight.size(); ++j) {
            dnorm.weight[j] += dy[t][j] * xhat[0][j];    // y = x̂ ⊙ weight + bias
            dnorm.bias[j] += dy[t][j];                   // y = x̂ ⊙ weight + bias
            sum += g[0][j] = dy[t][j] * norm.weight[j];  // y = x̂ ⊙ weight + bias
        }
        const T product = dot(g[0], xhat[0], n);
        for (int j = 0; j < n; ++j)  // x̂ = (x − mean x) / √(var x + ε)
            dx[t][j] += inverse / T(n) * (T(n) * g[0][j] - sum - xhat[0][j] * product);
    }
}

}  // namespace xtape::reference
