#pragma once
// Attention for short sequences with narrow heads. A batch holds the same columns of one row of q, k or v: heads side
// by side, in groups of `Width` lanes. Four keys are done at once: `scores` turns four batches of products into one
// that has, in each block of four lanes, the scores of the four keys; `spread` brings one of them to its whole block.

#include <xtape/engine/kernels/rows.hpp>

#include <array>
#include <bit>
#include <limits>
#include <utility>

namespace xtape::kernels {

/// One sequence: the queries are its last rows.
struct ShortSequence {
    static constexpr Index most_keys = 32;

    Index queries, keys;
    Index heads, columns;  ///< of a row
    double scale;

    Index visible(Index query) const { return keys - queries + query + 1; }
};

/// Where its rows begin.
template <class T>
struct ShortInputs {
    const T *q, *k, *v, *o, *lse, *d_o;
};
template <class T>
struct ShortGradients {
    T *dq, *dk, *dv;  ///< null: not wanted
    bool add_q, add_k, add_v;
};

/// A lane of a, or of b (counted on from the width), for each lane of the result: at(i) for lane i.
template <class T, class At, int... I>
Batch<T> shuffle(const Batch<T>& a, const Batch<T>& b, At, std::integer_sequence<int, I...>) {
    typedef T V __attribute__((vector_size(sizeof(Batch<T>))));
    return std::bit_cast<Batch<T>>(__builtin_shufflevector(std::bit_cast<V>(a), std::bit_cast<V>(b), At{}(I)...));
}
template <class T, class At>
Batch<T> shuffle(const Batch<T>& a, const Batch<T>& b, At at) {
    return shuffle(a, b, at, std::make_integer_sequence<int, static_cast<int>(width<T>)>());
}

template <class T, int Width>
struct ShortAttention {
    using B = Batch<T>;
    static constexpr int lanes = static_cast<int>(width<T>);
    static constexpr int groups = lanes / Width;
    static constexpr std::size_t most_quads = ShortSequence::most_keys / 4;
    using Quad = std::array<B, 4>;
    using Rows = std::array<B, static_cast<std::size_t>(ShortSequence::most_keys)>;

    /// The sums over the groups of four batches: lane i has that of x[i % 4].
    static B scores(const Quad& x) {
        constexpr auto even = [](int i) { return i / 4 * 4 + i % 2 * 2 + (i % 4 < 2 ? 0 : lanes); };
        constexpr auto odd = [](int i) { return i / 4 * 4 + i % 2 * 2 + (i % 4 < 2 ? 0 : lanes) + 1; };
        const B low = shuffle(x[0], x[1], even) + shuffle(x[0], x[1], odd);
        const B high = shuffle(x[2], x[3], even) + shuffle(x[2], x[3], odd);
        B total = shuffle(low, high, even) + shuffle(low, high, odd);
        if constexpr (Width >= 8) total += shuffle(total, total, [](int i) { return i ^ 4; });
        if constexpr (Width >= 16) total += shuffle(total, total, [](int i) { return i ^ 8; });
        return total;
    }

    /// The same over one batch: every lane has the sum over its group.
    static B group_sum(const B& x) { return scores({x, x, x, x}); }

    /// Lane j of each block, on the whole block.
    template <int J>
    static B spread(const B& x) {
        return shuffle(x, x, [](int i) { return i / 4 * 4 + J; });
    }
    static Quad spread(const B& x) { return {spread<0>(x), spread<1>(x), spread<2>(x), spread<3>(x)}; }

    static B block_max(const B& x) {
        const B pairs = xsimd::max(x, shuffle(x, x, [](int i) { return i ^ 1; }));
        return xsimd::max(pairs, shuffle(pairs, pairs, [](int i) { return i ^ 2; }));
    }
    static B block_sum(const B& x) {
        const B pairs = x + shuffle(x, x, [](int i) { return i ^ 1; });
        return pairs + shuffle(pairs, pairs, [](int i) { return i ^ 2; });
    }

    /// Which lanes belong to the first n of four keys.
    static auto first_keys(Index n) {
        alignas(64) static constexpr auto key = [] {
            std::array<T, static_cast<std::size_t>(lanes)> keys{};
            for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<T>(i % 4);
            return keys;
        }();
        return load(key.data()) < B(static_cast<T>(n));
    }

    /// One number a head on the lanes of its group, and back.
    template <class Count>
    static B per_head(const T* x, Count count) {
        alignas(64) std::array<T, static_cast<std::size_t>(lanes)> each;
        for (std::size_t i = 0; i < each.size(); ++i)
            each[i] = x[std::min<Index>(static_cast<Index>(i), count - 1) / Width];
        return load(each.data());
    }
    template <class Count>
    static void store_per_head(T* y, const B& x, Count count) {
        alignas(64) std::array<T, static_cast<std::size_t>(lanes)> each;
        store(each.data(), x);
        for (Index head = 0; head < count / Width; ++head) y[head] = each[static_cast<std::size_t>(head * Width)];
    }

    /// Four rows from `first` on; those from `end` on stand for the last one before it.
    template <class Count>
    static Quad load_rows(const T* x, Index row, Index first, Index end, Count count) {
        const auto at = [&](Index j) { return load(x + std::min(first + j, end - 1) * row, count); };
        return {at(0), at(1), at(2), at(3)};
    }

    static Quad times(const B& x, const Quad& y) { return {x * y[0], x * y[1], x * y[2], x * y[3]}; }
    static B dot(const Quad& x, const Quad& y) { return (x[0] * y[0] + x[1] * y[1]) + (x[2] * y[2] + x[3] * y[3]); }

    template <class Count>
    static void forward_row(const ShortSequence& s, Index t, Count count, const T* q, const T* k, const T* v, T* o, T* lse) {
        constexpr T lowest = -std::numeric_limits<T>::infinity();
        const Index visible = s.visible(t), quads = (visible + 3) / 4;
        const B query = load(q + t * s.columns, count) * B(static_cast<T>(s.scale));
        std::array<B, most_quads> score;
        B largest(lowest);
        for (Index i = 0; i < quads; ++i) {
            B& quad = score[static_cast<std::size_t>(i)];
            quad = scores(times(query, load_rows(k, s.columns, 4 * i, visible, count)));
            if (4 * i + 4 > visible) quad = select(first_keys(visible - 4 * i), quad, B(lowest));
            largest = xsimd::max(largest, quad);
        }
        largest = block_max(largest);
        const B shift = select(largest == B(lowest), B(T(0)), largest);
        B total(T(0)), sum(T(0));
        for (Index i = 0; i < quads; ++i) {
            const B e = exp(score[static_cast<std::size_t>(i)] - shift);
            total += e;
            sum += dot(spread(e), load_rows(v, s.columns, 4 * i, visible, count));
        }
        total = block_sum(total);
        store(o + t * s.columns, select(total == B(T(0)), B(T(0)), sum / total), count);
        store_per_head(lse + t * s.heads, shift + log(total), count);
    }

    static void forward(const ShortSequence& s, const T* q, const T* k, const T* v, T* o, T* lse) {
        for_batches<T>(s.columns, [&](Index c, auto count) {
            for (Index t = 0; t < s.queries; ++t) forward_row(s, t, count, q + c, k + c, v + c, o + c, lse + c / Width);
        });
    }

    template <class Count>
    static void backward_columns(const ShortSequence& s, Index c, Count count, const ShortInputs<T>& in,
                                 const ShortGradients<T>& out) {
        const B scale(static_cast<T>(s.scale)), zero(T(0));
        Rows lse, delta, dq;
        for (Index t = 0; t < s.queries; ++t) {
            const auto at = static_cast<std::size_t>(t);
            lse[at] = per_head(in.lse + t * s.heads + c / Width, count);
            lse[at] = select(lse[at] == B(-std::numeric_limits<T>::infinity()), zero, lse[at]);
            delta[at] = group_sum(load(in.d_o + t * s.columns + c, count) * load(in.o + t * s.columns + c, count));
            dq[at] = zero;
        }
        for (Index key = 0; key < s.keys; key += 4) {
            const Quad k = load_rows(in.k + c, s.columns, key, s.keys, count);
            const Quad v = load_rows(in.v + c, s.columns, key, s.keys, count);
            Quad dk{zero, zero, zero, zero}, dv = dk;
            for (Index t = std::max<Index>(0, key - s.keys + s.queries); t < s.queries; ++t) {
                const auto at = static_cast<std::size_t>(t);
                const B q = load(in.q + t * s.columns + c, count), d_o = load(in.d_o + t * s.columns + c, count);
                B p = exp(scores(times(q, k)) * scale - lse[at]);
                if (key + 4 > s.visible(t)) p = select(first_keys(s.visible(t) - key), p, zero);
                const B ds = p * (scores(times(d_o, v)) - delta[at]) * scale;
                const Quad each_p = spread(p), each_ds = spread(ds);
                dq[at] += dot(each_ds, k);
                for (std::size_t j = 0; j < 4; ++j) {
                    dk[j] += each_ds[j] * q;
                    dv[j] += each_p[j] * d_o;
                }
            }
            for (Index j = 0; j < std::min<Index>(4, s.keys - key); ++j) {
                const Index to = (key + j) * s.columns + c;
                if (out.dk != nullptr) put(out.dk + to, dk[static_cast<std::size_t>(j)], count, out.add_k);
                if (out.dv != nullptr) put(out.dv + to, dv[static_cast<std::size_t>(j)], count, out.add_v);
            }
        }
        for (Index t = 0; t < s.queries && out.dq != nullptr; ++t)
            put(out.dq + t * s.columns + c, dq[static_cast<std::size_t>(t)], count, out.add_q);
    }

    static void backward(const ShortSequence& s, const ShortInputs<T>& in, const ShortGradients<T>& out) {
        for_batches<T>(s.columns, [&](Index c, auto count) { backward_columns(s, c, count, in, out); });
    }
};

}  // namespace xtape::kernels
