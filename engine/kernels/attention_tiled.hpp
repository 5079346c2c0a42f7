#pragma once
// Attention in tiles: a block of queries of one head against one tile of keys after the other. The scores of a tile are
// a product of matrices; the softmax runs on from tile to tile, scaling down what came before when a larger score
// comes.

#include <xtape/engine/kernels/attention.hpp>
#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/kernels/softmax_row.hpp>

#include <cmath>

namespace xtape::kernels {

/// Rows of a block of queries, and keys of a tile.
inline constexpr Index query_block = 32, key_tile = 128;

/// The queries and keys of one head of one sequence.
struct HeadOfSequence {
    Index query, queries;  ///< first row, and number of rows
    Index key, keys;
    Index head, key_head;

    /// How many keys from `first` on the query row `row` sees, at most `most`.
    Index visible(Index row, Index first, Index most) const {
        return std::clamp<Index>(keys - queries + row + 1 - first, 0, most);
    }
};

/// What is kept for each row of a block.
template <class T> using PerQuery = Local<T, query_block>;
template <class T> using Tile = Local<T, query_block * key_tile>;

/// The softmax of a block's rows, as far as it has come.
template <class T> struct RunningSoftmax {
    PerQuery<T> largest;
    PerQuery<T> shrink;  ///< what the latest tile scales the earlier ones by
    PerQuery<T> total;

    RunningSoftmax() {
        std::fill(largest.begin(), largest.end(), minus_infinity<T>);
        std::fill(shrink.begin(), shrink.end(), T(0));
        std::fill(total.begin(), total.end(), T(0));
    }

    /// Replaces scores by e^(scale score − largest so far); beyond visible(row) by zeros.
    template <class Visible> void add_tile(T* scores, Index rows, Index columns, T scale, Visible&& visible) {
        const T masked = std::copysign(minus_infinity<T>, -scale);
        const Batch<T> factor(scale);
        const PerQuery<T> before = largest;
        for (Index r = 0; r < rows; ++r) {
            const T* row = scores + r * key_tile;
            Batch<T> most(largest[r]);
            for_batches<T>(visible(r),
                           [&](Index i, auto count) { most = xsimd::max(most, get(row + i, count, masked) * factor); });
            largest[r] = first_lane(max_of_lanes(most));
        }
        PerQuery<T> shift;
        for (Index i = 0; i < query_block; i += width<T>) {
            const Batch<T> subtract = finite_shift(load(largest.data() + i));
            store(shift.data() + i, subtract);
            store(shrink.data() + i, exp(load(before.data() + i) - subtract));
        }
        for (Index r = 0; r < rows; ++r) {
            T* row = scores + r * key_tile;
            const Batch<T> subtract(shift[r]);
            Batch<T> sums(T(0));
            const Index seen = visible(r);
            for_batches<T>(seen, [&](Index i, auto count) {
                const Batch<T> e = exp(get(row + i, count, masked) * factor - subtract);
                put(row + i, e, count);
                sums += e;
            });
            std::fill(row + seen, row + columns, T(0));
            total[r] = total[r] * shrink[r] + first_lane(sum_of_lanes(sums));
        }
    }
};

template <class T> void scale_row(T* x, Index n, T factor) {
    const Batch<T> by(factor);
    for_batches<T>(n, [&](Index i, auto count) { put(x + i, get(x + i, count) * by, count); });
}

/// A product of matrices that are tiles or fit them.
template <class T> void multiply(const Attention& a, const Gemm& g, const T* x, const T* y, T* z) {
    if constexpr (std::is_same_v<T, float>) {
        constexpr Index most = key_tile * 128;
        if (a.bf16 && worth_bf16(g) && bf16_scratch(g) <= most) {
            Local<std::uint32_t, most> scratch;
            return gemm_bf16(g, x, y, z, nullptr, scratch.data());
        }
    }
    gemm(g, x, y, z);
}

/// Output and log-sum-exp of the queries [begin, begin + rows).
template <class T>
void attend_block(const Attention& a, const HeadOfSequence& s, Index begin, Index rows, const T* q, const T* k,
                  const T* v, T* o, T* lse) {
    const Index h = a.width, q_row = a.heads * h, k_row = a.key_heads * h;
    const Index q_at = (s.query + begin) * q_row + s.head * h, k_at = s.key * k_row + s.key_head * h;
    o += q_at;
    Tile<T> scores;
    RunningSoftmax<T> softmax;
    const Index keys = s.visible(begin + rows - 1, 0, s.keys);
    for (Index key = 0; key < keys; key += key_tile) {
        const Index columns = std::min(key_tile, keys - key), at = k_at + key * k_row;
        multiply(a, {.transpose_b = true, .m = rows, .n = columns, .k = h, .lda = q_row, .ldb = k_row, .ldc = key_tile},
                 q + q_at, k + at, scores.data());
        softmax.add_tile(scores.data(), rows, columns, static_cast<T>(a.scale),
                         [&](Index r) { return s.visible(begin + r, key, columns); });
        for (Index r = 0; r < rows && key > 0; ++r) {
            const T shrink = softmax.shrink[r];
            if (shrink != T(1)) scale_row(o + r * q_row, h, shrink);
        }
        multiply(a,
                 {.m = rows, .n = h, .k = columns, .lda = key_tile, .ldb = k_row, .ldc = q_row, .accumulate = key > 0},
                 scores.data(), v + at, o);
    }
    lse += (s.query + begin) * a.heads + s.head;
    for (Index r = 0; r < rows; ++r) {
        const T total = softmax.total[r];
        scale_row(o + r * q_row, h, total == 0 ? T(0) : 1 / total);
        lse[r * a.heads] = softmax.largest[r] + std::log(total);
    }
}

template <class T> T dot(const T* x, const T* y, Index n) {
    return first_lane(sum_along<T>(n, [=](Index i, auto count) { return get(x + i, count) * get(y + i, count); }));
}

/// Scores become P = e^(scale S − lse), zeros where masked; d_p becomes dS = P (dP − delta) scale.
template <class T> void backward_row(T* scores, T* d_p, Index visible, Index columns, T scale, T lse, T delta) {
    const Batch<T> factor(scale), subtract = finite_shift(Batch<T>(lse)), mean(delta);
    for_batches<T>(visible, [&](Index i, auto count) {
        const Batch<T> p = exp(get(scores + i, count) * factor - subtract);
        put(scores + i, p, count);
        put(d_p + i, p * (get(d_p + i, count) - mean) * factor, count);
    });
    std::fill(scores + visible, scores + columns, T(0));
    std::fill(d_p + visible, d_p + columns, T(0));
}

/// Zeros in the columns of one head of the keys.
template <class T> void clear_head(const Attention& a, const HeadOfSequence& s, T* x) {
    for (Index t = 0; t < s.keys; ++t)
        std::fill_n(x + ((s.key + t) * a.key_heads + s.key_head) * a.width, a.width, T(0));
}

/// The gradient of the queries [begin, begin + rows), and what they add to those of the keys and values they see.
template <class T>
void attend_block_backward(const Attention& a, const HeadOfSequence& s, Index begin, Index rows,
                           const AttentionInputs<T>& in, const AttentionGradients<T>& out) {
    const Index h = a.width, q_row = a.heads * h, k_row = a.key_heads * h;
    const Index q_at = (s.query + begin) * q_row + s.head * h, k_at = s.key * k_row + s.key_head * h;
    const T *q = in.q + q_at, *d_o = in.d_o + q_at, *lse = in.lse + (s.query + begin) * a.heads + s.head;
    Tile<T> scores, d_p;
    PerQuery<T> delta;
    for (Index r = 0; r < rows; ++r) delta[r] = dot(d_o + r * q_row, in.o + q_at + r * q_row, h);
    const Index keys = s.visible(begin + rows - 1, 0, s.keys);
    for (Index key = 0; key < keys; key += key_tile) {
        const Index columns = std::min(key_tile, keys - key), at = k_at + key * k_row;
        const Gemm over_width{
            .transpose_b = true, .m = rows, .n = columns, .k = h, .lda = q_row, .ldb = k_row, .ldc = key_tile};
        multiply(a, over_width, q, in.k + at, scores.data());  // S = Q Kᵀ
        multiply(a, over_width, d_o, in.v + at, d_p.data());   // dP = dO Vᵀ
        for (Index r = 0; r < rows; ++r)
            backward_row(scores.data() + r * key_tile, d_p.data() + r * key_tile, s.visible(begin + r, key, columns),
                         columns, static_cast<T>(a.scale), lse[r * a.heads], delta[r]);
        const Gemm over_queries{.transpose_a = true,
                                .m = columns,
                                .n = h,
                                .k = rows,
                                .lda = key_tile,
                                .ldb = q_row,
                                .ldc = k_row,
                                .accumulate = true};
        if (out.dv != nullptr) multiply(a, over_queries, scores.data(), d_o, out.dv + at);  // dV += Pᵀ dO
        if (out.dk != nullptr) multiply(a, over_queries, d_p.data(), q, out.dk + at);       // dK += dSᵀ Q
        const Gemm over_keys{.m = rows,
                             .n = h,
                             .k = columns,
                             .lda = key_tile,
                             .ldb = k_row,
                             .ldc = q_row,
                             .accumulate = out.add_q || key > 0};
        if (out.dq != nullptr) multiply(a, over_keys, d_p.data(), in.k + at, out.dq + q_at);  // dQ += dS K
    }
}

}  // namespace xtape::kernels
