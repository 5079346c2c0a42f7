#pragma once

/// Kernels that the gate adds to those of kernels.hpp, under the same rules. `shares` are the factors of the examples
/// in the loss of their batch: weight / number of examples.

#include "kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace xtape::reference {

/// Weight, out x in, and bias of an affine map, or their gradients.
template <class T> struct Affine {
    Matrix<T> weight;
    std::vector<T> bias;

    Affine(int out, int in) : weight(out, in), bias(static_cast<std::size_t>(out)) {}
};

/// Affine: y = x Wᵀ + b.
template <class T> void affine_forward(Matrix<T>& y, const Matrix<T>& x, const Affine<T>& w) {
    for (int t = 0; t < y.rows; ++t)
        for (std::size_t i = 0; i < w.bias.size(); ++i)
            y[t][i] = w.bias[i] + dot(x[t], w.weight[static_cast<int>(i)], x.columns);
}

template <class T> void affine_backward_input(Matrix<T>& dx, const Matrix<T>& dy, const Affine<T>& w) {
    for (int t = 0; t < dy.rows; ++t)
        for (int i = 0; i < dy.columns; ++i)
            for (int j = 0; j < dx.columns; ++j)
                dx[t][j] += dy[t][i] * w.weight[i][j];  // y[i] = b[i] + Σ_j x[j] w[i][j]
}

template <class T> void affine_backward_weights(Affine<T>& dw, const Matrix<T>& dy, const Matrix<T>& x) {
    for (int t = 0; t < dy.rows; ++t)
        for (std::size_t i = 0; i < dw.bias.size(); ++i) {
            T* row = dw.weight[static_cast<int>(i)];
            for (int j = 0; j < x.columns; ++j) row[j] += dy[t][i] * x[t][j];  // y[i] = b[i] + Σ_j x[j] w[i][j]
            dw.bias[i] += dy[t][i];                                            // y[i] = b[i] + Σ_j x[j] w[i][j]
        }
}

template <class T>
void affine_backward(Matrix<T>& dx, Affine<T>& dw, const Matrix<T>& dy, const Matrix<T>& x, const Affine<T>& w) {
    affine_backward_input(dx, dy, w);
    affine_backward_weights(dw, dy, x);
}

/// tanh(√(2/π) (x + 0.044715 x³))
template <class T> T gelu_tanh(T x) { return std::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x)); }

/// Gelu, tanh form: y = 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))).
template <class T> void gelu_forward(Matrix<T>& y, const Matrix<T>& x) {
    for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] = T(0.5) * x.values[i] * (1 + gelu_tanh(x.values[i]));
}

template <class T> void gelu_backward(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& x) {
    for (std::size_t i = 0; i < dy.values.size(); ++i) {
        const T v = x.values[i], h = gelu_tanh(v);
        const T du = T(0.79788456080286535588) * (1 + 3 * T(0.044715) * v * v);  // u = √(2/π) (x + 0.044715 x³)
        dx.values[i] += dy.values[i] * T(0.5) * (1 + h + v * (1 - h * h) * du);  // y = 0.5 x (1 + tanh u)
    }
}

/// First row of a sequence, and the one after its last.
struct Span {
    int begin, end;
};

/// Mean over the rows of each span: y_i = Σ_{t in span i} x_t / length.
template <class T> void mean_pool_forward(Matrix<T>& y, const Matrix<T>& x, const std::vector<Span>& spans) {
    for (int i = 0; i < y.rows; ++i) {
        const auto [begin, end] = spans[static_cast<std::size_t>(i)];
        for (int j = 0; j < y.columns; ++j) {
            T sum = 0;
            for (int t = begin; t < end; ++t) sum += x[t][j];
            y[i][j] = sum / T(end - begin);
        }
    }
}

template <class T> void mean_pool_backward(Matrix<T>& dx, const Matrix<T>& dy, const std::vector<Span>& spans) {
    for (int i = 0; i < dy.rows; ++i) {
        const auto [begin, end] = spans[static_cast<std::size_t>(i)];
        for (int t = begin; t < end; ++t)
            for (int j = 0; j < dy.columns; ++j) dx[t][j] += dy[i][j] / T(end - begin);  // y_i = Σ_t x_t / length
    }
}

/// Weighted cross entropy: loss = Σ_i share_i (−log softmax(z_i)[target_i]).
template <class T>
T weighted_cross_entropy_forward(const Matrix<T>& z, const std::vector<int>& targets, const std::vector<T>& shares) {
    T loss = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
        const T* row = z[static_cast<int>(i)];
        loss += shares[i] * (log_sum_exp(row, z.columns) - row[targets[i]]);
    }
    return loss;
}

template <class T>
void weighted_cross_entropy_backward(Matrix<T>& dz, T dloss, const Matrix<T>& z, const std::vector<int>& targets,
                                     const std::vector<T>& shares) {
    for (std::size_t i = 0; i < shares.size(); ++i) {
        const T* row = z[static_cast<int>(i)];
        T* drow = dz[static_cast<int>(i)];
        const T lse = log_sum_exp(row, z.columns);
        for (int j = 0; j < z.columns; ++j)
            drow[j] += dloss * shares[i] * std::exp(row[j] - lse);  // loss = Σ share (lse(z) − …
        drow[targets[i]] -= dloss * shares[i];                      // … z[target])
    }
}

/// Binary cross entropy of logits: loss = Σ_i share_i (softplus(s_i) − y_i s_i), softplus(s) = log(1 + e^s).
template <class T>
T bce_logits_forward(const std::vector<T>& s, const std::vector<T>& labels, const std::vector<T>& shares) {
    T loss = 0;
    for (std::size_t i = 0; i < s.size(); ++i) {
        const T softplus = std::max(s[i], T(0)) + std::log1p(std::exp(-std::abs(s[i])));
        loss += shares[i] * (softplus - labels[i] * s[i]);
    }
    return loss;
}

template <class T>
void bce_logits_backward(std::vector<T>& ds, T dloss, const std::vector<T>& s, const std::vector<T>& labels,
                         const std::vector<T>& shares) {
    for (std::size_t i = 0; i < s.size(); ++i) {
        const T y = labels[i];
        // loss = Σ share (softplus(s) − y s); σ(s) − y would lose the digits of a confident s
        ds[i] += dloss * shares[i] * ((1 - y) * sigmoid(s[i]) - y * sigmoid(-s[i]));
    }
}

template <class T> constexpr T smallest_probability = T(1e-7);
template <class T> constexpr T largest_probability = 1 - T(1e-7);

/// Binary cross entropy of probabilities, as published: loss = −Σ_i share_i (y_i log q_i + (1 − y_i) log(1 − q_i)),
/// q = clamp(p, 1e-7, 1 − 1e-7); the gradient is zero beyond the bounds.
template <class T>
T bce_probabilities_forward(const std::vector<T>& p, const std::vector<T>& labels, const std::vector<T>& shares) {
    T loss = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
        const T q = std::clamp(p[i], smallest_probability<T>, largest_probability<T>);
        loss -= shares[i] * (labels[i] * std::log(q) + (1 - labels[i]) * std::log(1 - q));
    }
    return loss;
}

template <class T>
void bce_probabilities_backward(std::vector<T>& dp, T dloss, const std::vector<T>& p, const std::vector<T>& labels,
                                const std::vector<T>& shares) {
    for (std::size_t i = 0; i < p.size(); ++i) {
        if (p[i] < smallest_probability<T> || p[i] > largest_probability<T>) continue;  // q = clamp(p)
        dp[i] -= dloss * shares[i] * (labels[i] / p[i] - (1 - labels[i]) / (1 - p[i]));  // loss = −Σ share (y log p + …
    }                                                                                    // … (1 − y) log(1 − p))
}

}  // namespace xtape::reference
