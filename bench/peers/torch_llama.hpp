#pragma once

#include <memory>
#include <span>
#include <vector>

namespace peers {

/// `heads` is a multiple of `kv_heads`, `dim` an even multiple of `heads`.
struct TorchLlamaConfig {
    int vocab, dim, layers, heads, kv_heads, ffn, context;
    bool bf16 = false;  ///< the forward pass under autocast to bfloat16
    int threads = 2;
    double rope_theta = 10000, norm_epsilon = 1e-5;
};

/// Llama's training step in eager PyTorch (libtorch): interleaved rope, gradients clipped to a global norm of 1,
/// torch::optim::AdamW(0.9, 0.999, 1e-8) with a weight decay of 0.01.
class TorchLlama {
public:
    /// Parameters row-major (out x in): token_embedding; for each layer attention_norm, wq, wk, wv, wo, ffn_norm, w1,
    /// w2, w3; final_norm; classifier.
    TorchLlama(const TorchLlamaConfig& config, const std::vector<std::span<const float>>& parameters);
    ~TorchLlama();
    TorchLlama(TorchLlama&&) noexcept;
    TorchLlama& operator=(TorchLlama&&) noexcept;

    /// One step on `sequences` sequences of `length` tokens each, one after another; a target of -1 is none.
    /// Returns the mean loss before the update. PyTorch's number of threads is as before when it returns.
    float step(const int* tokens, const int* targets, int sequences, int length, double learning_rate);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace peers
