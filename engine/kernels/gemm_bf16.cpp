#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/kernels/parallel.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <exception>

#if defined(XTAPE_HAS_ONEDNN) && defined(_OPENMP) && defined(__x86_64__)
#include <dnnl.hpp>
#define XTAPE_HAS_BF16
#endif

namespace xtape::kernels {

bool worth_bf16(const Gemm& g) { return g.m >= 16 && g.n >= 16 && g.k >= 16 && g.m * g.n * g.k >= Index{1} << 18; }

Index bf16_scratch(const Gemm& g) { return (g.m * g.k + g.k * g.n + 1) / 2 + 16; }

#ifdef XTAPE_HAS_BF16

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

void gemm_bf16(const Gemm& g, const float* a, const float* b, float* c, const float* bias, float* scratch) {
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
        } catch (const std::exception&) {
            gemm(part, a_i, b_j, to, bias == nullptr ? nullptr : bias + j);
        }
    });
}

#else

bool has_bf16() { return false; }

void gemm_bf16(const Gemm& g, const float* a, const float* b, float* c, const float* bias, float*) {
    gemm(g, a, b, c, bias);
}

#endif

}  // namespace xtape::kernels
