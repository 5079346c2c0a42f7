#include <xtape/engine/tape.hpp>
#include <xtape/models/gate/live.hpp>

#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xtape::models {

LiveGate::LiveGate(const Gate<float>& gate, const AdamWOptions& options)
    : learner_(gate), adamw_(learner_, options), serving_(std::make_shared<const Gate<float>>(gate)) {}

std::shared_ptr<const Gate<float>> LiveGate::serving() const {
    const std::lock_guard lock(mutex_);
    return serving_;
}

double LiveGate::learn(std::span<const GateBatch> batches) {
    if (batches.empty()) throw ValueError("gate: nothing to learn from: there are no batches");
    const double share = 1 / static_cast<double>(batches.size());
    double total = 0;
    for (const GateBatch& batch : batches) {
        Tape<float> tape;
        const Tensor<float> loss = learner_.loss(batch);
        total += share * static_cast<double>(loss.item());
        if (!std::isfinite(total)) {
            adamw_.zero_grad();
            throw ValueError(fmt::format("gate: the loss is {}; nothing is learned", loss.item()));
        }
        tape.backward(loss, Tensor<float>::full({}, static_cast<float>(share)));
    }
    adamw_.step();
    losses_.add(total);
    return total;
}

void LiveGate::publish() {
    std::shared_ptr<const Gate<float>> next = std::make_shared<const Gate<float>>(learner_);
    const std::lock_guard lock(mutex_);
    serving_.swap(next);
}

nn::Arrays LiveGate::state() {
    nn::Arrays arrays = adamw_.state();
    for (const auto& [name, parameter] : nn::parameters(learner_))
        arrays.push_back({"model." + name, parameter->shape(), parameter->write()});
    return arrays;
}

}  // namespace xtape::models
