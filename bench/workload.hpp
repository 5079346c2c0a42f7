#pragma once
// The training steps that the benchmarks time: microgpt on drawn names, by xtape.

#include <xtape/engine/tape.hpp>
#include <xtape/models/microgpt/microgpt.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/optim/adam.hpp>

#include <vector>

namespace xtape::bench {

/// Sequences of tokens, each framed by the end token.
using Names = std::vector<std::vector<std::int32_t>>;

/// Names of the given numbers of inputs, in random letters.
inline Names drawn_names(const std::vector<int>& lengths, std::uint64_t seed) {
    nn::Rng rng(seed);
    Names names;
    for (const int length : lengths) {
        std::vector<std::int32_t> name{0};
        for (int i = 1; i < length; ++i) name.push_back(1 + static_cast<std::int32_t>(rng.below(26)));
        name.push_back(0);
        names.push_back(std::move(name));
    }
    return names;
}

/// One name of 8 positions, and 16 names of 104 positions in all.
inline const std::vector<int> one_name{8};
inline const std::vector<int> sixteen_names{7, 6, 8, 5, 7, 9, 4, 6, 7, 8, 5, 6, 10, 7, 5, 4};

/// Names for step after step: a batch learned by heart would have gradients of next to nothing, and denormal numbers
/// in Adam, which no training has.
class Course {
public:
    explicit Course(const std::vector<int>& lengths) {
        for (std::uint64_t seed = 0; seed < 64; ++seed) batches.push_back(drawn_names(lengths, seed));
    }
    std::size_t next() { return step_++ % batches.size(); }

    std::vector<Names> batches;

private:
    std::size_t step_ = 0;
};

/// A microgpt in training; `step` is forward, backward and Adam.
class MicrogptTraining {
public:
    MicrogptTraining(int dim, const std::vector<int>& lengths)
        : model(nn::build<models::Microgpt<float>>(models::MicrogptConfig{.dim = dim, .ffn = 4 * dim}, 1)),
          adam(model, {.lr = 1e-3, .beta1 = 0.85, .beta2 = 0.99}),
          course(lengths) {
        for (const Names& names : course.batches) batches_.push_back(models::pack(names));
    }

    const models::Batch& next_batch() { return batches_[course.next()]; }
    float step() {
        Tape<float> tape;
        const Tensor<float> loss = model.loss(next_batch());
        tape.backward(loss);
        adam.step();
        return loss.item();
    }

    models::Microgpt<float> model;
    Adam<float> adam;
    Course course;

private:
    std::vector<models::Batch> batches_;
};

}  // namespace xtape::bench
