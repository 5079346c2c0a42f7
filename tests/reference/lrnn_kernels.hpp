#pragma once

/// Kernels that lrnn adds to those of kernels.hpp, under the same rules. `positions[t]` is the position of row t in its
/// own sequence: what would come from before the sequence's first row is zero.

#include "kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace xtape::reference {

/// Clamped exponential: y = exp(clamp(x, −10, 10)); the gradient passes at the bounds, a NaN everywhere.
template <class T> void clamped_exp_forward(std::vector<T>& y, const std::vector<T>& x) {
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = std::exp(std::clamp(x[i], T(-10), T(10)));
}

template <class T>
void clamped_exp_backward(std::vector<T>& dx, const std::vector<T>& dy, const std::vector<T>& x,
                          const std::vector<T>& y) {
    for (std::size_t i = 0; i < dy.size(); ++i)
        if (!(std::abs(x[i]) > 10)) dx[i] += dy[i] * y[i];  // y = exp(clamp(x, −10, 10))
}

/// Product: y = a ⊙ b.
template <class T> void multiply_forward(Matrix<T>& y, const Matrix<T>& a, const Matrix<T>& b) {
    for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] = a.values[i] * b.values[i];
}

template <class T>
void multiply_backward(Matrix<T>& da, Matrix<T>& db, const Matrix<T>& dy, const Matrix<T>& a, const Matrix<T>& b) {
    for (std::size_t i = 0; i < dy.values.size(); ++i) {
        da.values[i] += dy.values[i] * b.values[i];  // y = a ⊙ b
        db.values[i] += dy.values[i] * a.values[i];  // y = a ⊙ b
    }
}

/// Constant factors of the columns: y_t = x_t ⊙ factor.
template <class T> void scale_columns_forward(Matrix<T>& y, const Matrix<T>& x, const std::vector<T>& factor) {
    for (int t = 0; t < y.rows; ++t)
        for (std::size_t j = 0; j < factor.size(); ++j) y[t][j] = x[t][j] * factor[j];
}

template <class T> void scale_columns_backward(Matrix<T>& dx, const Matrix<T>& dy, const std::vector<T>& factor) {
    for (int t = 0; t < dy.rows; ++t)
        for (std::size_t j = 0; j < factor.size(); ++j) dx[t][j] += dy[t][j] * factor[j];  // y_t = x_t ⊙ factor
}

/// Bias and sigmoid: y_t = σ(x_t + bias).
template <class T> void biased_sigmoid_forward(Matrix<T>& y, const Matrix<T>& x, const std::vector<T>& bias) {
    for (int t = 0; t < y.rows; ++t)
        for (std::size_t j = 0; j < bias.size(); ++j) y[t][j] = sigmoid(x[t][j] + bias[j]);
}

template <class T>
void biased_sigmoid_backward(Matrix<T>& dx, std::vector<T>& dbias, const Matrix<T>& dy, const Matrix<T>& y) {
    for (int t = 0; t < dy.rows; ++t)
        for (std::size_t j = 0; j < dbias.size(); ++j) {
            const T d = dy[t][j] * y[t][j] * (1 - y[t][j]);
            dx[t][j] += d;  // y_t = σ(x_t + bias)
            dbias[j] += d;  // y_t = σ(x_t + bias)
        }
}

/// Softmax of each row, y = exp(x − max x) / (Σ exp(x − max x) + epsilon); the right epsilon is 0.
template <class T> void row_softmax_forward(Matrix<T>& y, const Matrix<T>& x, T epsilon = 0) {
    for (int t = 0; t < y.rows; ++t) {
        const T max = largest(x[t], x.columns);
        T sum = epsilon;
        for (int j = 0; j < y.columns; ++j) sum += y[t][j] = std::exp(x[t][j] - max);
        for (int j = 0; j < y.columns; ++j) y[t][j] /= sum;
    }
}

template <class T> void row_softmax_backward(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& y) {
    for (int t = 0; t < dy.rows; ++t) softmax_backward(dx[t], dy[t], y[t], dy.columns);  // y_t = softmax(x_t)
}

/// Previous row: y_t = x_{t−1}.
template <class T> void previous_forward(Matrix<T>& y, const Matrix<T>& x, const int* positions) {
    for (int t = 0; t < y.rows; ++t)
        for (int j = 0; j < y.columns; ++j) y[t][j] = positions[t] > 0 ? x[t - 1][j] : T(0);
}

template <class T> void previous_backward(Matrix<T>& dx, const Matrix<T>& dy, const int* positions) {
    for (int t = 0; t < dy.rows; ++t)
        for (int j = 0; j < dy.columns; ++j)
            if (positions[t] > 0) dx[t - 1][j] += dy[t][j];  // y_t = x_{t−1}
}

/// Mix: y_t = a_t ⊙ u + b_t ⊙ (1 − u), u = σ(w).
template <class T> void mix_forward(Matrix<T>& y, const Matrix<T>& a, const Matrix<T>& b, const std::vector<T>& w) {
    for (int t = 0; t < y.rows; ++t)
        for (std::size_t j = 0; j < w.size(); ++j) y[t][j] = a[t][j] * sigmoid(w[j]) + b[t][j] * (1 - sigmoid(w[j]));
}

template <class T>
void mix_backward(Matrix<T>& da, Matrix<T>& db, std::vector<T>& dw, const Matrix<T>& dy, const Matrix<T>& a,
                  const Matrix<T>& b, const std::vector<T>& w) {
    for (int t = 0; t < dy.rows; ++t)
        for (std::size_t j = 0; j < w.size(); ++j) {
            const T u = sigmoid(w[j]);
            da[t][j] += dy[t][j] * u;                               // y = a ⊙ u + b ⊙ (1 − u)
            db[t][j] += dy[t][j] * (1 - u);                         // y = a ⊙ u + b ⊙ (1 − u)
            dw[j] += dy[t][j] * (a[t][j] - b[t][j]) * u * (1 - u);  // y = a ⊙ u + b ⊙ (1 − u), u = σ(w)
        }
}

/// Logits of the token shift's weights at distances 1, 2 and 4, or their gradients.
template <class T> struct TokenShift {
    static constexpr int distances[] = {1, 2, 4};
    std::array<std::vector<T>, 3> w;
};

/// Σ_i σ(w_i) + 1e-6 of channel j.
template <class T> T token_shift_total(const TokenShift<T>& shift, std::size_t j) {
    return sigmoid(shift.w[0][j]) + sigmoid(shift.w[1][j]) + sigmoid(shift.w[2][j]) + T(1e-6);
}

/// Multi-scale token shift: s_t = (u₁ ⊙ n_{t−1} + u₂ ⊙ n_{t−2} + u₄ ⊙ n_{t−4}) / Z, u = σ(w), Z = u₁ + u₂ + u₄ + 1e-6.
template <class T>
void token_shift_forward(Matrix<T>& s, const Matrix<T>& n, const TokenShift<T>& shift, const int* positions) {
    for (int t = 0; t < s.rows; ++t)
        for (std::size_t j = 0; j < shift.w[0].size(); ++j) {
            s[t][j] = 0;
            for (std::size_t i = 0; i < 3; ++i)
                if (const int distance = shift.distances[i]; positions[t] >= distance)
                    s[t][j] += sigmoid(shift.w[i][j]) * n[t - distance][j] / token_shift_total(shift, j);
        }
}

template <class T>
void token_shift_backward(Matrix<T>& dn, TokenShift<T>& dshift, const Matrix<T>& ds, const Matrix<T>& s,
                          const Matrix<T>& n, const TokenShift<T>& shift, const int* positions) {
    for (int t = 0; t < ds.rows; ++t)
        for (std::size_t j = 0; j < shift.w[0].size(); ++j)
            for (std::size_t i = 0; i < 3; ++i) {
                const int distance = shift.distances[i];
                const T u = sigmoid(shift.w[i][j]), d = ds[t][j] / token_shift_total(shift, j);
                const bool inside = positions[t] >= distance;
                if (inside) dn[t - distance][j] += d * u;                           // s = Σ_i u_i n_{t−i} / Z
                const T du = d * ((inside ? n[t - distance][j] : T(0)) - s[t][j]);  // s = Σ_i u_i n_{t−i} / Σ_i u_i
                dshift.w[i][j] += du * u * (1 - u);                                 // u = σ(w)
            }
}

/// Rows of one sequence that the scan's reverse pass takes together, from one kept state.
struct Chunk {
    int begin, end;
    bool first, last;  // of its sequence
};

/// Chunks of at most `length` rows, sequence after sequence.
inline std::vector<Chunk> chunks_of(const std::vector<int>& offsets, int length) {
    std::vector<Chunk> chunks;
    for (std::size_t i = 1; i < offsets.size(); ++i)
        for (int begin = offsets[i - 1]; begin < offsets[i]; begin += length) {
            const int end = std::min(begin + length, offsets[i]);
            chunks.push_back({begin, end, begin == offsets[i - 1], end == offsets[i]});
        }
    return chunks;
}

/// Inputs of the slot scan, or their gradients: decay a and source x [rows, D], write and read [rows, M].
template <class M> struct SlotScan { M &a, &x, &write, &read; };

/// One step of every slot: h_{t+1,m} = a_t ⊙ h_{t,m} + write_{t,m} x_t; `before` and `after` may be the same.
template <class T> void slot_step(T* after, const T* before, const SlotScan<const Matrix<T>>& in, int t) {
    const int width = in.x.columns;
    for (int m = 0; m < in.write.columns; ++m)
        for (int j = 0; j < width; ++j)
            after[m * width + j] = in.a[t][j] * before[m * width + j] + in.write[t][m] * in.x[t][j];
}

/// Slot scan: y_t = Σ_m read_{t,m} h_{t,m}, h_{t+1,m} = a_t ⊙ h_{t,m} + write_{t,m} x_t, h = 0 at a sequence's start.
/// Keeps the states before each chunk: row c of `starts` is [slots, D].
template <class T>
void slot_scan_forward(Matrix<T>& y, Matrix<T>& starts, const SlotScan<const Matrix<T>>& in,
                       const std::vector<Chunk>& chunks) {
    Matrix<T> h(in.write.columns, in.x.columns);
    for (std::size_t c = 0; c < chunks.size(); ++c) {
        if (chunks[c].first) set_zero(h);
        std::copy(h.values.begin(), h.values.end(), starts[static_cast<int>(c)]);
        for (int t = chunks[c].begin; t < chunks[c].end; ++t) {
            for (int j = 0; j < y.columns; ++j) {
                y[t][j] = 0;
                for (int m = 0; m < h.rows; ++m) y[t][j] += in.read[t][m] * h[m][j];
            }
            slot_step(h[0], h[0], in, t);
        }
    }
}

/// Whether the gradient of the state passes from a chunk to the one before it, or, as a fault, is lost.
enum class Carry { kept, lost };

template <class T>
void slot_scan_backward(const SlotScan<Matrix<T>>& d, const Matrix<T>& dy, const Matrix<T>& starts,
                        const SlotScan<const Matrix<T>>& in, const std::vector<Chunk>& chunks,
                        Carry carry = Carry::kept) {
    const int slots = in.write.columns, width = in.x.columns;
    Matrix<T> dh(slots, width);  // gradient of h_{t+1}
    for (int c = static_cast<int>(chunks.size()); c-- > 0;) {
        const auto& [begin, end, first, last] = chunks[static_cast<std::size_t>(c)];
        if (last || carry == Carry::lost) set_zero(dh);
        Matrix<T> states(end - begin + 1, slots * width);  // h_t of the chunk, again
        std::copy(starts[c], starts[c] + slots * width, states[0]);
        for (int t = begin; t < end; ++t) slot_step(states[t - begin + 1], states[t - begin], in, t);
        for (int t = end; t-- > begin;)
            for (int m = 0; m < slots; ++m)
                for (int j = 0; j < width; ++j) {
                    const T h = states[t - begin][m * width + j], g = dh[m][j];
                    d.a[t][j] += g * h;                                    // h_{t+1} = a_t ⊙ h_t + …
                    d.write[t][m] += g * in.x[t][j];                       // … write_{t,m} x_t
                    d.x[t][j] += g * in.write[t][m];                       // … write_{t,m} x_t
                    d.read[t][m] += dy[t][j] * h;                          // y_t = Σ_m read_{t,m} h_{t,m}
                    dh[m][j] = in.a[t][j] * g + in.read[t][m] * dy[t][j];  // both read h_{t,m}
                }
    }
}

/// wkv: y = (num + f ⊙ kv) / (den + f ⊙ k + 1e-6), f one value a channel.
template <class T>
void wkv_forward(Matrix<T>& y, const Matrix<T>& num, const Matrix<T>& den, const Matrix<T>& kv, const Matrix<T>& k,
                 const std::vector<T>& f) {
    for (int t = 0; t < y.rows; ++t)
        for (std::size_t j = 0; j < f.size(); ++j)
            y[t][j] = (num[t][j] + f[j] * kv[t][j]) / (den[t][j] + f[j] * k[t][j] + T(1e-6));
}

template <class T>
void wkv_backward(Matrix<T>& dnum, Matrix<T>& dden, Matrix<T>& dkv, Matrix<T>& dk, std::vector<T>& df,
                  const Matrix<T>& dy, const Matrix<T>& y, const Matrix<T>& den, const Matrix<T>& kv,
                  const Matrix<T>& k, const std::vector<T>& f) {
    for (int t = 0; t < dy.rows; ++t)
        for (std::size_t j = 0; j < f.size(); ++j) {
            const T dtop = dy[t][j] / (den[t][j] + f[j] * k[t][j] + T(1e-6));  // y = top / bottom
            const T dbottom = -dtop * y[t][j];                                 // y = top / bottom
            dnum[t][j] += dtop;                                                // top = num + f ⊙ kv
            dkv[t][j] += dtop * f[j];                                          // top = num + f ⊙ kv
            dden[t][j] += dbottom;                                             // bottom = den + f ⊙ k + 1e-6
            dk[t][j] += dbottom * f[j];                                        // bottom = den + f ⊙ k + 1e-6
            df[j] += dtop * kv[t][j] + dbottom * k[t][j];                      // both
        }
}

/// Label-smoothed cross entropy: loss = mean over rows of −Σ_j q_j log softmax(z_t)_j, q = (1 − ε) onehot + ε / V.
template <class T> T smoothed_cross_entropy_forward(const Matrix<T>& z, const int* targets, T smoothing) {
    T sum = 0;
    for (int t = 0; t < z.rows; ++t) {
        T total = 0;
        for (int j = 0; j < z.columns; ++j) total += z[t][j];
        sum += log_sum_exp(z[t], z.columns) - (1 - smoothing) * z[t][targets[t]] - smoothing * total / T(z.columns);
    }
    return sum / T(z.rows);
}

template <class T>
void smoothed_cross_entropy_backward(Matrix<T>& dz, T dloss, const Matrix<T>& z, const int* targets, T smoothing) {
    for (int t = 0; t < z.rows; ++t) {
        const T lse = log_sum_exp(z[t], z.columns), dterm = dloss / T(z.rows);  // loss = Σ_t term[t] / rows
        for (int j = 0; j < z.columns; ++j)  // term = lse(z) − (1 − ε) z[target] − ε mean(z)
            dz[t][j] += dterm * (std::exp(z[t][j] - lse) - smoothing / T(z.columns));
        dz[t][targets[t]] -= dterm * (1 - smoothing);
    }
}

}  // namespace xtape::reference
