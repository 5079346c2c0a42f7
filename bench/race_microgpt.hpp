#pragma once
// microgpt's training step: xtape, hand-written C, plain loops, PyTorch.

#include <xtape/bench/peers/microgpt.h>
#include <xtape/bench/race.hpp>
#include <xtape/bench/workload.hpp>
#include <xtape/tests/reference/microgpt.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_microgpt.hpp>
#endif

#include <cstdlib>
#include <new>
#include <numeric>

namespace xtape::bench {

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

inline void race_microgpt(const std::string& title, int dim, const std::vector<int>& lengths, int steps, int rounds) {
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

}  // namespace xtape::bench
