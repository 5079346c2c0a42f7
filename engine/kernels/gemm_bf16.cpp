#include <xtape/engine/kernels/bf16.hpp>
#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/kernels/gemm_blocked.hpp>
#include <xtape/engine/kernels/parallel.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <exception>

#if !defined(XTAPE_OWN_BF16) && defined(XTAPE_HAS_ONEDNN) && defined(_OPENMP) && defined(__x86_64__)
#include <dnnl.hpp>
#define XTAPE_LIBRARY_BF16
#endif

namespace xtape::kernels {

bool worth_bf16(const Gemm& g) {
    const Index least = has_bf16_for_tiles() ? Index{1} << 15 : Index{1} << 18;
    return g.m >= 16 && g.n >= 16 && g.k >= 16 && g.m * g.n * g.k >= least;
}

#if defined(XTAPE_OWN_BF16)

namespace {

using namespace detail;

constexpr int W = native_lanes<Bf16Pair>;
/// Rows, at most, and pairs along k of the part of A that is rounded together, while B's of that depth stays in the
/// second-level cache; and how many pairs of B are packed at a time.
constexpr Index tile_rows = 64, tile_depth = 256, pack_depth = 32;

Index depth_of(const Gemm& g) { return (g.k + 1) / 2; }

/// Row p of a matrix stored by rows, or null where it has no such row.
const float* row_of(const float* x, Index ld, Index p, Index rows) { return p < rows ? x + p * ld : nullptr; }

/// The rows [j, j + width) of a B that is stored transposed, as columns of a panel.
void pack_transposed(const Gemm& g, const float* b, Index j, Index width, Bf16Pair* panel, Index panel_row) {
    constexpr Index most = 512, row = most + W;  // of which no two begin in the same set of a cache
    alignas(64) Bf16Pair rows[W * row];
    for (Index p = 0, pairs; p < depth_of(g); p += pairs) {
        pairs = share(depth_of(g) - p, most);
        for (Index r = 0; r < width; r += W) {
            const Index at = std::min(r, width - W);
            for (Index i = 0; i < W; ++i)
                pair_along(std::min(2 * pairs, g.k - 2 * p), b + (j + at + i) * g.ldb + 2 * p, rows + i * row);
            transpose_rows<Bf16Pair, W>(rows, row, pairs, panel + p * panel_row + at, panel_row);
        }
    }
}

/// op(B) in pairs along k, as strips one behind the other.
void pack_b(const Gemm& g, const float* b, Bf16Pair* panels) {
    const bool threaded = worth_threads(0, 6.0 * static_cast<double>(g.k * g.n));
    if (g.transpose_b) {
        const Index tasks = threaded ? 8 : 1;  // each of strips that follow each other
        return parallel_for(tasks, 1, threaded, [&](Index task, Index) {
            for_strips<W>(g.n, [&](Index j, Index width, Index vectors) {
                if (j * tasks / g.n == task) pack_transposed(g, b, j, width, panels + j * depth_of(g), vectors * W);
            });
        });
    }
    parallel_for(depth_of(g), pack_depth, threaded, [&](Index begin, Index end) {
        for (Index p = begin; p < end; ++p)
            for_strips<W>(g.n, [&](Index j, Index width, Index vectors) {
                pair_rows(width, b + 2 * p * g.ldb + j, row_of(b + j, g.ldb, 2 * p + 1, g.k),
                          panels + j * depth_of(g) + p * vectors * W);
            });
    });
}

/// A block of op(A), which begins at row i and the pair p, in pairs along k.
template <bool Columns>
void pack_a(const Gemm& g, const float* a, Index i, Index rows, Index p, Index depth, Bf16Pair* tile) {
    if constexpr (Columns)
        for (Index q = p; q < p + depth; ++q, tile += rows)
            pair_rows(rows, a + 2 * q * g.lda + i, row_of(a + i, g.lda, 2 * q + 1, g.k), tile);
    else
        for (Index r = i; r < i + rows; ++r, tile += depth)
            pair_along(std::min(2 * depth, g.k - 2 * p), a + r * g.lda + 2 * p, tile);
}

/// A part of a block of op(A), from begin / n of it to end / n, on its way into the second-level cache.
template <bool Columns>
void fetch_a(const Gemm& g, const float* a, Index i, Index rows, Index p, Index depth, Index begin, Index end,
             Index n) {
    const float* const block = a + (Columns ? 2 * p * g.lda + i : i * g.lda + 2 * p);
    const Index stored_rows = Columns ? 2 * depth : rows, columns = Columns ? rows : 2 * depth;
    for (Index r = stored_rows * begin / n; r < stored_rows * end / n; ++r)
        for (Index j = 0; j < columns; j += W) __builtin_prefetch(block + r * g.lda + j, 0, 2);
}

/// The rows [i, i + rows) of C, from B's panels. While one block of A is multiplied, the next is fetched: the memory
/// would else be idle, and then waited for.
template <bool Columns>
void multiply_rows(const Gemm& g, const float* a, const Bf16Pair* panels, Index i, Index rows, float* c,
                   Start<float> start) {
    alignas(64) Bf16Pair tile[tile_rows * tile_depth];
    for (Index p = 0, depth; p < depth_of(g); p += depth, start = {c, g.ldc}) {
        depth = share(depth_of(g) - p, tile_depth);
        pack_a<Columns>(g, a, i, rows, p, depth, tile);
        const bool last = p + depth == depth_of(g);
        const Index next_i = last ? i + rows : i, next_p = last ? 0 : p + depth;
        const Index next_depth = share(depth_of(g) - next_p, tile_depth);
        for_strips<W>(g.n, [&](Index j, Index width, Index vectors) {
            if (next_i + rows <= g.m) fetch_a<Columns>(g, a, next_i, rows, next_p, next_depth, j, j + width, g.n);
            strip<Bf16Pair, W, Columns>({.m = rows,
                                         .k = depth,
                                         .a = tile,
                                         .a_block = Columns ? 1 : depth,
                                         .a_stride = Columns ? rows : depth,
                                         .b = panels + j * depth_of(g) + p * vectors * W,
                                         .b_row = vectors * W,
                                         .start = start.data == nullptr ? nullptr : start.data + i * start.row + j,
                                         .start_row = start.row,
                                         .c = c + i * g.ldc + j,
                                         .ldc = g.ldc,
                                         .last = width - W,
                                         .relu = g.relu && last},
                                        vectors);
        });
    }
}

}  // namespace

bool has_bf16() { return true; }
bool has_bf16_for_tiles() { return true; }
Index bf16_scratch(const Gemm& g) { return depth_of(g) * (g.n + W); }

void gemm_bf16(const Gemm& g, const float* a, const float* b, float* c, const float* bias, std::uint32_t* scratch) {
    pack_b(g, b, scratch);
    const Start<float> start{g.accumulate ? c : bias, g.accumulate ? g.ldc : 0};
    const bool threaded = worth_threads(static_cast<double>(g.m * g.n * g.k));
    // 32 parts where they are of enough rows: no thread waits long for the last.
    const Index fair = std::clamp<Index>(g.m / 32 / max_rows * max_rows, 2 * max_rows, tile_rows);
    parallel_for(g.m, threaded ? fair : tile_rows, threaded, [&](Index begin, Index end) {
        g.transpose_a ? multiply_rows<true>(g, a, scratch, begin, end - begin, c, start)
                      : multiply_rows<false>(g, a, scratch, begin, end - begin, c, start);
    });
}

#elif defined(XTAPE_LIBRARY_BF16)

namespace {

using Bits = std::uint16_t;

/// To the nearest, ties to even; a NaN stays one.
Bits rounded(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return static_cast<Bits>((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : nearest);
}

/// Rows of a stored matrix, one behind the other.
void round_rows(Index rows, Index columns, const float* x, Index ld, Bits* y) {
    constexpr Index tile = 1 << 14;
    const Index rows_of_tile = std::max<Index>(1, tile / columns);
    const double bytes = 6.0 * static_cast<double>(rows * columns);
    parallel_for(rows, rows_of_tile, worth_threads(0, bytes), [=](Index begin, Index end) {
        for (Index i = begin; i < end; ++i)
            for (Index j = 0; j < columns; ++j) y[i * columns + j] = rounded(x[i * ld + j]);
    });
}

dnnl::engine& engine() {
    static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
}

/// A matrix of rows x columns as oneDNN sees it, stored transposed or not.
dnnl::memory::desc matrix(Index rows, Index columns, dnnl::memory::data_type type, bool transposed, Index ld) {
    return {{rows, columns}, type, transposed ? dnnl::memory::dims{1, ld} : dnnl::memory::dims{ld, 1}};
}

/// One tile of C on the calling thread.
void multiply(const Gemm& g, Bits* a, Index lda, Bits* b, Index ldb, float* c, bool add) {
    using Type = dnnl::memory::data_type;
    thread_local dnnl::stream stream(engine());
    const dnnl::memory::desc a_of = matrix(g.m, g.k, Type::bf16, g.transpose_a, lda);
    const dnnl::memory::desc b_of = matrix(g.k, g.n, Type::bf16, g.transpose_b, ldb);
    const dnnl::memory::desc c_of = matrix(g.m, g.n, Type::f32, false, g.ldc);
    dnnl::primitive_attr attributes;
    if (add) {
        dnnl::post_ops sum;
        sum.append_sum(1);
        attributes.set_post_ops(sum);
    }
    const dnnl::matmul product(dnnl::matmul::primitive_desc({a_of, b_of, c_of}, attributes, engine()));
    product.execute(stream, {{DNNL_ARG_SRC, {a_of, engine(), a}},
                             {DNNL_ARG_WEIGHTS, {b_of, engine(), b}},
                             {DNNL_ARG_DST, {c_of, engine(), c}}});
    stream.wait();
}

}  // namespace

bool has_bf16() { return static_cast<bool>(__builtin_cpu_supports("avx512bf16")); }
bool has_bf16_for_tiles() { return false; }
Index bf16_scratch(const Gemm& g) { return (g.m * g.k + g.k * g.n + 1) / 2 + 16; }

void gemm_bf16(const Gemm& g, const float* a, const float* b, float* c, const float* bias, std::uint32_t* scratch) {
    const Index a_columns = g.transpose_a ? g.m : g.k, b_columns = g.transpose_b ? g.k : g.n;
    auto* const a16 = reinterpret_cast<Bits*>(scratch);
    Bits* const b16 = a16 + g.m * g.k;
    round_rows(g.transpose_a ? g.k : g.m, a_columns, a, g.lda, a16);
    round_rows(g.transpose_b ? g.n : g.k, b_columns, b, g.ldb, b16);
    // Equal tiles, an even number of them, that leave room in the second-level cache for what oneDNN packs.
    constexpr Index columns = 1024;
    const Index across = (g.n + columns - 1) / columns;
    const Index wanted = (g.m + 255) / 256 + (g.m > 64 && (g.m + 255) / 256 * across % 2 == 1 ? 1 : 0);
    const Index rows = ((g.m + wanted - 1) / wanted + 15) / 16 * 16;
    const Index down = (g.m + rows - 1) / rows;
    const bool threaded = worth_threads(static_cast<double>(g.m * g.n * g.k));
    parallel_for(down * across, 1, threaded, [&](Index t, Index) {
        const Index i = t % down * rows, j = t / down * columns;
        Gemm part = g;
        part.m = std::min(rows, g.m - i);
        part.n = std::min(columns, g.n - j);
        float* const to = c + i * g.ldc + j;
        const float* const a_i = a + i * (g.transpose_a ? 1 : g.lda);
        const float* const b_j = b + j * (g.transpose_b ? g.ldb : 1);
        try {
            const OneThread guard;
            if (bias != nullptr)
                for (Index row = 0; row < part.m; ++row) std::copy_n(bias + j, part.n, to + row * g.ldc);
            multiply(part, a16 + i * (g.transpose_a ? 1 : a_columns), a_columns,
                     b16 + j * (g.transpose_b ? b_columns : 1), b_columns, to, g.accumulate || bias != nullptr);
            if (g.relu) detail::clip(part, to);
        } catch (const std::exception&) {
            gemm(part, a_i, b_j, to, bias == nullptr ? nullptr : bias + j);
        }
    });
}

#else

bool has_bf16() { return false; }
bool has_bf16_for_tiles() { return false; }
Index bf16_scratch(const Gemm&) { return 0; }

void gemm_bf16(const Gemm& g, const float* a, const float* b, float* c, const float* bias, std::uint32_t*) {
    gemm(g, a, b, c, bias);
}

#endif

}  // namespace xtape::kernels
