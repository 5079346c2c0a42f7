#pragma once

#include <memory>
#include <vector>

namespace peers {

/// Microgpt's training step in eager PyTorch (libtorch), f32, one thread: one layer, 4 heads, one rms norm (before
/// attention), relu, torch::optim::Adam(0.85, 0.99, 1e-8). A ragged batch is padded to its longest sequence.
class TorchMicrogpt {
public:
    /// Parameters row-major (in x out): wte [27,D], wpe [16,D], wq wk wv wo [D,D], w1 [D,4D], w2 [4D,D], wout [D,27].
    TorchMicrogpt(int dim, const float* const parameters[9]);
    ~TorchMicrogpt();
    TorchMicrogpt(TorchMicrogpt&&) noexcept;
    TorchMicrogpt& operator=(TorchMicrogpt&&) noexcept;

    /// One training step; sequence s is positions offsets[s] .. offsets[s + 1] - 1. Returns the mean loss before the
    /// update. The process's number of threads is as before when it returns.
    float step(const int* inputs, const int* targets, const int* offsets, int sequences, double learning_rate);

    /// Tensor `index` (0 to 8, in the order above) as it is now.
    std::vector<float> parameter(int index) const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace peers
