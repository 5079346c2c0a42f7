#pragma once

#include <xtape/engine/kernels/gemm_small.hpp>

/// Gemm of any size on one thread, out of strips; what would be read with long strides is packed on the stack first.
namespace xtape::kernels::detail {

template <class T> inline constexpr Index panel_depth = 1024 / static_cast<Index>(sizeof(T));
inline constexpr Index panel_rows = 256;

/// What the sums begin with: element (i, j) at data[i * row + j]; null means zeros.
template <class T> struct Start {
    const T* data;
    Index row;
};

/// The relu of a C that was made by others.
template <class T> void clip(const Gemm& g, T* c) {
    for (Index i = 0; i < g.m; ++i)
        for (Index j = 0; j < g.n; ++j) c[i * g.ldc + j] = positive_part(c[i * g.ldc + j]);
}

template <class T, int W> inline constexpr int narrower = W * sizeof(T) > 16 ? W / 2 : 1;

template <class T, int W>
inline Strip<T> make_strip(const Gemm& g, const T* a, const T* b, T* c, Start<T> start, Index width) {
    return {.m = g.m,
            .k = g.k,
            .a = a,
            .a_block = g.transpose_a ? 1 : g.lda,
            .a_stride = g.lda,
            .b = b,
            .b_row = g.ldb,
            .start = start.data,
            .start_row = start.row,
            .c = c,
            .ldc = g.ldc,
            .last = width - W,
            .relu = g.relu};
}

/// C = start + op(A) B where nothing is packed, in vectors of W lanes or, when n < W, narrower ones.
template <class T, int W> void direct(const Gemm& g, const T* a, const T* b, T* c, Start<T> start) {
    if constexpr (W > 1)
        if (g.n < W) return direct<T, narrower<T, W>>(g, a, b, c, start);
    for_strips<W>(g.n, [&](Index j, Index width, Index vectors) {
        Strip<T> s = make_strip<T, W>(g, a, b + j, c + j, start, width);
        if (s.start != nullptr) s.start += j;
        g.transpose_a ? strip<T, W, true>(s, vectors) : strip<T, W, false>(s, vectors);
    });
}

/// panel(p, j) = B(p, j) for the columns of a strip; b is stored n x k when transposed.
template <class T, int W>
inline void pack_b(const T* b, bool transposed, Index ldb, Index k, Index width, T* panel, Index panel_row) {
    for (Index j = 0; j < width; j += W) {
        const Index at = std::min(j, width - W);
        if (transposed) {
            transpose_rows<T, W>(b + at * ldb, ldb, k, panel + at, panel_row);
        } else {
            for (Index p = 0; p < k; ++p) store(panel + p * panel_row + at, load<Vector<T, W>>(b + p * ldb + at));
        }
    }
}

/// One panel for each block of rows, panel(p, r) = A(i + r, p), from an A stored k x m.
template <class T> inline void pack_columns(const T* a, Index lda, Index m, Index k, T* panel) {
    for (Index i = 0, rows; i < m; i += rows, panel += rows * k) {
        rows = share(m - i, max_rows);
        for (Index p = 0; p < k; ++p)
            std::memcpy(panel + p * rows, a + p * lda + i, static_cast<std::size_t>(rows) * sizeof(T));
    }
}

/// C = start + op(A) op(B), m <= panel_rows when PackA.
template <class T, int W, bool PackA> void packed(const Gemm& g, const T* a, const T* b, T* c, Start<T> start) {
    if constexpr (W > 1)
        if (g.n < W) return packed<T, narrower<T, W>, PackA>(g, a, b, c, start);
    alignas(64) T a_panel[PackA ? panel_rows * panel_depth<T> : 1];
    alignas(64) T b_panel[panel_depth<T> * max_vectors * W];
    for (Index p = 0, depth; p < g.k; p += depth) {
        depth = share(g.k - p, panel_depth<T>);
        const T* const a_p = a + (g.transpose_a ? p * g.lda : p);
        if constexpr (PackA) pack_columns(a_p, g.lda, g.m, depth, a_panel);
        for_strips<W>(g.n, [&](Index j, Index width, Index vectors) {
            Strip<T> s = make_strip<T, W>(g, a_p, b_panel, c + j, start, width);
            if (s.start != nullptr) s.start += j;
            s.k = depth;
            s.relu = g.relu && p + depth == g.k;
            s.b_row = vectors * W;
            if (PackA) {
                s.a = a_panel;
                s.a_block = depth;
                s.a_stride = 0;
            }
            pack_b<T, W>(b + (g.transpose_b ? j * g.ldb + p : p * g.ldb + j), g.transpose_b, g.ldb, depth, width,
                         b_panel, s.b_row);
            PackA || g.transpose_a ? strip<T, W, true>(s, vectors) : strip<T, W, false>(s, vectors);
        });
        start = {c, g.ldc};
    }
}

}  // namespace xtape::kernels::detail
