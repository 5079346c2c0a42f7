// The microgpt training step: all of it, and its parts.

#include <xtape/bench/workload.hpp>
#include <xtape/engine/threads.hpp>

#include <benchmark/benchmark.h>

namespace xtape::bench {
namespace {

const std::vector<int>& lengths(const benchmark::State& state) {
    return state.range(1) == 0 ? one_name : sixteen_names;
}

void step(benchmark::State& state) {
    MicrogptTraining training(static_cast<int>(state.range(0)), lengths(state));
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(training.step());
}

void forward(benchmark::State& state) {
    MicrogptTraining training(static_cast<int>(state.range(0)), lengths(state));
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(training.model.loss(training.next_batch()).item());
}

void forward_backward(benchmark::State& state) {
    MicrogptTraining training(static_cast<int>(state.range(0)), lengths(state));
    for ([[maybe_unused]] auto _ : state) {
        Tape<float> tape;
        tape.backward(training.model.loss(training.next_batch()));
        training.adam.zero_grad();
    }
}

void next_token(benchmark::State& state) {
    const MicrogptTraining training(static_cast<int>(state.range(0)), one_name);
    for ([[maybe_unused]] auto _ : state) {
        models::MicrogptCache<float> cache;
        for (std::int32_t token = 0; token < 8; ++token)
            benchmark::DoNotOptimize(training.model.next(token, cache).data());
    }
    state.SetItemsProcessed(state.iterations() * 8);
}

void sizes(benchmark::internal::Benchmark* bench) {
    bench->ArgNames({"dim", "packed"})->ArgsProduct({{16, 64}, {0, 1}});
}

BENCHMARK(step)->Apply(sizes);
BENCHMARK(forward)->Apply(sizes);
BENCHMARK(forward_backward)->Apply(sizes);
BENCHMARK(next_token)->ArgName("dim")->Arg(16)->Arg(64);

}  // namespace
}  // namespace xtape::bench

int main(int argc, char** argv) {
    xtape::set_threads(1);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
