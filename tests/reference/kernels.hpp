#pragma once

/// Plain-loop kernels of the hand-written references, each `x_backward` below the `x_forward` that it inverts.
/// A forward kernel overwrites its outputs. A backward kernel adds into its destinations (`da` is dL/da) and quotes
/// the forward line at the right. Sums are sequential and in T. Rows are positions, of one sequence after another.

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace xtape::reference {

/// Row-major matrix of zeros to begin with; `x[t][j]` is column j of row t.
template <class T> struct Matrix {
    int rows = 0, columns = 0;
    std::vector<T> values;

    Matrix() = default;
    Matrix(int r, int c) : rows(r), columns(c), values(static_cast<std::size_t>(r) * static_cast<std::size_t>(c)) {}

    T* operator[](int row) { return values.data() + std::ptrdiff_t(row) * columns; }
    const T* operator[](int row) const { return values.data() + std::ptrdiff_t(row) * columns; }
};

template <class T> void set_zero(Matrix<T>& x) { x.values.assign(x.values.size(), T(0)); }

/// Transposes a square matrix.
template <class T> void transpose(Matrix<T>& x) {
    for (int i = 0; i < x.rows; ++i)
        for (int j = 0; j < i; ++j) std::swap(x[i][j], x[j][i]);
}

template <class T> T dot(const T* a, const T* b, int n) {
    T sum = 0;
    for (int i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

/// Copy: y = x.
template <class T> void copy_forward(Matrix<T>& y, const Matrix<T>& x) { y.values = x.values; }

template <class T> void copy_backward(Matrix<T>& dx, const Matrix<T>& dy) {
    for (std::size_t i = 0; i < dy.values.size(); ++i) dx.values[i] += dy.values[i];  // y = x
}

/// Add: y = a + b.
template <class T> void add_forward(Matrix<T>& y, const Matrix<T>& a, const Matrix<T>& b) {
    for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] = a.values[i] + b.values[i];
}

template <class T> void add_backward(Matrix<T>& da, Matrix<T>& db, const Matrix<T>& dy) {
    for (std::size_t i = 0; i < dy.values.size(); ++i) {
        da.values[i] += dy.values[i];  // y = a + b
        db.values[i] += dy.values[i];  // y = a + b
    }
}

/// Relu: y = max(x, 0); the gradient at 0 is 0, a NaN passes.
template <class T> void relu_forward(Matrix<T>& y, const Matrix<T>& x) {
    for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] = x.values[i] < 0 ? T(0) : x.values[i];
}

template <class T> void relu_backward(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& x) {
    for (std::size_t i = 0; i < dy.values.size(); ++i)
        if (!(x.values[i] <= 0)) dx.values[i] += dy.values[i];  // y = x < 0 ? 0 : x
}

/// Relu²: y = max(x, 0)².
template <class T> void relu_squared_forward(Matrix<T>& y, const Matrix<T>& x) {
    for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] = x.values[i] < 0 ? T(0) : x.values[i] * x.values[i];
}

template <class T> void relu_squared_backward(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& x) {
    for (std::size_t i = 0; i < dy.values.size(); ++i)
        if (!(x.values[i] <= 0)) dx.values[i] += 2 * x.values[i] * dy.values[i];  // y = x < 0 ? 0 : x x
}

template <class T> T sigmoid(T x) { return 1 / (1 + std::exp(-x)); }

/// Sigmoid: y = σ(x).
template <class T> void sigmoid_forward(std::vector<T>& y, const std::vector<T>& x) {
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = sigmoid(x[i]);
}

template <class T> void sigmoid_backward(std::vector<T>& dx, const std::vector<T>& dy, const std::vector<T>& y) {
    for (std::size_t i = 0; i < dy.size(); ++i) dx[i] += dy[i] * y[i] * (1 - y[i]);  // y = σ(x)
}

/// SwiGLU: y = silu(g) ⊙ u, silu(g) = g σ(g).
template <class T> void swiglu_forward(Matrix<T>& y, const Matrix<T>& g, const Matrix<T>& u) {
    for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] = g.values[i] * sigmoid(g.values[i]) * u.values[i];
}

template <class T>
void swiglu_backward(Matrix<T>& dg, Matrix<T>& du, const Matrix<T>& dy, const Matrix<T>& g, const Matrix<T>& u) {
    for (std::size_t i = 0; i < dy.values.size(); ++i) {
        const T x = g.values[i], s = sigmoid(x);
        dg.values[i] += dy.values[i] * u.values[i] * s * (1 + x * (1 - s));  // y = g σ(g) u
        du.values[i] += dy.values[i] * x * s;                                // y = g σ(g) u
    }
}

/// Linear: y = x W, W in x out.
template <class T> void linear_forward(Matrix<T>& y, const Matrix<T>& x, const Matrix<T>& w) {
    for (int t = 0; t < y.rows; ++t)
        for (int j = 0; j < y.columns; ++j) {
            T sum = 0;
            for (int i = 0; i < x.columns; ++i) sum += x[t][i] * w[i][j];
            y[t][j] = sum;
        }
}

template <class T> void linear_backward_input(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& w) {
    for (int t = 0; t < dx.rows; ++t)
        for (int i = 0; i < dx.columns; ++i) dx[t][i] += dot(dy[t], w[i], dy.columns);  // y[t][j] = Σ_i x[t][i] w[i][j]
}

template <class T> void linear_backward_weight(Matrix<T>& dw, const Matrix<T>& dy, const Matrix<T>& x) {
    for (int t = 0; t < dy.rows; ++t)
        for (int i = 0; i < dw.rows; ++i)
            for (int j = 0; j < dw.columns; ++j) dw[i][j] += x[t][i] * dy[t][j];  // y[t][j] = Σ_i x[t][i] w[i][j]
}

template <class T>
void linear_backward(Matrix<T>& dx, Matrix<T>& dw, const Matrix<T>& dy, const Matrix<T>& x, const Matrix<T>& w) {
    linear_backward_input(dx, dy, w);
    linear_backward_weight(dw, dy, x);
}

/// Embedding: y[t] = table[id[t]].
template <class T> void embedding_forward(Matrix<T>& y, const Matrix<T>& table, const int* ids) {
    for (int t = 0; t < y.rows; ++t)
        for (int j = 0; j < y.columns; ++j) y[t][j] = table[ids[t]][j];
}

template <class T> void embedding_backward(Matrix<T>& dtable, const Matrix<T>& dy, const int* ids) {
    for (int t = 0; t < dy.rows; ++t)
        for (int j = 0; j < dy.columns; ++j) dtable[ids[t]][j] += dy[t][j];  // y[t][j] = table[ids[t]][j]
}

template <class T> T inverse_rms(const T* x, int n) { return 1 / std::sqrt(dot(x, x, n) / T(n) + T(1e-5)); }

/// rms_norm without a weight: y = s x, s = 1 / √(mean(x²) + ε), ε = 1e-5.
template <class T> void rms_norm_forward(Matrix<T>& y, const Matrix<T>& x) {
    for (int t = 0; t < y.rows; ++t) {
        const T s = inverse_rms(x[t], x.columns);
        for (int j = 0; j < y.columns; ++j) y[t][j] = s * x[t][j];
    }
}

template <class T> void rms_norm_backward(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& x) {
    for (int t = 0; t < dy.rows; ++t) {
        const T s = inverse_rms(x[t], x.columns);
        const T mean = s * dot(dy[t], x[t], dy.columns) / T(dy.columns);                       // mean(dy ⊙ y)
        for (int j = 0; j < dy.columns; ++j) dx[t][j] += s * (dy[t][j] - s * x[t][j] * mean);  // y[t][j] = s x[t][j]
    }
}

template <class T> T largest(const T* x, int n) {
    T max = x[0];
    for (int i = 1; i < n; ++i) max = x[i] > max ? x[i] : max;
    return max;
}

/// Softmax of one row, in place: p = exp(x − max x) / Σ exp(x − max x).
template <class T> void softmax_forward(T* x, int n) {
    const T max = largest(x, n);
    T sum = 0;
    for (int i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - max);
    for (int i = 0; i < n; ++i) x[i] /= sum;
}

template <class T> void softmax_backward(T* dx, const T* dp, const T* p, int n) {
    const T mean = dot(p, dp, n);
    for (int i = 0; i < n; ++i) dx[i] += p[i] * (dp[i] - mean);  // p[i] = exp(x[i]) / Σ_j exp(x[j])
}

/// Causal attention, head by head: a_t = Σ_{s≤t} p_ts v_s, p_t = softmax_s(q_t·k_s / √width).
/// `positions[t]` is the position of row t in its own sequence, which therefore begins at row t − positions[t].
/// Row `t * heads + head` of the kept probabilities `p` begins with the key of that first row.
template <class T>
void attention_forward(Matrix<T>& a, Matrix<T>& p, const Matrix<T>& q, const Matrix<T>& k, const Matrix<T>& v,
                       int heads, const int* positions) {
    const int width = q.columns / heads;
    const T scale = 1 / std::sqrt(T(width));
    for (int t = 0; t < q.rows; ++t)
        for (int head = 0; head < heads; ++head) {
            const int begin = t - positions[t], column = head * width;
            T* prob = p[t * heads + head];
            for (int s = begin; s <= t; ++s) prob[s - begin] = scale * dot(q[t] + column, k[s] + column, width);
            softmax_forward(prob, t - begin + 1);
            for (int c = column; c < column + width; ++c) {
                a[t][c] = 0;
                for (int s = begin; s <= t; ++s) a[t][c] += prob[s - begin] * v[s][c];
            }
        }
}

/// Which keys and values hear from a query: those of all positions that it sees, or, as a fault, only its own.
enum class Reach { all, own };

template <class T>
void attention_backward(Matrix<T>& dq, Matrix<T>& dk, Matrix<T>& dv, const Matrix<T>& da, const Matrix<T>& p,
                        const Matrix<T>& q, const Matrix<T>& k, const Matrix<T>& v, int heads, const int* positions,
                        Reach reach = Reach::all) {
    const int width = q.columns / heads;
    const T scale = 1 / std::sqrt(T(width));
    for (int t = 0; t < q.rows; ++t)
        for (int head = 0; head < heads; ++head) {
            const int begin = t - positions[t], column = head * width;
            const T* prob = p[t * heads + head];
            Matrix<T> dprob(1, t - begin + 1), dscore(1, t - begin + 1);
            for (int s = begin; s <= t; ++s)
                dprob[0][s - begin] = dot(da[t] + column, v[s] + column, width);  // a[t] = Σ_s prob[s] v[s]
            softmax_backward(dscore[0], dprob[0], prob, t - begin + 1);           // prob = softmax(score)
            for (int s = begin; s <= t; ++s) {
                const T d = scale * dscore[0][s - begin];
                for (int c = column; c < column + width; ++c) dq[t][c] += d * k[s][c];  // score[s] = scale q[t]·k[s]
                if (reach == Reach::own && s < t) continue;
                for (int c = column; c < column + width; ++c) {
                    dk[s][c] += d * q[t][c];                 // score[s] = scale q[t]·k[s]
                    dv[s][c] += prob[s - begin] * da[t][c];  // a[t] = Σ_s prob[s] v[s]
                }
            }
        }
}

template <class T> T log_sum_exp(const T* z, int n) {
    const T max = largest(z, n);
    T sum = 0;
    for (int i = 0; i < n; ++i) sum += std::exp(z[i] - max);
    return max + std::log(sum);
}

/// In place of a target: the row has none, and no part in the loss.
constexpr int no_target = -1;

inline int count_targets(const int* targets, int rows) {
    int count = 0;
    for (int t = 0; t < rows; ++t) count += targets[t] != no_target ? 1 : 0;
    return count;
}

/// Cross entropy: loss = mean over rows with a target of −log softmax(z_t)[target_t].
template <class T> T cross_entropy_forward(const Matrix<T>& z, const int* targets) {
    T sum = 0;
    for (int t = 0; t < z.rows; ++t)
        if (targets[t] != no_target) sum += log_sum_exp(z[t], z.columns) - z[t][targets[t]];
    return sum / T(count_targets(targets, z.rows));
}

template <class T> void cross_entropy_backward(Matrix<T>& dz, T dloss, const Matrix<T>& z, const int* targets) {
    const T dterm = dloss / T(count_targets(targets, z.rows));  // loss = Σ_t term[t] / count
    for (int t = 0; t < z.rows; ++t) {
        if (targets[t] == no_target) continue;
        const T lse = log_sum_exp(z[t], z.columns);
        for (int j = 0; j < z.columns; ++j) dz[t][j] += dterm * std::exp(z[t][j] - lse);  // term[t] = lse(z[t]) − …
        dz[t][targets[t]] -= dterm;                                                       // … z[t][targets[t]]
    }
}

}  // namespace xtape::reference
