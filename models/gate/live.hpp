#pragma once
// A gate that learns on a copy while its old weights serve.

#include <xtape/models/gate/gate.hpp>
#include <xtape/models/gate/metrics.hpp>
#include <xtape/optim/adam.hpp>

#include <memory>
#include <mutex>

namespace xtape::models {

/// Predictions come from the weights that serve, in any number of threads; one thread at a time learns, on a copy of
/// them, and puts the copy in their place. A prediction waits for neither: the two share a pointer, and nothing else.
class LiveGate {
public:
    explicit LiveGate(const Gate<float>& gate, const AdamWOptions& options = {.lr = 3e-4});

    /// The gate that serves now; it stays as it is for as long as it is held.
    std::shared_ptr<const Gate<float>> serving() const;
    /// The probability of allow, by the gate that serves now.
    double predict(std::span<const std::int32_t> tokens) const { return serving()->predict(tokens); }

    /// One step of AdamW on the copy, by the mean gradient of some batches; gives their mean loss. Throws ValueError
    /// for no batches, or a loss that is not finite, with the copy unchanged.
    double learn(std::span<const GateBatch> batches);
    /// From here on the copy, as it is now, serves.
    void publish();

    /// Of the steps so far.
    const LossHistory& losses() const { return losses_; }
    /// The copy and the state of AdamW, to be saved and filled as those of an optimizer are.
    nn::Arrays state();

private:
    Gate<float> learner_;
    AdamW<float> adamw_;
    LossHistory losses_;
    mutable std::mutex mutex_;  ///< held while the pointer is copied or exchanged
    std::shared_ptr<const Gate<float>> serving_;
};

}  // namespace xtape::models
