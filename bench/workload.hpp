#pragma once
// The training steps that the benchmarks time: microgpt on drawn names, by xtape.

#include <xtape/engine/tape.hpp>
#include <xtape/models/microgpt/microgpt.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/optim/adam.hpp>

#include <vector>

namespace xtape::bench {

/// Sequences of letters framed by the end token, of the given numbers of inputs.
inline std::vector<std::vector<std::int32_t>> drawn_names(const std::vector<int>& lengths, std::uint64_t seed) {
    nn::Rng rng(seed);
    std::vector<std::vector<std::int32_t>> names;
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

/// A microgpt in training; `step` is forward, backward and Adam.
class MicrogptTraining {
public:
    MicrogptTraining(int dim, const std::vector<int>& lengths)
        : names(drawn_names(lengths, 7)),
          model(nn::build<models::Microgpt<float>>(models::MicrogptConfig{.dim = dim, .ffn = 4 * dim}, 1)),
          adam(model, {.lr = 1e-3, .beta1 = 0.85, .beta2 = 0.99}),
          batch_(models::pack(names)) {}

    float step() {
        Tape<float> tape;
        const Tensor<float> loss = model.loss(batch_);
        tape.backward(loss);
        adam.step();
        return loss.item();
    }

    std::vector<std::vector<std::int32_t>> names;
    models::Microgpt<float> model;
    Adam<float> adam;

private:
    models::Batch batch_;
};

}  // namespace xtape::bench
