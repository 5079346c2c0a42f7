#include <xtape/engine/kernels/gemm.hpp>

#include <cmath>
#include <type_traits>

#include <xtape/engine/kernels/gemm_blocked.hpp>
#include <xtape/engine/kernels/parallel.hpp>

#if defined(XTAPE_HAS_ONEDNN) && defined(_OPENMP) && defined(__x86_64__)
#include <dnnl.h>
#endif

namespace xtape::kernels {

namespace {

using namespace detail;

inline Index ceil_div(Index n, Index by) { return (n + by - 1) / by; }
inline Index round_up(Index n, Index to) { return ceil_div(n, to) * to; }

/// Equal tiles of C, two or more, halved along the longer side; their number grows as the cube root of the work.
struct Grid {
    Index rows, columns;

    Grid(const Gemm& g, double flops) : rows(g.m), columns(g.n) {
        const double wanted = std::max(2.0, std::cbrt(flops / 1e7));
        while (static_cast<double>(ceil_div(g.m, rows) * ceil_div(g.n, columns)) < wanted &&
               std::max(rows, columns) > 64)
            rows >= columns ? rows = round_up(ceil_div(rows, 2), 8) : columns = round_up(ceil_div(columns, 2), 16);
    }
};

template <class T> void fill(Index m, Index n, const T* bias, T* c, Index ldc) {
    for (Index i = 0; i < m; ++i)
        bias != nullptr ? std::copy_n(bias, n, c + i * ldc) : std::fill_n(c + i * ldc, n, T{});
}

/// Whether the operands fit the second-level cache: then they are read where they stand.
template <class T> bool fits(const Gemm& g) {
    return g.k * (g.m + g.n) * static_cast<Index>(sizeof(T)) <= Index{1} << 20;
}

template <class T> void own(const Gemm& g, const T* a, const T* b, T* c, Start<T> start) {
    constexpr int W = native_lanes<T>;
    constexpr Index few_rows = 32;  // for which a copy of B does not pay
    if (!g.transpose_b && (fits<T>(g) || g.m <= few_rows)) return direct<T, W>(g, a, b, c, start);
    if (!g.transpose_a || fits<T>(g)) return packed<T, W, false>(g, a, b, c, start);
    Gemm part = g;
    const Index rows = round_up(ceil_div(g.m, ceil_div(g.m, panel_rows)), max_rows);
    for (Index i = 0; i < g.m; i += rows) {
        part.m = std::min(rows, g.m - i);
        packed<T, W, true>(part, a + i, b, c + i * g.ldc, start);
        if (start.data != nullptr) start.data += rows * start.row;
    }
}

#if defined(XTAPE_HAS_ONEDNN) && defined(_OPENMP) && defined(__x86_64__)
/// False when oneDNN has no memory for its buffers; C is then as before.
bool onednn(const Gemm& g, const float* a, const float* b, float* c, Start<float> start) {
    const OneThread guard;
    if (start.data != nullptr && start.data != c) fill(g.m, g.n, start.data, c, g.ldc);
    const bool done = dnnl_sgemm(g.transpose_a ? 'T' : 'N', g.transpose_b ? 'T' : 'N', g.m, g.n, g.k, 1, a, g.lda, b,
                                 g.ldb, start.data != nullptr ? 1 : 0, c, g.ldc) == dnnl_success;
    if (done && g.relu) clip(g, c);
    return done;
}
#else
bool onednn(const Gemm&, const float*, const float*, float*, Start<float>) { return false; }
#endif

/// Whether oneDNN is faster. Measured on a Zen 4 with AVX-512, where one core reaches 117 GFLOP/s: as long as the
/// operands fit the cache, or B is transposed, our kernel is up to 10% ahead; beyond, oneDNN is, by as much.
bool onednn_wins(const Gemm& g) { return vector_bytes < 64 || !(g.transpose_b || fits<float>(g)); }

template <class T> void tiled(const Gemm& g, const T* a, const T* b, T* c, Start<T> start, double flops) {
    const Grid grid(g, flops);
    const Index down = ceil_div(g.m, grid.rows), across = ceil_div(g.n, grid.columns);
    parallel_for(down * across, 1, true, [&](Index t, Index) {
        const Index i = t % down * grid.rows, j = t / down * grid.columns;
        Gemm part = g;
        part.m = std::min(grid.rows, g.m - i);
        part.n = std::min(grid.columns, g.n - j);
        const T* a_i = a + i * (g.transpose_a ? 1 : g.lda);
        const T* b_j = b + j * (g.transpose_b ? g.ldb : 1);
        T* c_ij = c + i * g.ldc + j;
        Start<T> from = start;
        if (from.data != nullptr) from.data += i * from.row + j;
        if constexpr (std::is_same_v<T, float>)
            if (onednn_wins(g) && onednn(part, a_i, b_j, c_ij, from)) return;
        own(part, a_i, b_j, c_ij, from);
    });
}

}  // namespace

template <class T> void gemm(const Gemm& g, const T* a, const T* b, T* c, const T* bias) {
    if (g.m == 0 || g.n == 0) return;
    if (g.k == 0) {
        if (!g.accumulate) fill(g.m, g.n, bias, c, g.ldc);
        if (g.relu) clip(g, c);
        return;
    }
    const Start<T> start{g.accumulate ? c : bias, g.accumulate ? g.ldc : 0};
    const double flops = 2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
    worth_threads(flops) ? tiled(g, a, b, c, start, flops) : own(g, a, b, c, start);
}

template void gemm<float>(const Gemm&, const float*, const float*, float*, const float*);
template void gemm<double>(const Gemm&, const double*, const double*, double*, const double*);

}  // namespace xtape::kernels
