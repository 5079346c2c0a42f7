#pragma once
// Attention for short sequences with narrow heads. A batch holds the same columns of one row of q, k or v: heads side
// by side, in groups of `Width` lanes. Four keys are done at once: `scores` turns four batches of products into one
// that has, in each block of four lanes, the scores of the four keys; `spread` brings one of them to its whole block.

#include <xtape/engine/kernels/attention.hpp>
#include <xtape/engine/kernels/softmax_row.hpp>

namespace xtape::kernels {

/// One sequence: its keys begin at row `first`, and the queries are its last rows.
struct ShortSequence {
    Index first, queries, keys;
    Index heads, columns;  ///< of a row
    double scale;

    Index visible(Index query) const { return keys - queries + query + 1; }
};

template <class T, int Width> struct ShortAttention {
    using B = Batch<T>;
    static constexpr int lanes = static_cast<int>(width<T>);
    static constexpr int groups = lanes / Width;
    static constexpr Index most_keys = 512 / Width;  ///< of a sequence: beyond, tiles are faster
    static constexpr Index most_quads = most_keys / 4;
    using Quad = Local<B, 4>;
    using Rows = Local<B, most_keys>;

    /// Joins the lanes of each block: lane i has what f makes of the four of x[i % 4].
    template <class F> static B fold(const Quad& x, F&& f) {
        constexpr auto even = [](int i) { return i / 4 * 4 + i % 2 * 2 + (i % 4 < 2 ? 0 : lanes); };
        constexpr auto odd = [](int i) { return i / 4 * 4 + i % 2 * 2 + (i % 4 < 2 ? 0 : lanes) + 1; };
        const B low = f(shuffle(x[0], x[1], even), shuffle(x[0], x[1], odd));
        const B high = f(shuffle(x[2], x[3], even), shuffle(x[2], x[3], odd));
        return f(shuffle(low, high, even), shuffle(low, high, odd));
    }
    static B sums(const Quad& x) {
        return fold(x, [](const B& a, const B& b) { return a + b; });
    }
    static B maxima(const Quad& x) {
        return fold(x, [](const B& a, const B& b) { return xsimd::max(a, b); });
    }

    /// The sums over whole groups.
    static B scores(const Quad& x) {
        B total = sums(x);
        if constexpr (Width >= 8) total += shuffle(total, total, [](int i) { return i ^ 4; });
        if constexpr (Width >= 16) total += shuffle(total, total, [](int i) { return i ^ 8; });
        return total;
    }

    /// Lane j of each block, on the whole block.
    template <int J> static B spread(const B& x) {
        return shuffle(x, x, [](int i) { return i / 4 * 4 + J; });
    }
    static Quad spread(const B& x) { return {spread<0>(x), spread<1>(x), spread<2>(x), spread<3>(x)}; }

    /// Which lanes belong to the first n of four keys.
    static auto first_keys(Index n) {
        static constexpr auto key = [] {
            Local<T, lanes> keys{};
            for (Index i = 0; i < lanes; ++i) keys[i] = static_cast<T>(i % 4);
            return keys;
        }();
        static constexpr Local<T, 5> limits{0, 1, 2, 3, 4};
        return load(key.data()) < B(limits[std::clamp<Index>(n, 0, 4)]);
    }

    /// Numbers of `rows` <= 4 rows with one a head: lane i of a group has that of row i % 4.
    template <class Count> static B load_per_head(const T* x, Index row, Index rows, Count count) {
        Local<T, lanes> each{};
        for (Index j = 0; j < rows; ++j) std::copy_n(x + j * row, count / Width, each.data() + j * groups);
        const B all = load(each.data());
        return shuffle(all, all, [](int i) { return i % 4 * groups + i / Width; });
    }
    template <class Count> static void store_per_head(T* x, Index row, Index rows, const B& value, Count count) {
        Local<T, lanes> each;
        store(each.data(), shuffle(value, value, [](int i) { return i % groups * Width + i / groups % 4; }));
        for (Index j = 0; j < rows; ++j) std::copy_n(each.data() + j * groups, count / Width, x + j * row);
    }

    /// Offsets of four rows, of which only the first `left` count: the last of those stands for the others as well.
    using Steps = Local<Local<Index, 4>, 5>;
    static Steps steps_of(Index row) {
        Steps steps{};
        for (Index left = 1; left <= 4; ++left)
            for (Index j = 0; j < 4; ++j) steps[left][j] = std::min(j, left - 1) * row;
        return steps;
    }
    template <class Count> static Quad load_rows(const T* x, const Local<Index, 4>& steps, Count count) {
        return {get(x + steps[0], count), get(x + steps[1], count), get(x + steps[2], count), get(x + steps[3], count)};
    }

    static Quad times(const Quad& x, const Quad& y) { return {x[0] * y[0], x[1] * y[1], x[2] * y[2], x[3] * y[3]}; }
    static Quad times(const B& x, const Quad& y) { return {x * y[0], x * y[1], x * y[2], x * y[3]}; }
    static B dot(const Quad& x, const Quad& y) { return (x[0] * y[0] + x[1] * y[1]) + (x[2] * y[2] + x[3] * y[3]); }

    /// Four queries (or fewer: the last stands for the others as well) against all keys that they see.
    template <class Count>
    static void forward_quad(const ShortSequence& s, const Steps& steps, Index t, Count count, const T* q, const T* k,
                             const T* v, T* o, T* lse) {
        const B lowest(minus_infinity<T>), zero(T(0));
        const Index rows = std::min<Index>(4, s.queries - t), visible = s.visible(t + rows - 1);
        Quad query = load_rows(q + t * s.columns, steps[rows], count);
        for (B& each : query) each *= B(static_cast<T>(s.scale));
        Local<Quad, most_quads> score;
        Quad largest{lowest, lowest, lowest, lowest};
        for (Index key = 0; key < visible; key += 4) {
            const auto& step = steps[std::min<Index>(4, visible - key)];
            const Quad keys = load_rows(k + key * s.columns, step, count);
            for (Index j = 0; j < 4; ++j) {
                const auto seen = first_keys(s.visible(t + j) - key);
                B& each = score[key / 4][j];
                each = select(seen, scores(times(query[j], keys)), lowest);
                largest[j] = xsimd::max(largest[j], each);
            }
        }
        const B shift = finite_shift(maxima(largest));
        const Quad subtract = spread(shift);
        Quad total{zero, zero, zero, zero}, sum = total;
        for (Index key = 0; key < visible; key += 4) {
            const auto& step = steps[std::min<Index>(4, visible - key)];
            const Quad values = load_rows(v + key * s.columns, step, count);
            for (Index j = 0; j < 4; ++j) {
                const B e = exp(score[key / 4][j] - subtract[j]);
                total[j] += e;
                sum[j] += dot(spread(e), values);
            }
        }
        const B all = sums(total);
        const Quad inverse = spread(select(all == zero, zero, B(T(1)) / all));
        for (Index j = 0; j < rows; ++j) put(o + (t + j) * s.columns, sum[j] * inverse[j], count);
        store_per_head(lse + t * s.heads, s.heads, rows, shift + log(all), count);
    }

    static void forward(const ShortSequence& s, const T* q, const T* k, const T* v, T* o, T* lse) {
        const Steps steps = steps_of(s.columns);
        for_batches<T>(s.columns, [&](Index c, auto count) {
            const Index at = s.first * s.columns + c;
            T* at_lse = lse + s.first * s.heads + c / Width;
            for (Index t = 0; t < s.queries; t += 4)
                forward_quad(s, steps, t, count, q + at, k + at, v + at, o + at, at_lse);
        });
    }

    template <class Count>
    static void put_rows(T* y, Index at, Index row, Index rows, const B* values, Count count, bool accumulate) {
        if (y == nullptr) return;
        with_constant(accumulate, [=](auto add) {
            for (Index j = 0; j < rows; ++j) put(y + at + j * row, values[j], count, add);
        });
    }

    /// The log-sum-exp and Σ dO o of each query, on the lanes of each head.
    template <class Count>
    static void prepare(const ShortSequence& s, const Steps& steps, Count count, const T* d_o, const T* o,
                        const T* logs, Rows& lse, Rows& delta) {
        for (Index t = 0; t < s.queries; t += 4) {
            const Index rows = std::min<Index>(4, s.queries - t), at = t * s.columns;
            const B four = load_per_head(logs + t * s.heads, s.heads, rows, count);
            const Quad each_lse = spread(finite_shift(four));
            const Quad each_delta =
                spread(scores(times(load_rows(d_o + at, steps[rows], count), load_rows(o + at, steps[rows], count))));
            std::copy_n(each_lse.data(), rows, lse.data() + t);
            std::copy_n(each_delta.data(), rows, delta.data() + t);
        }
    }

    template <class Count>
    static void backward_columns(const ShortSequence& s, Index c, Count count, const AttentionInputs<T>& in,
                                 const AttentionGradients<T>& out) {
        const Index from = s.first * s.columns + c;
        const B scale(static_cast<T>(s.scale)), zero(T(0));
        const Steps steps = steps_of(s.columns);
        Rows lse, delta, dq;
        prepare(s, steps, count, in.d_o + from, in.o + from, in.lse + s.first * s.heads + c / Width, lse, delta);
        std::fill_n(dq.data(), s.queries, zero);
        for (Index key = 0; key < s.keys; key += 4) {
            const auto& step = steps[std::min<Index>(4, s.keys - key)];
            const Quad k = load_rows(in.k + from + key * s.columns, step, count);
            const Quad v = load_rows(in.v + from + key * s.columns, step, count);
            Quad dk{zero, zero, zero, zero}, dv = dk;
            for (Index t = std::max<Index>(0, key - s.keys + s.queries); t < s.queries; ++t) {
                const B q = get(in.q + from + t * s.columns, count), d_o = get(in.d_o + from + t * s.columns, count);
                B p = exp(scores(times(q, k)) * scale - lse[t]);
                p = select(first_keys(s.visible(t) - key), p, zero);
                const B ds = p * (scores(times(d_o, v)) - delta[t]) * scale;
                const Quad each_p = spread(p), each_ds = spread(ds);
                dq[t] += dot(each_ds, k);
                for (Index j = 0; j < 4; ++j) {
                    dk[j] += each_ds[j] * q;
                    dv[j] += each_p[j] * d_o;
                }
            }
            const Index rows = std::min<Index>(4, s.keys - key), to = from + key * s.columns;
            put_rows(out.dk, to, s.columns, rows, dk.data(), count, out.add_k);
            put_rows(out.dv, to, s.columns, rows, dv.data(), count, out.add_v);
        }
        put_rows(out.dq, from, s.columns, s.queries, dq.data(), count, out.add_q);
    }

    static void backward(const ShortSequence& s, const AttentionInputs<T>& in, const AttentionGradients<T>& out) {
        for_batches<T>(s.columns, [&](Index c, auto count) { backward_columns(s, c, count, in, out); });
    }
};

}  // namespace xtape::kernels
