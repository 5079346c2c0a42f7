// The ratio table of the README: xtape's training steps against the same work in hand-written C and in PyTorch, in one
// run, the competitors taking turns, medians over the rounds.

#include <xtape/bench/peers/microgpt.h>
#include <xtape/bench/workload.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/tests/reference/microgpt.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_microgpt.hpp>
#endif

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <new>
#include <numeric>
#include <string>

#include <fmt/format.h>

namespace xtape::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Competitor {
    std::string name;
    std::function<void()> step;
    int steps_a_turn;
    std::vector<double> microseconds{};

    void turn() {
        const auto start = Clock::now();
        for (int i = 0; i < steps_a_turn; ++i) step();
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        microseconds.push_back(seconds * 1e6 / steps_a_turn);
    }
    double median() const {
        std::vector<double> sorted = microseconds;
        std::ranges::nth_element(sorted, sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2));
        return sorted[sorted.size() / 2];
    }
};

/// Lets the competitors take turns; the first is xtape, and the others are its yardsticks.
void race(const std::string& title, std::vector<Competitor> competitors, int rounds) {
    for (Competitor& competitor : competitors) competitor.turn();
    for (Competitor& competitor : competitors) competitor.microseconds.clear();
    for (int round = 0; round < rounds; ++round) {
        for (Competitor& competitor : competitors) competitor.turn();
    }
    const double own = competitors.front().median();
    for (const Competitor& competitor : competitors)
        fmt::print("| {} | {} | {:.2f} | {:.3f} |\n", title, competitor.name, competitor.median(),
                   own / competitor.median());
}

/// Memory for the C step, freed at the end.
struct Block {
    void* memory;

    explicit Block(std::size_t bytes) : memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {
        if (memory == nullptr) throw std::bad_alloc();
    }
    ~Block() { std::free(memory); }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
};

/// A packed batch as plain ints.
struct PlainBatch {
    std::vector<int> inputs, targets, offsets{0};

    explicit PlainBatch(const Names& names) {
        for (const auto& name : names) {
            inputs.insert(inputs.end(), name.begin(), name.end() - 1);
            targets.insert(targets.end(), name.begin() + 1, name.end());
            offsets.push_back(static_cast<int>(inputs.size()));
        }
    }
    int sequences() const { return static_cast<int>(offsets.size()) - 1; }
};

/// The same course of names for those who take plain ints.
class PlainCourse {
public:
    explicit PlainCourse(const std::vector<int>& lengths) : course_(lengths) {
        for (const Names& names : course_.batches) batches_.emplace_back(names);
    }
    const PlainBatch& next() { return batches_[course_.next()]; }

private:
    Course course_;
    std::vector<PlainBatch> batches_;
};

void race_microgpt(const std::string& title, int dim, const std::vector<int>& lengths, int steps, int rounds) {
    MicrogptTraining training(dim, lengths);
    std::vector<const float*> weights;
    reference::MicrogptConfig config{.dim = dim, .ffn = 4 * dim};
    reference::Arrays<float> parameters = reference::microgpt_parameters<float>(config);
    std::size_t next = 0;
    for (const auto& [name, parameter] : nn::parameters(training.model)) {
        weights.push_back(parameter->data());
        parameters[next++].values.assign(parameter->values().begin(), parameter->values().end());
    }
    const MicrogptConfig size{dim, std::accumulate(lengths.begin(), lengths.end(), 0)};
    const Block block(microgpt_size(size));
    Microgpt* c = microgpt_init(block.memory, size, weights.data());
    reference::Adam<float> adam;
    PlainCourse c_course(lengths), plain_course(lengths);

    std::vector<Competitor> competitors;
    competitors.push_back({"xtape", [&] { training.step(); }, steps});
    competitors.push_back({"hand-written C",
                           [&] {
                               const PlainBatch& b = c_course.next();
                               microgpt_step(c, b.inputs.data(), b.targets.data(), b.offsets.data(), b.sequences(),
                                             1e-3f);
                           },
                           steps});
    competitors.push_back(
        {"plain loops (tests/reference)",
         [&] {
             const PlainBatch& b = plain_course.next();
             const auto run = reference::microgpt_run<float>(config, parameters, {b.inputs, b.targets, b.offsets});
             adam.step(parameters, run.gradients, 1e-3);
         },
         std::max(1, steps / 20)});
#ifdef XTAPE_HAS_TORCH
    peers::TorchMicrogpt torch(dim, weights.data());
    PlainCourse torch_course(lengths);
    competitors.push_back({"PyTorch eager",
                           [&] {
                               const PlainBatch& b = torch_course.next();
                               torch.step(b.inputs.data(), b.targets.data(), b.offsets.data(), b.sequences(), 1e-3);
                           },
                           std::max(1, steps / 50)});
#endif
    race(title, std::move(competitors), rounds);
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
    fmt::print("\n| training step, f32, 1 thread | | µs | xtape / it |\n| --- | --- | ---: | ---: |\n");
    race_microgpt("microgpt d16, 1 name, 8 positions", 16, one_name, 500, 101);
    race_microgpt("microgpt d16, 16 names, 104 positions", 16, sixteen_names, 100, 51);
    race_microgpt("microgpt d64, 16 names, 104 positions", 64, sixteen_names, 20, 51);
    race_overhead();
}
