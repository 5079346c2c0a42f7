// The ratio table of the README: xtape's training steps against the same work in hand-written C and in PyTorch, in one
// run, the competitors taking turns, medians over the rounds.

#include <xtape/bench/race_gate.hpp>
#include <xtape/bench/race_llama.hpp>
#include <xtape/bench/race_lrnn.hpp>
#include <xtape/bench/race_microgpt.hpp>
#include <xtape/bench/race_scan.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/threads.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_tuned.hpp>
#endif

#include <span>
#include <string_view>

namespace xtape::bench {
namespace {

void use_threads(int threads) {
#ifdef XTAPE_HAS_TORCH
    peers::tune_torch(threads);
#endif
    set_threads(threads);
}

/// Recording and replaying an add of one element, beside the same loop on floats.
void race_overhead() {
    constexpr int adds = 1000;
    const Tensor<float> one = Tensor<float>::full({1}, 1);
    const Parameter<float> start(Tensor<float>::full({1}, 1));
    volatile float sink = 0;
    const auto recorded = [&] {
        Tape<float> tape;
        Tensor<float> sum = add(start, one);
        for (int i = 1; i < adds; ++i) sum = add(sum, one);
        tape.backward(sum);
    };
    const auto plain = [&] {
        for (int i = 0; i < adds; ++i) sink = sink + 1;
    };
    race(fmt::format("{} adds of 1 element, recorded and replayed", adds),
         {{"xtape", recorded, 10}, {"a loop on floats", plain, 10}}, 51);
}

/// What one training of microgpt holds: its own memory, and what it asks of the system in a steady state.
void print_memory() {
    const PoolStatistics before = pool_statistics();
    MicrogptTraining training(16, one_name);
    for (int i = 0; i < 10; ++i) training.step();
    const PoolStatistics warm = pool_statistics();
    reset_pool_peak();
    for (int i = 0; i < 1000; ++i) training.step();
    const PoolStatistics after = pool_statistics();
    fmt::print(
        "\nmicrogpt d16, batch 1, 8 tokens: {:.1f} KiB of pooled memory at the peak (parameters, gradients, Adam, "
        "tape, activations); {} allocations from the system in 1,000 steps\n",
        static_cast<double>(after.peak_bytes - before.bytes_in_use) / 1024,
        after.system_allocations - warm.system_allocations);
}

void race_all_microgpt() {
    use_threads(1);
    race_microgpt("microgpt d16, 1 name, 8 positions", 16, one_name, 500, 101);
    race_microgpt("microgpt d16, 16 names, 104 positions", 16, sixteen_names, 100, 51);
    race_microgpt("microgpt d64, 16 names, 104 positions", 64, sixteen_names, 20, 51);
    race_overhead();
    use_threads(2);
}

struct Part {
    std::string_view name;
    void (*run)();
};

/// Memory comes first: what the others have freed would serve it.
constexpr Part parts[]{
    {"memory", [] { print_memory(), print_llama_memory(), print_attention_memory(); }},
    {"microgpt", race_all_microgpt},
    {"llama", [] { race_llama(Precision::f32); }},
    {"llama-bf16", [] { race_llama(Precision::bf16); }},
    {"lrnn", race_lrnn},
    {"lrnn-course", print_lrnn_course},
    {"gate", race_gate},
    {"scan", print_scan_limits},
    {"inference", [] { print_lrnn_generation(), print_gate_predictions(); }},
};

/// The parts that are named, or all of them. Returns 2 for a name that is none.
int run_table(std::span<const char* const> names) {
    for (const std::string_view name : names) {
        if (std::ranges::find(parts, name, &Part::name) != std::end(parts)) continue;
        fmt::print(stderr, "bench_table: there is no part `{}`; there are", name);
        for (const Part& part : parts) fmt::print(stderr, " {}", part.name);
        fmt::print(stderr, "\n");
        return 2;
    }
    use_threads(2);
    for (const Part& part : parts) {
        if (part.run == race_all_microgpt)
            fmt::print("\n| training step | | µs | xtape / it |\n| --- | --- | ---: | ---: |\n");
        if (names.empty() || std::ranges::find(names, part.name) != names.end()) part.run();
    }
    return 0;
}

}  // namespace
}  // namespace xtape::bench

// usage: bench_table [PART...]
int main(int count, char** words) {
    if (microgpt_check() != 0) {
        fmt::print(stderr, "the hand-written C is wrong\n");
        return 1;
    }
    return xtape::bench::run_table({words + 1, static_cast<std::size_t>(count - 1)});
}
