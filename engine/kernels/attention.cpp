#include <xtape/engine/kernels/attention.hpp>
#include <xtape/engine/kernels/gemm.hpp>
#include <xtape/engine/kernels/softmax_row.hpp>

#include <array>

namespace xtape::kernels {
namespace {

constexpr Index tile = 64;

template <class T>
using Tile = std::array<T, static_cast<std::size_t>(tile * tile)>;
template <class T>
using Column = std::array<T, static_cast<std::size_t>(tile)>;

/// A run of rows of the queries against the keys of one sequence, for one head.
struct Span {
    Index query, queries;  ///< first row, number of rows
    Index key, keys;
    Index head, key_head;

    /// How many keys from `first` on the query row r of a block at `begin` sees, at most `most`.
    Index visible(Index begin, Index r, Index first, Index most) const {
        return std::clamp<Index>(keys - queries + begin + r + 1 - first, 0, most);
    }
};

/// Sequence and head as a Span.
Span span_of(const Attention& a, Index sequence, Index head) {
    const Index key_head = head * a.key_heads / a.heads;
    if (a.offsets == nullptr) return {0, a.queries, 0, a.keys, head, key_head};
    const Index begin = a.offsets[sequence], rows = a.offsets[sequence + 1] - begin;
    return {begin, rows, begin, rows, head, key_head};
}

Index longest_sequence(const Attention& a) {
    if (a.offsets == nullptr) return a.queries;
    Index longest = 0;
    for (Index s = 0; s < a.sequences; ++s) longest = std::max<Index>(longest, a.offsets[s + 1] - a.offsets[s]);
    return longest;
}

/// The running softmax of the rows of a block: their largest scores and their sums so far.
template <class T>
struct Running {
    Column<T> largest;
    Column<double> total;
};

/// Turns scaled scores of one row into probabilities relative to the largest score so far, and says by what factor that
/// scales down what came before.
template <class T>
T soften(T* scores, Index visible, Index columns, T scale, T& largest, double& total) {
    constexpr T lowest = -std::numeric_limits<T>::infinity();
    const Batch<T> factor(scale);
    for_batches<T>(visible, [&](Index i, auto count) { store(scores + i, load(scores + i, count) * factor, count); });
    const T before = largest;
    Batch<T> most(before);
    for_batches<T>(visible, [&](Index i, auto count) { most = xsimd::max(most, load_or(scores + i, count, lowest)); });
    largest = max_of(most);
    const T shift = largest == lowest ? T(0) : largest;
    const T shrink = std::exp(before - shift);
    const auto keep = [scores](Index i, auto count, const Batch<T>& e) { store(scores + i, e, count); };
    total = total * static_cast<double>(shrink) + sum_exponentials(visible, scores, shift, keep);
    std::fill(scores + visible, scores + columns, T(0));
    return shrink;
}

template <class T>
void scale_row(T* x, Index n, T factor) {
    const Batch<T> by(factor);
    for_batches<T>(n, [&](Index i, auto count) { store(x + i, load(x + i, count) * by, count); });
}

/// The rows [begin, begin + rows) of a span, over tiles of keys.
template <class T>
void forward_block(const Attention& a, const Span& span, Index begin, Index rows, const T* q, const T* k, const T* v,
                   T* o, T* lse) {
    const Index h = a.width, q_row = a.heads * h, k_row = a.key_heads * h;
    q += (span.query + begin) * q_row + span.head * h;
    o += (span.query + begin) * q_row + span.head * h;
    lse += (span.query + begin) * a.heads + span.head;
    k += span.key * k_row + span.key_head * h;
    v += span.key * k_row + span.key_head * h;
    alignas(64) Tile<T> scores;
    Running<T> running;
    running.largest.fill(-std::numeric_limits<T>::infinity());
    running.total.fill(0);
    const Index keys = span.visible(begin, rows - 1, 0, span.keys);
    for (Index s = 0; s < keys; s += tile) {
        const Index columns = std::min(tile, keys - s);
        gemm<T>({.transpose_b = true, .m = rows, .n = columns, .k = h, .lda = q_row, .ldb = k_row, .ldc = tile}, q,
                k + s * k_row, scores.data());
        for (Index r = 0; r < rows; ++r) {
            const auto at = static_cast<std::size_t>(r);
            const T shrink = soften(scores.data() + r * tile, span.visible(begin, r, s, columns), columns,
                                    static_cast<T>(a.scale), running.largest[at], running.total[at]);
            if (s > 0 && shrink != T(1)) scale_row(o + r * q_row, h, shrink);
        }
        gemm<T>({.m = rows, .n = h, .k = columns, .lda = tile, .ldb = k_row, .ldc = q_row, .accumulate = s > 0},
                scores.data(), v + s * k_row, o);
    }
    for (Index r = 0; r < rows; ++r) {
        const double total = running.total[static_cast<std::size_t>(r)];
        scale_row(o + r * q_row, h, total == 0 ? T(0) : static_cast<T>(1 / total));
        lse[r * a.heads] = static_cast<T>(static_cast<double>(running.largest[static_cast<std::size_t>(r)]) + std::log(total));
    }
}

template <class T>
T dot(const T* x, const T* y, Index n) {
    return static_cast<T>(
        sum_along<T>(n, [=](Index i, auto count) { return load_or(x + i, count, T(0)) * load_or(y + i, count, T(0)); }));
}

/// scores become P = e^(scale S − lse), 0 where masked; d_p becomes dS = P (dP − delta) scale.
template <class T>
void backward_row(T* scores, T* d_p, Index visible, Index columns, T scale, T lse, T delta) {
    const Batch<T> factor(scale), subtract(lse == -std::numeric_limits<T>::infinity() ? T(0) : lse), mean(delta);
    for_batches<T>(visible, [&](Index i, auto count) {
        const Batch<T> p = exp(load(scores + i, count) * factor - subtract);
        store(scores + i, p, count);
        store(d_p + i, p * (load(d_p + i, count) - mean) * factor, count);
    });
    std::fill(scores + visible, scores + columns, T(0));
    std::fill(d_p + visible, d_p + columns, T(0));
}

template <class T>
struct BackwardPointers {
    const T *q, *k, *v, *o, *lse, *d_o;
    AttentionGradient<T> dq, dk, dv;
};

/// The rows [begin, begin + rows) of a span: dq of those rows, and what they add to dk and dv of the keys they see.
template <class T>
void backward_block(const Attention& a, const Span& span, Index begin, Index rows, const BackwardPointers<T>& p) {
    const Index h = a.width, q_row = a.heads * h, k_row = a.key_heads * h;
    const Index q_at = (span.query + begin) * q_row + span.head * h, k_at = span.key * k_row + span.key_head * h;
    const T scale = static_cast<T>(a.scale);
    const T *q = p.q + q_at, *d_o = p.d_o + q_at, *o = p.o + q_at;
    const T* lse = p.lse + (span.query + begin) * a.heads + span.head;
    alignas(64) Tile<T> scores, d_p;
    Column<T> delta;
    for (Index r = 0; r < rows; ++r) delta[static_cast<std::size_t>(r)] = dot(d_o + r * q_row, o + r * q_row, h);
    const Index keys = span.visible(begin, rows - 1, 0, span.keys);
    for (Index s = 0; s < keys; s += tile) {
        const Index columns = std::min(tile, keys - s), at = k_at + s * k_row;
        const Gemm product{.transpose_b = true, .m = rows, .n = columns, .k = h, .lda = q_row, .ldb = k_row, .ldc = tile};
        gemm<T>(product, q, p.k + at, scores.data());   // S = Q Kᵀ
        gemm<T>(product, d_o, p.v + at, d_p.data());    // dP = dO Vᵀ
        for (Index r = 0; r < rows; ++r)
            backward_row(scores.data() + r * tile, d_p.data() + r * tile, span.visible(begin, r, s, columns), columns,
                         scale, lse[r * a.heads], delta[static_cast<std::size_t>(r)]);
        const Gemm to_keys{.transpose_a = true, .m = columns, .n = h, .k = rows, .lda = tile, .ldb = q_row, .ldc = k_row,
                           .accumulate = true};
        if (p.dv.data != nullptr) gemm<T>(to_keys, scores.data(), d_o, p.dv.data + at);  // dV += Pᵀ dO
        if (p.dk.data != nullptr) gemm<T>(to_keys, d_p.data(), q, p.dk.data + at);       // dK += dSᵀ Q
        if (p.dq.data != nullptr)                                                        // dQ += dS K
            gemm<T>({.m = rows, .n = h, .k = columns, .lda = tile, .ldb = k_row, .ldc = q_row,
                     .accumulate = p.dq.accumulate || s > 0},
                    d_p.data(), p.k + at, p.dq.data + q_at);
    }
}

double flops(const Attention& a) {
    return 2.0 * static_cast<double>(a.queries * a.heads * a.width) * static_cast<double>(longest_sequence(a));
}

}  // namespace

template <class T>
void attention(const Attention& a, const T* q, const T* k, const T* v, T* o, T* lse) {
    const Index blocks = (longest_sequence(a) + tile - 1) / tile;
    parallel_for(a.sequences * a.heads * blocks, 1, worth_threads(flops(a)), [=](Index item, Index) {
        const Span span = span_of(a, item / blocks / a.heads, item / blocks % a.heads);
        const Index begin = item % blocks * tile;
        if (begin >= span.queries) return;
        forward_block(a, span, begin, std::min(tile, span.queries - begin), q, k, v, o, lse);
    });
}

template <class T>
void attention_backward(const Attention& a, const T* q, const T* k, const T* v, const T* o, const T* lse, const T* d_o,
                        AttentionGradient<T> dq, AttentionGradient<T> dk, AttentionGradient<T> dv) {
    const Index key_size = a.keys * a.key_heads * a.width, group = a.heads / a.key_heads;
    for (const AttentionGradient<T>& d : {dk, dv}) {
        if (d.data != nullptr && !d.accumulate) std::fill_n(d.data, key_size, T(0));
    }
    const BackwardPointers<T> pointers{q, k, v, o, lse, d_o, dq, dk, dv};
    parallel_for(a.sequences * a.key_heads, 1, worth_threads(2 * flops(a)), [=](Index item, Index) {
        for (Index head = item % a.key_heads * group; head < (item % a.key_heads + 1) * group; ++head) {
            const Span span = span_of(a, item / a.key_heads, head);
            for (Index begin = 0; begin < span.queries; begin += tile)
                backward_block(a, span, begin, std::min(tile, span.queries - begin), pointers);
        }
    });
}

template void attention(const Attention&, const float*, const float*, const float*, float*, float*);
template void attention(const Attention&, const double*, const double*, const double*, double*, double*);
template void attention_backward(const Attention&, const float*, const float*, const float*, const float*, const float*,
                                 const float*, AttentionGradient<float>, AttentionGradient<float>,
                                 AttentionGradient<float>);
template void attention_backward(const Attention&, const double*, const double*, const double*, const double*,
                                 const double*, const double*, AttentionGradient<double>, AttentionGradient<double>,
                                 AttentionGradient<double>);

}  // namespace xtape::kernels
