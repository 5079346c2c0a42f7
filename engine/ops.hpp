#pragma once
// The catalogue of ops: free functions over immutable tensors. This header is the manual; each function is written,
// forward and vjp side by side, in its family's file in ops/. Where an error can be thrown it is a ShapeError or a
// ValueError that names the operands. Reductions and rows run over the last axis unless an axis is given.

#include <xtape/engine/tensor.hpp>

#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace xtape {

// ---- arithmetic (ops/arithmetic.cpp): operands broadcast against each other as in NumPy

/// a + b, a − b, a b, a / b.
template <Real T> Tensor<T> add(const Tensor<T>& a, const Tensor<T>& b, Where where = Where::here());
template <Real T> Tensor<T> sub(const Tensor<T>& a, const Tensor<T>& b, Where where = Where::here());
template <Real T> Tensor<T> mul(const Tensor<T>& a, const Tensor<T>& b, Where where = Where::here());
template <Real T> Tensor<T> div(const Tensor<T>& a, const Tensor<T>& b, Where where = Where::here());
/// The larger and the smaller of two; equal ones share the gradient. NaN passes through.
template <Real T> Tensor<T> maximum(const Tensor<T>& a, const Tensor<T>& b, Where where = Where::here());
template <Real T> Tensor<T> minimum(const Tensor<T>& a, const Tensor<T>& b, Where where = Where::here());
/// a where the condition is not 0, else b; what is not chosen does not show, not even a NaN.
template <Real T>
Tensor<T> where(const Tensor<T>& condition, const Tensor<T>& a, const Tensor<T>& b, Where where = Where::here());
/// c x, x + c, −x, and c / x.
template <Real T> Tensor<T> scale(const Tensor<T>& x, std::type_identity_t<T> c, Where where = Where::here());
template <Real T> Tensor<T> offset(const Tensor<T>& x, std::type_identity_t<T> c, Where where = Where::here());
template <Real T> Tensor<T> neg(const Tensor<T>& x, Where where = Where::here());
template <Real T>
Tensor<T> reciprocal(const Tensor<T>& x, std::type_identity_t<T> c = T(1), Where where = Where::here());

template <Real T> Tensor<T> operator+(const Tensor<T>& a, const Tensor<T>& b) { return add(a, b, Where{}); }
template <Real T> Tensor<T> operator-(const Tensor<T>& a, const Tensor<T>& b) { return sub(a, b, Where{}); }
template <Real T> Tensor<T> operator*(const Tensor<T>& a, const Tensor<T>& b) { return mul(a, b, Where{}); }
template <Real T> Tensor<T> operator/(const Tensor<T>& a, const Tensor<T>& b) { return div(a, b, Where{}); }
template <Real T> Tensor<T> operator-(const Tensor<T>& x) { return neg(x, Where{}); }
template <Real T> Tensor<T> operator+(const Tensor<T>& x, std::type_identity_t<T> c) { return offset(x, c, Where{}); }
template <Real T> Tensor<T> operator+(std::type_identity_t<T> c, const Tensor<T>& x) { return offset(x, c, Where{}); }
template <Real T> Tensor<T> operator-(const Tensor<T>& x, std::type_identity_t<T> c) { return offset(x, -c, Where{}); }
template <Real T> Tensor<T> operator-(std::type_identity_t<T> c, const Tensor<T>& x) { return c + neg(x, Where{}); }
template <Real T> Tensor<T> operator*(const Tensor<T>& x, std::type_identity_t<T> c) { return scale(x, c, Where{}); }
template <Real T> Tensor<T> operator*(std::type_identity_t<T> c, const Tensor<T>& x) { return scale(x, c, Where{}); }
template <Real T> Tensor<T> operator/(const Tensor<T>& x, std::type_identity_t<T> c) {
    return scale(x, T(1) / c, Where{});
}
template <Real T> Tensor<T> operator/(std::type_identity_t<T> c, const Tensor<T>& x) {
    return reciprocal(x, c, Where{});
}

// ---- elementwise (ops/elementwise.cpp)

/// x^p for a fixed exponent.
template <Real T> Tensor<T> pow(const Tensor<T>& x, std::type_identity_t<T> p, Where where = Where::here());
template <Real T> Tensor<T> exp(const Tensor<T>& x, Where where = Where::here());
template <Real T> Tensor<T> log(const Tensor<T>& x, Where where = Where::here());
template <Real T> Tensor<T> sqrt(const Tensor<T>& x, Where where = Where::here());
/// 1 / √x.
template <Real T> Tensor<T> rsqrt(const Tensor<T>& x, Where where = Where::here());
template <Real T> Tensor<T> tanh(const Tensor<T>& x, Where where = Where::here());
/// 1 / (1 + e^−x), finite for every x.
template <Real T> Tensor<T> sigmoid(const Tensor<T>& x, Where where = Where::here());
/// x σ(x).
template <Real T> Tensor<T> silu(const Tensor<T>& x, Where where = Where::here());
/// The forms of gelu: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), and x Φ(x).
enum class Gelu { tanh, exact };
template <Real T> Tensor<T> gelu(const Tensor<T>& x, Gelu form = Gelu::tanh, Where where = Where::here());
/// max(x, 0), and its square; the gradient at 0 is 0, and NaN passes through.
template <Real T> Tensor<T> relu(const Tensor<T>& x, Where where = Where::here());
template <Real T> Tensor<T> relu_squared(const Tensor<T>& x, Where where = Where::here());
/// |x|, whose gradient at 0 is 0.
template <Real T> Tensor<T> abs(const Tensor<T>& x, Where where = Where::here());
/// x held in [low, high]; gradient passes at the bounds, and NaN passes through. Throws ValueError for low > high.
template <Real T>
Tensor<T> clamp(const Tensor<T>& x, std::type_identity_t<T> low, std::type_identity_t<T> high,
                Where where = Where::here());

// ---- reductions (ops/reduce.cpp)

/// Which axes to reduce: all by default. Negative ones count from the end.
class Axes {
public:
    Axes() = default;
    Axes(std::initializer_list<int> axes) : axes_(axes) {}
    bool all() const { return !axes_.has_value(); }
    /// A bit for each chosen axis of a shape. Throws ValueError, naming `op`, for one that does not exist or is twice.
    std::uint32_t mask(std::string_view op, const Shape& shape) const;

private:
    std::optional<std::vector<int>> axes_;
};

/// The sum over axes, which are dropped, or kept with extent 1.
template <Real T>
Tensor<T> sum(const Tensor<T>& x, const Axes& axes = {}, bool keep = false, Where where = Where::here());
/// The mean. Throws ValueError for the mean of nothing.
template <Real T>
Tensor<T> mean(const Tensor<T>& x, const Axes& axes = {}, bool keep = false, Where where = Where::here());
/// The largest and smallest; equal ones share the gradient, NaN passes through. Throw ValueError for those of nothing.
template <Real T>
Tensor<T> max(const Tensor<T>& x, const Axes& axes = {}, bool keep = false, Where where = Where::here());
template <Real T>
Tensor<T> min(const Tensor<T>& x, const Axes& axes = {}, bool keep = false, Where where = Where::here());

// ---- shape (ops/shape.cpp): linear, in adjoint pairs

/// The same elements in the same order under another shape.
template <Real T> Tensor<T> reshape(const Tensor<T>& x, const Shape& shape, Where where = Where::here());
/// Axis i of the result is axis order[i] of x.
template <Real T> Tensor<T> permute(const Tensor<T>& x, std::span<const int> order, Where where = Where::here());
template <Real T> Tensor<T> permute(const Tensor<T>& x, std::initializer_list<int> order, Where where = Where::here()) {
    return permute(x, std::span<const int>(order.begin(), order.size()), where);
}
/// The last two axes exchanged.
template <Real T> Tensor<T> transpose(const Tensor<T>& x, Where where = Where::here());
/// Elements [begin, end) along an axis; negative bounds count from the end.
template <Real T> Tensor<T> slice(const Tensor<T>& x, int axis, Index begin, Index end, Where where = Where::here());
/// Zeros before and after along an axis: the adjoint of slice.
template <Real T> Tensor<T> pad(const Tensor<T>& x, int axis, Index before, Index after, Where where = Where::here());
/// Side by side along an existing axis.
template <Real T> Tensor<T> concat(std::span<const Tensor<T>> parts, int axis, Where where = Where::here());
template <Real T> Tensor<T> concat(std::initializer_list<Tensor<T>> parts, int axis, Where where = Where::here()) {
    return concat(std::span<const Tensor<T>>(parts.begin(), parts.size()), axis, where);
}
/// Side by side along a new axis.
template <Real T> Tensor<T> stack(std::span<const Tensor<T>> parts, int axis, Where where = Where::here());
/// Pieces of the given extents along an axis: the adjoint of concat.
template <Real T>
std::vector<Tensor<T>> split(const Tensor<T>& x, std::span<const Index> extents, int axis, Where where = Where::here());
/// Moved by `by` places along an axis, zeros moving in: y[t] = x[t − by].
template <Real T> Tensor<T> shift(const Tensor<T>& x, int axis, Index by, Where where = Where::here());
/// Repeated along axes of extent 1 and new leading axes.
template <Real T> Tensor<T> broadcast_to(const Tensor<T>& x, const Shape& shape, Where where = Where::here());

// ---- matmul (ops/matmul.cpp)

struct MatmulOptions {
    bool transpose_a = false;  ///< use an operand transposed in its last two axes, without a copy
    bool transpose_b = false;
    bool relu = false;  ///< max(·, 0) of the result in the product's own pass: one array less, and the same gradients
};
/// op(a) op(b) for a [..., m, k] and b [..., k, n]. Leading axes broadcast; a 2-D b serves all of a's rows at once.
template <Real T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, MatmulOptions options = {}, Where where = Where::here());
/// x W + bias for x [..., k], W [k, n] (or [n, k] with transpose_b), bias [n] or none.
template <Real T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias = {}, MatmulOptions options = {},
                 Where where = Where::here());

// ---- rows (ops/softmax.cpp, ops/norm.cpp): over the last axis

/// e^x / Σ e^x, the maximum subtracted first. A row of −∞ gives zeros.
template <Real T> Tensor<T> softmax(const Tensor<T>& x, Where where = Where::here());
/// x − log Σ e^x.
template <Real T> Tensor<T> log_softmax(const Tensor<T>& x, Where where = Where::here());
/// log Σ e^x; the last axis is dropped.
template <Real T> Tensor<T> logsumexp(const Tensor<T>& x, Where where = Where::here());
/// x / √(mean(x²) + eps), and the same times weight [D].
template <Real T> Tensor<T> rms_norm(const Tensor<T>& x, double eps = 1e-5, Where where = Where::here());
template <Real T>
Tensor<T> rms_norm(const Tensor<T>& x, const Tensor<T>& weight, double eps = 1e-5, Where where = Where::here());
/// (x − mean(x)) / √(var(x) + eps), var being the mean of the squared differences; and the same times weight [D], plus
/// bias [D].
template <Real T> Tensor<T> layer_norm(const Tensor<T>& x, double eps = 1e-5, Where where = Where::here());
template <Real T>
Tensor<T> layer_norm(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, double eps = 1e-5,
                     Where where = Where::here());

// ---- gather (ops/embedding.cpp, ops/segment.cpp)

/// Rows of a table [V, D] at ids [...]: [..., D]. Throws ValueError for an id outside the table.
template <Real T> Tensor<T> embedding(const Tensor<T>& table, const Indices& ids, Where where = Where::here());
/// The adjoint: rows x [..., D] added up into a table of V rows at ids [...].
template <Real T>
Tensor<T> scatter_add(const Tensor<T>& x, const Indices& ids, Index rows, Where where = Where::here());
/// The mean of each of the sequences that x [N, ...] is made of: [B, ...]. They begin and end at `offsets` [B + 1].
/// Throws ValueError for an empty one.
template <Real T> Tensor<T> segment_mean(const Tensor<T>& x, const Indices& offsets, Where where = Where::here());

// ---- rope (ops/rope.cpp)

/// Which channels of a head of width h are pair i: 2i and 2i + 1, or i and i + h/2 (as in Hugging Face checkpoints).
enum class RopeForm { interleaved, half_split };
struct RopeOptions {
    int heads = 1;
    double theta = 10000;
    RopeForm form = RopeForm::interleaved;
};
/// Rotary positions: pair i of each head, (a, b), becomes (a cos φ − b sin φ, a sin φ + b cos φ) with the angle
/// φ = t θ^(−2i/h) at position t; for x [..., heads h] and a position for each of its rows. Angles are in double.
template <Real T>
Tensor<T> rope(const Tensor<T>& x, const Indices& positions, RopeOptions options, Where where = Where::here());

// ---- scan (ops/scan.cpp, ops/slot_memory.cpp): along the first axis, time

struct ScanOptions {
    bool exclusive = false;     ///< y_t = h_{t−1}, the state before b_t is added, instead of h_t
    bool checkpointed = false;  ///< the tape keeps b and every √S-th state, not y: the same bits
};
/// y_t = h_t = a_t ⊙ h_{t−1} + b_t for b [S, ...] and an a that broadcasts to it, from h = 0 where a sequence begins
/// (see `offsets` of causal_attention; another h to begin with is one more row of b in front). Time grows with S.
template <Real T>
Tensor<T> causal_scan(const Tensor<T>& a, const Tensor<T>& b, const Indices& offsets = {}, ScanOptions options = {},
                      Where where = Where::here());
/// A memory of M slots for each channel, read before it is written: [2, S, D], the first half being Σ_m read_{t,m}
/// N_{t,m} and the second Σ_m read_{t,m} E_{t,m}, of N_{t+1,m} = decay_t ⊙ N_{t,m} + write_{t,m} k_t ⊙ v_t and
/// E_{t+1,m} = decay_t ⊙ E_{t,m} + write_{t,m} k_t; for decay, k and v [S, D], write and read [S, M]. The states are 0
/// where a sequence begins (see `offsets` of causal_attention). Only every √S-th of them is kept.
template <Real T>
Tensor<T> slot_memory(const Tensor<T>& decay, const Tensor<T>& write, const Tensor<T>& read, const Tensor<T>& k,
                      const Tensor<T>& v, const Indices& offsets = {}, Where where = Where::here());

// ---- attention (ops/attention.cpp)

struct AttentionOptions {
    int heads = 1;
    int key_value_heads = 0;  ///< 0: as many as heads; else query head i reads head i · key_value_heads / heads
    double scale = 0;         ///< 0: 1/√h
};
/// Causal attention, head by head: o_t = Σ_{s≤t} softmax_s(scale q_t·k_s) v_s, for q [N, H h], k and v [M, H' h].
/// `offsets` [B + 1] (empty: one sequence) says where the sequences of a ragged batch begin and end, N = M. With one
/// sequence and N < M the queries are the last N positions. Memory grows with N, not N²: only the row's log-sum-exp
/// is kept, and the probabilities are computed again in the backward.
template <Real T>
Tensor<T> causal_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const Indices& offsets,
                           AttentionOptions options, Where where = Where::here());

// ---- dropout (ops/dropout.cpp)

/// What a mask follows from, besides the place of an element: no state, so that remat, a replay and any number of
/// threads agree.
struct DropoutKey {
    std::uint64_t seed = 0;
    std::uint32_t step = 0;    ///< of the training
    std::uint32_t record = 0;  ///< a number of its own for each dropout of a model
};
/// x / (1 − p) where an element is kept, else 0; each is dropped with probability p. p = 0 is x itself.
/// Throws ValueError for p outside [0, 1).
template <Real T> Tensor<T> dropout(const Tensor<T>& x, double p, DropoutKey key, Where where = Where::here());

// ---- losses (ops/loss.cpp, ops/entropy.cpp): means, summed in double

struct CrossEntropyOptions {
    std::int32_t ignore_index = std::numeric_limits<std::int32_t>::min();  ///< rows with this target do not count
    double label_smoothing = 0;                                            ///< ε of (1−ε) onehot + ε/V
};
/// The mean over rows of −log softmax(logits)[target], for logits [..., V] and as many targets; the sum is in double.
/// Throws ValueError for a target outside the row, or when no row counts.
template <Real T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Indices& targets, CrossEntropyOptions options = {},
                        Where where = Where::here());
/// cross_entropy(x wᵀ, targets), for x [..., D] and w [V, D]. The logits are made a part of the rows at
/// a time, and on a tape the gradients with them, which it holds instead: that pays where there are more rows than D.
/// Throws as the two ops do.
template <Real T>
Tensor<T> linear_cross_entropy(const Tensor<T>& x, const Tensor<T>& w, const Indices& targets,
                               CrossEntropyOptions options = {}, Where where = Where::here());
/// The cross entropy row by row, not averaged, in the shape of the targets; a row that does not count is 0.
template <Real T>
Tensor<T> row_cross_entropy(const Tensor<T>& logits, const Indices& targets, CrossEntropyOptions options = {},
                            Where where = Where::here());
/// The mean of w (log(1 + e^s) − y s) over logits s, targets y in [0, 1] and weights w (1 where left out), all of one
/// shape: exact for every s. It is the mean of −w (y log σ(s) + (1 − y) log(1 − σ(s))).
template <Real T>
Tensor<T> binary_cross_entropy_with_logits(const Tensor<T>& logits, const Tensor<T>& targets,
                                           const Tensor<T>& weights = {}, Where where = Where::here());
/// The mean of −w (y log p + (1 − y) log(1 − p)) over probabilities p, clamped to [1e-7, 1 − 1e-7]; the gradient is
/// zero where that clamps.
template <Real T>
Tensor<T> binary_cross_entropy(const Tensor<T>& probabilities, const Tensor<T>& targets, const Tensor<T>& weights = {},
                               Where where = Where::here());
/// The mean of (x − y)², for two of one shape.
template <Real T> Tensor<T> mean_squared_error(const Tensor<T>& x, const Tensor<T>& y, Where where = Where::here());

}  // namespace xtape
