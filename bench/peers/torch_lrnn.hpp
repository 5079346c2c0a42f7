#pragma once

#include <memory>
#include <span>
#include <vector>

namespace peers {

/// `dim` is a multiple of `heads`.
struct TorchLrnnConfig {
    int vocab, dim, layers, heads, rank, ffn, slots;
    int threads = 2;
};

/// Lrnn's training step in eager PyTorch (libtorch), f32: a loop over time for the slot states, all slots at once,
/// gradients clipped to a global norm of 5, torch::optim::Adam(0.9, 0.999, 1e-8).
class TorchLrnn {
public:
    /// Parameters row-major (in x out) in the order of lrnn.h.
    TorchLrnn(const TorchLrnnConfig& config, const std::vector<std::span<const float>>& parameters);
    ~TorchLrnn();
    TorchLrnn(TorchLrnn&&) noexcept;
    TorchLrnn& operator=(TorchLrnn&&) noexcept;

    /// One step on a window of 4 tokens or more; a target of -1 is none. Returns the mean loss before the update.
    /// PyTorch's number of threads is as before when it returns.
    float step(const int* inputs, const int* targets, int length, double learning_rate);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace peers
