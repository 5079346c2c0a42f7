// The kernels by themselves: arithmetic per second where that is what counts, else time.

#include <xtape/engine/kernels/gemm.hpp>
#include <xtape/engine/tensor.hpp>
#include <xtape/nn/init.hpp>

#include <benchmark/benchmark.h>

namespace xtape::bench {
namespace {

template <class T> void gemm(benchmark::State& state) {
    const Index m = state.range(0), n = state.range(1), k = state.range(2);
    const bool transpose_b = state.range(3) != 0;
    nn::Rng rng(1);
    const Tensor<T> a = nn::normal<T>({m, k}, rng, 1), b = nn::normal<T>({k, n}, rng, 1);
    const Tensor<T> c = Tensor<T>::zeros({m, n});
    const kernels::Gemm shape{
        .transpose_b = transpose_b, .m = m, .n = n, .k = k, .lda = k, .ldb = transpose_b ? k : n, .ldc = n};
    for ([[maybe_unused]] auto _ : state) {
        kernels::gemm(shape, a.data(), b.data(), c.body()->data);
        benchmark::ClobberMemory();
    }
    state.counters["GFLOP/s"] =
        benchmark::Counter(2e-9 * static_cast<double>(m * n * k), benchmark::Counter::kIsIterationInvariantRate);
}

void sizes(benchmark::internal::Benchmark* bench) {
    bench->ArgNames({"m", "n", "k", "bT"});
    for (const Index transposed : {0, 1}) {
        for (const auto& [m, n, k] : {std::array<Index, 3>{8, 16, 16},
                                      {8, 64, 16},
                                      {104, 64, 16},
                                      {64, 64, 64},
                                      {256, 768, 288},
                                      {1024, 1024, 1024}})
            bench->Args({m, n, k, transposed});
    }
}

BENCHMARK(gemm<float>)->Apply(sizes);
BENCHMARK(gemm<double>)->Apply(sizes);

}  // namespace
}  // namespace xtape::bench

BENCHMARK_MAIN();
