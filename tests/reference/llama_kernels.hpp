#pragma once

/// Plain-loop kernels of the Llama family, in the manner of kernels.hpp.

#include "kernels.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

namespace xtape::reference {

/// Projection: y = x Wᵀ, W out x in.
template <class T> void projection_forward(Matrix<T>& y, const Matrix<T>& x, const Matrix<T>& w) {
    for (int t = 0; t < y.rows; ++t)
        for (int j = 0; j < y.columns; ++j) y[t][j] = dot(x[t], w[j], x.columns);
}

template <class T> void projection_backward_input(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& w) {
    for (int t = 0; t < dy.rows; ++t)
        for (int j = 0; j < dy.columns; ++j)
            for (int i = 0; i < dx.columns; ++i) dx[t][i] += dy[t][j] * w[j][i];  // y[t][j] = Σ_i x[t][i] w[j][i]
}

template <class T> void projection_backward_weight(Matrix<T>& dw, const Matrix<T>& dy, const Matrix<T>& x) {
    for (int t = 0; t < dy.rows; ++t)
        for (int j = 0; j < dw.rows; ++j)
            for (int i = 0; i < dw.columns; ++i) dw[j][i] += dy[t][j] * x[t][i];  // y[t][j] = Σ_i x[t][i] w[j][i]
}

template <class T>
void projection_backward(Matrix<T>& dx, Matrix<T>& dw, const Matrix<T>& dy, const Matrix<T>& x, const Matrix<T>& w) {
    projection_backward_input(dx, dy, w);
    projection_backward_weight(dw, dy, x);
}

template <class T> T root_mean_square(const T* x, int n, double epsilon) {
    return std::sqrt(dot(x, x, n) / T(n) + T(epsilon));
}

/// rms_norm with a weight: y = w ⊙ x / r, r = √(mean(x²) + ε).
template <class T> void rms_norm_forward(Matrix<T>& y, const Matrix<T>& x, const std::vector<T>& w, double epsilon) {
    for (int t = 0; t < y.rows; ++t) {
        const T r = root_mean_square(x[t], x.columns, epsilon);
        for (int i = 0; i < y.columns; ++i) y[t][i] = w[std::size_t(i)] * x[t][i] / r;
    }
}

/// What divides and multiplies the second term of the norm's derivative: the truth, or, as faults, D r² in place of
/// D r³, and a weight too many.
enum class SecondTerm { right, missing_factor, extra_weight };

template <class T>
void rms_norm_backward_input(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& x, const std::vector<T>& w,
                             double epsilon, SecondTerm second = SecondTerm::right) {
    const int n = dx.columns;
    const std::vector<T> extra = second == SecondTerm::extra_weight ? w : std::vector<T>(w.size(), T(1));
    for (int t = 0; t < dy.rows; ++t) {
        const T r = root_mean_square(x[t], n, epsilon);
        T sum = 0;
        for (int j = 0; j < n; ++j) sum += dy[t][j] * w[std::size_t(j)] * x[t][j];
        const T shared = sum / (T(n) * r * r * (second == SecondTerm::missing_factor ? T(1) : r));
        for (int i = 0; i < n; ++i) {
            const auto at = std::size_t(i);
            dx[t][i] += w[at] * dy[t][i] / r - extra[at] * x[t][i] * shared;  // y[t][i] = w[i] x[t][i] / r(x[t])
        }
    }
}

template <class T>
void rms_norm_backward_weight(std::vector<T>& dw, const Matrix<T>& dy, const Matrix<T>& x, double epsilon) {
    for (int t = 0; t < dy.rows; ++t) {
        const T r = root_mean_square(x[t], x.columns, epsilon);
        for (int i = 0; i < dy.columns; ++i)
            dw[std::size_t(i)] += dy[t][i] * x[t][i] / r;  // y[t][i] = w[i] x[t][i] / r
    }
}

/// Which columns of a head rope turns together: pair i is columns `i * step` and `i * step + apart`.
struct Pairs {
    int step, apart;
};

/// Cosine and sine of the angle position · θ^(−2 pair / width), which is a constant of the model: found in f64.
template <class T> struct Rotation {
    T cos, sin;

    Rotation(int position, int pair, int width, double theta) {
        const double angle = position * std::pow(theta, -2.0 * pair / width);
        cos = T(std::cos(angle));
        sin = T(std::sin(angle));
    }
};

/// Rope: in each head of `width` columns, pair i, (a, b), turns to (a cos − b sin, a sin + b cos).
template <class T>
void rope_forward(Matrix<T>& y, const Matrix<T>& x, int width, Pairs pairs, double theta, const int* positions) {
    for (int t = 0; t < y.rows; ++t)
        for (int head = 0; head < y.columns; head += width)
            for (int i = 0; i < width / 2; ++i) {
                const int a = head + i * pairs.step, b = a + pairs.apart;
                const Rotation<T> turn(positions[t], i, width, theta);
                y[t][a] = x[t][a] * turn.cos - x[t][b] * turn.sin;
                y[t][b] = x[t][a] * turn.sin + x[t][b] * turn.cos;
            }
}

/// Which way the gradient turns: back, or, as a fault, as far again as the values did.
enum class Turn { back, forward };

template <class T>
void rope_backward(Matrix<T>& dx, const Matrix<T>& dy, int width, Pairs pairs, double theta, const int* positions,
                   Turn way = Turn::back) {
    const T sign = way == Turn::back ? T(1) : T(-1);
    for (int t = 0; t < dy.rows; ++t)
        for (int head = 0; head < dy.columns; head += width)
            for (int i = 0; i < width / 2; ++i) {
                const int a = head + i * pairs.step, b = a + pairs.apart;
                const Rotation<T> turn(positions[t], i, width, theta);
                const T sin = sign * turn.sin;
                dx[t][a] += dy[t][a] * turn.cos + dy[t][b] * sin;  // y[a] = x[a] cos − x[b] sin
                dx[t][b] += dy[t][b] * turn.cos - dy[t][a] * sin;  // y[b] = x[a] sin + x[b] cos
            }
}

/// The heads of grouped-query attention: query head i reads key and value head ⌊i key_heads / query_heads⌋.
struct HeadGroups {
    int query_heads, key_heads;

    int key_head(int query_head) const { return query_head * key_heads / query_heads; }
};

/// Causal attention with grouped queries: a_t = Σ_{s≤t} p_ts v_s, p_t = softmax_s(q_t·k_s / √width), of which only the
/// logarithm of each row's denominator is kept: `lse[t][head]`. `positions` as in attention_forward.
template <class T>
void grouped_attention_forward(Matrix<T>& a, Matrix<T>& lse, const Matrix<T>& q, const Matrix<T>& k, const Matrix<T>& v,
                               HeadGroups heads, const int* positions) {
    const int width = q.columns / heads.query_heads;
    const T scale = 1 / std::sqrt(T(width));
    for (int t = 0; t < q.rows; ++t)
        for (int head = 0; head < heads.query_heads; ++head) {
            const int begin = t - positions[t], own = head * width, theirs = heads.key_head(head) * width;
            std::vector<T> score;
            for (int s = begin; s <= t; ++s) score.push_back(scale * dot(q[t] + own, k[s] + theirs, width));
            lse[t][head] = log_sum_exp(score.data(), positions[t] + 1);
            for (int c = 0; c < width; ++c) a[t][own + c] = 0;
            for (int s = begin; s <= t; ++s) {
                const T p = std::exp(score[std::size_t(s - begin)] - lse[t][head]);
                for (int c = 0; c < width; ++c) a[t][own + c] += p * v[s][theirs + c];
            }
        }
}

template <class T>
void grouped_attention_backward(Matrix<T>& dq, Matrix<T>& dk, Matrix<T>& dv, const Matrix<T>& da, const Matrix<T>& lse,
                                const Matrix<T>& q, const Matrix<T>& k, const Matrix<T>& v, HeadGroups heads,
                                const int* positions) {
    const int width = q.columns / heads.query_heads;
    const T scale = 1 / std::sqrt(T(width));
    for (int t = 0; t < q.rows; ++t)
        for (int head = 0; head < heads.query_heads; ++head) {
            const int begin = t - positions[t], own = head * width, theirs = heads.key_head(head) * width;
            std::vector<T> p, dp;
            for (int s = begin; s <= t; ++s) {
                p.push_back(std::exp(scale * dot(q[t] + own, k[s] + theirs, width) - lse[t][head]));
                dp.push_back(dot(da[t] + own, v[s] + theirs, width));  // a[t] = Σ_s p[s] v[s]
            }
            const T mean = dot(p.data(), dp.data(), positions[t] + 1);
            for (int s = begin; s <= t; ++s) {
                const T prob = p[std::size_t(s - begin)];
                const T d = scale * prob * (dp[std::size_t(s - begin)] - mean);  // p = softmax(scale score)
                for (int c = 0; c < width; ++c) {
                    dq[t][own + c] += d * k[s][theirs + c];      // score[s] = q[t]·k[s]
                    dk[s][theirs + c] += d * q[t][own + c];      // score[s] = q[t]·k[s]
                    dv[s][theirs + c] += prob * da[t][own + c];  // a[t] = Σ_s p[s] v[s]
                }
            }
        }
}

}  // namespace xtape::reference
