#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include <xtape/engine/kernels/gemm.hpp>

/// The register-blocked kernel under gemm: up to max_rows x 3 vectors of C stay in registers while k runs.
namespace xtape::kernels::detail {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64, max_rows = 8;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32, max_rows = 4;
#elif defined(__aarch64__)
inline constexpr int vector_bytes = 16, max_rows = 8;
#else
inline constexpr int vector_bytes = 16, max_rows = 4;
#endif
inline constexpr int max_vectors = 3;

/// What an operand's elements may be instead of numbers: two of bfloat16, which follow each other along k, the first in
/// the lower half.
using Bf16Pair = std::uint32_t;

/// What products of an operand's elements are added up in.
template <class E> using SumOf = std::conditional_t<std::is_same_v<E, Bf16Pair>, float, E>;

template <class T> inline constexpr int native_lanes = vector_bytes / static_cast<int>(sizeof(T));

template <class T, int W> struct VectorOf { using type __attribute__((vector_size(W * sizeof(T)))) = T; };
template <class T> struct VectorOf<T, 1> { using type = T; };
template <class T, int W> using Vector = typename VectorOf<T, W>::type;

template <class V, class T> inline V load(const T* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class V, class T> inline void store(T* p, const V& v) { std::memcpy(p, &v, sizeof v); }

/// max(x, 0) in each lane, NaN being let through.
template <class V> [[gnu::always_inline]] inline V positive_part(const V& x) { return x <= V{} ? V{} : x; }

/// sum += a row, in each lane.
template <class V, class T> [[gnu::always_inline]] inline void add_product(V& sum, T a, const V& row) {
    sum += a * row;
}
#ifdef __AVX512BF16__
template <class V, class P> [[gnu::always_inline]] inline void add_product(V& sum, Bf16Pair a, const P& row) {
    const auto pair = std::bit_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a)));
    sum = std::bit_cast<V>(_mm512_dpbf16_ps(std::bit_cast<__m512>(sum), pair, std::bit_cast<__m512bh>(row)));
}
#endif

/// A strip of C, at most max_vectors vectors wide: C(i, j) = start(i, j) + sum over p < k of A(i, p) B(p, j).
/// A block of rows that begins at row i finds its part of A at a + i * a_block. There row follows row at a distance of
/// a_stride; or, where the rows of a column are contiguous, column follows column (0: by the height of the block).
template <class E> struct Strip {
    Index m, k;
    const E* a;
    Index a_block, a_stride;
    const E* b;
    Index b_row;
    const SumOf<E>* start;  // null: zeros
    Index start_row;
    SumOf<E>* c;
    Index ldc;
    Index last;  // where the last vector begins: it may overlap the one before it
    bool relu = false;
};

/// f(0), ..., f(N - 1), inlined: arrays indexed by these constants stay in registers.
template <int N, class F> [[gnu::always_inline]] inline void unroll(F&& f) {
    [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) { (f(I), ...); }
    (std::make_integer_sequence<int, N>{});
}

/// R rows of N vectors. Overlapped columns are computed twice, alike, and stored after all were read. A full block
/// fetches what it will write and the rows that come next where they were not packed, which beyond the second-level
/// cache makes it 4 to 12% faster.
template <class E, int W, int R, int N, bool Columns> inline void register_block(const Strip<E>& s, Index i) {
    using T = SumOf<E>;
    using V = Vector<T, W>;
    using Row = Vector<E, W>;
    const Index k = s.k, a_stride = Columns && s.a_stride == 0 ? R : s.a_stride, b_row = s.b_row, ldc = s.ldc;
    const Index last = s.last, a_row = Columns ? 1 : a_stride;
    const E* a = s.a + i * s.a_block;
    const E* b = s.b;
    T* c = s.c + i * ldc;
    V sum[R * N];
    const auto column = [last](int x) { return x % N == N - 1 ? last : Index{x % N} * W; };
    const auto each = [&](auto&& f) __attribute__((always_inline)) { unroll<R * N>(f); };
    if (s.start == nullptr) {
        each([&](int x) __attribute__((always_inline)) { sum[x] = V{}; });
    } else {
        const T* start = s.start + i * s.start_row;
        const Index row = s.start_row;
        each([&](int x) __attribute__((always_inline)) { sum[x] = load<V>(start + x / N * row + column(x)); });
    }
    constexpr bool prefetches = R == max_rows && N == max_vectors;
    if constexpr (prefetches)
        each([&](int x) __attribute__((always_inline)) { __builtin_prefetch(c + x / N * ldc + column(x), 1); });
    [[maybe_unused]] const E* const next = a + R * s.a_block;
#ifdef __clang__  // its unrolled loop spills
#pragma clang loop unroll(disable)
#endif
    for (Index p = 0; p < k; ++p) {
        if constexpr (prefetches && !Columns && std::is_same_v<E, T>) __builtin_prefetch(next + p % R * a_row + p);
        Row row[N];
        unroll<N>([&](int j) __attribute__((always_inline)) { row[j] = load<Row>(b + column(j)); });
        each([&](int x) __attribute__((always_inline)) { add_product(sum[x], a[x / N * a_row], row[x % N]); });
        a += Columns ? a_stride : 1;
        b += b_row;
    }
    if (s.relu) each([&](int x) __attribute__((always_inline)) { sum[x] = positive_part(sum[x]); });
    each([&](int x) __attribute__((always_inline)) { store(c + x / N * ldc + column(x), sum[x]); });
}

/// How many of `left` rows or vectors the next block takes: all that fit, but the last two blocks share evenly.
inline Index share(Index left, Index most) { return left <= most ? left : left < 2 * most ? (left + 1) / 2 : most; }

template <class E, int W, int N, bool Columns> void strip_rows(const Strip<E>& s) {
    for (Index i = 0; i < s.m;) {
        const Index rows = share(s.m - i, max_rows);
        [&]<int... R>(std::integer_sequence<int, R...>) __attribute__((always_inline)) {
            (void)((rows == max_rows - R && (register_block<E, W, max_rows - R, N, Columns>(s, i), true)) || ...);
        }
        (std::make_integer_sequence<int, max_rows>{});
        i += rows;
    }
}

/// All rows of a strip of so many vectors of W lanes. Narrower vectors than the native come in pairs, scalars alone.
template <class E, int W, bool Columns> inline void strip(const Strip<E>& s, Index vectors) {
    if constexpr (W == native_lanes<E>) {
        if (vectors == 3) return strip_rows<E, W, 3, Columns>(s);
        if (vectors == 1) return strip_rows<E, W, 1, Columns>(s);
    }
    strip_rows<E, W, W == 1 ? 1 : 2, Columns>(s);
}

/// Calls f(column, width, vectors) for each strip of n >= W columns; strips are of nearly equal width.
template <int W, class F> inline void for_strips(Index n, F&& f) {
    constexpr Index most = W == 1 ? 1 : max_vectors;
    Index vectors = (n + W - 1) / W;
    for (Index j = 0; j < n;) {
        const Index v = share(vectors, most), width = std::min(v * W, n - j);
        f(j, width, v);
        vectors -= v;
        j += width;
    }
}

template <class V, int... I> inline auto join(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, I...);
}

/// Lane group q (16 bytes) of the result is row q * group of what stands at p.
template <class T, int W, int Group> inline Vector<T, W> load_groups(const T* p, Index ld) {
    if constexpr (W == Group) {
        return load<Vector<T, W>>(p);
    } else {
        const auto low = load_groups<T, W / 2, Group>(p, ld), high = load_groups<T, W / 2, Group>(p + W / 2 * ld, ld);
        return join(low, high, std::make_integer_sequence<int, W>{});
    }
}

/// Element pairs of a and b by turns, within each lane group; Half 0 takes the lower elements of a group, 1 the upper.
template <int Half, int W, int Group, class V, int... I>
inline V interleave(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I / Group * Group + Half * Group / 2 + I % Group / 2 + I % 2 * W)...);
}

/// panel(p, j) = b(j, p) for W rows j of b and p < k: b is stored n x k.
template <class T, int W> inline void transpose_rows(const T* b, Index ldb, Index k, T* panel, Index panel_row) {
    constexpr int group = 16 / static_cast<int>(sizeof(T));
    Index p = 0;
    if constexpr (W >= group) {
        using V = Vector<T, W>;
        constexpr auto lanes = std::make_integer_sequence<int, W>{};
        for (; p + group <= k; p += group) {
            V x[group];
            for (int r = 0; r < group; ++r) x[r] = load_groups<T, W, group>(b + r * ldb + p, ldb);
            for (int stage = 1; stage < group; stage *= 2) {
                V y[group];
                for (int r = 0; r < group / 2; ++r) {
                    y[2 * r] = interleave<0, W, group>(x[r], x[r + group / 2], lanes);
                    y[2 * r + 1] = interleave<1, W, group>(x[r], x[r + group / 2], lanes);
                }
                std::copy_n(y, group, x);
            }
            for (int r = 0; r < group; ++r) store(panel + (p + r) * panel_row, x[r]);
        }
    }
    for (; p < k; ++p)
        for (int j = 0; j < W; ++j) panel[p * panel_row + j] = b[j * ldb + p];
}

}  // namespace xtape::kernels::detail
