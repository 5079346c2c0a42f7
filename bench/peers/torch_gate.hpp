#pragma once

#include <memory>
#include <span>
#include <vector>

namespace peers {

/// `dim` is a multiple of `heads`.
struct TorchGateConfig {
    int vocab, dim, layers, heads, ffn, context;
    int threads = 2;
    double ln_epsilon = 1e-5;
};

/// Examples of both kinds: i is the tokens offsets[i] .. offsets[i + 1] - 1 and predicts next[i], or, where that is -1,
/// decides labels[i] (0 block, 1 allow). It counts weights[i] times.
struct TorchGateBatch {
    std::vector<int> tokens, offsets, next;
    std::vector<float> labels, weights;
};

/// The gate's training step in eager PyTorch (libtorch), f32: torch::optim::AdamW(0.9, 0.999, 1e-8) with a weight decay
/// of 0.01. A ragged batch is padded to its longest sequence.
class TorchGate {
public:
    /// Parameters row-major (out x in): token_embedding, position_embedding; for each layer ln1.weight, ln1.bias,
    /// attention.wq, bq, wk, bk, wv, bv, wo, bo, ln2.weight, ln2.bias, ffn.w1, b1, w2, b2; final_ln.weight,
    /// final_ln.bias, output.weight, output.bias, gate.weight, gate.bias.
    TorchGate(const TorchGateConfig& config, const std::vector<std::span<const float>>& parameters);
    ~TorchGate();
    TorchGate(TorchGate&&) noexcept;
    TorchGate& operator=(TorchGate&&) noexcept;

    /// One step. Returns the batch's loss, the weighted sum over its number of examples, before the update.
    /// PyTorch's number of threads is as before when it returns.
    float step(const TorchGateBatch& batch, double learning_rate);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace peers
