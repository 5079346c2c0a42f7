// The ratio table of the README: xtape's training steps against the same work in hand-written C and in PyTorch, in one
// run, the competitors taking turns, medians over the rounds.

#include <xtape/bench/race_gate.hpp>
#include <xtape/bench/race_llama.hpp>
#include <xtape/bench/race_lrnn.hpp>
#include <xtape/bench/race_microgpt.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/threads.hpp>

namespace xtape::bench {
namespace {

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

}  // namespace
}  // namespace xtape::bench

int main() {
    using namespace xtape::bench;
    xtape::set_threads(1);
    if (microgpt_check() != 0) {
        fmt::print(stderr, "the hand-written C is wrong\n");
        return 1;
    }
    print_memory();
    fmt::print("\n| training step | | µs | xtape / it |\n| --- | --- | ---: | ---: |\n");
    race_microgpt("microgpt d16, 1 name, 8 positions", 16, one_name, 500, 101);
    race_microgpt("microgpt d16, 16 names, 104 positions", 16, sixteen_names, 100, 51);
    race_microgpt("microgpt d64, 16 names, 104 positions", 64, sixteen_names, 20, 51);
    race_overhead();
    xtape::set_threads(2);
    race_llama(xtape::Precision::f32);
    race_llama(xtape::Precision::bf16);
    race_lrnn();
    race_gate();
    print_attention_memory();
    print_lrnn_generation();
    print_gate_predictions();
}
