#pragma once
// A Llama-style transformer: rotary positions, grouped-query attention, RMS norms with weights, SwiGLU. Forward only:
// the tape does the rest.

#include <xtape/engine/ops.hpp>
#include <xtape/engine/parameter.hpp>
#include <xtape/models/text/batch.hpp>
#include <xtape/nn/init.hpp>

#include <optional>
#include <span>
#include <vector>

namespace xtape::models {

struct LlamaConfig {
    int vocab = 256;
    int dim = 128;
    int layers = 4;
    int heads = 4;
    int kv_heads = 0;  ///< 0: as many as heads
    int ffn = 0;       ///< 0: 8/3 of dim, up to a multiple of 32
    int context = 256;
    double rope_theta = 10000;
    double norm_eps = 1e-5;
    bool tied = false;  ///< the classifier is the token embedding
    RopeForm rope = RopeForm::interleaved;
    double init = 0.02;  ///< standard deviation of the initial values

    /// The same with kv_heads and ffn filled in. Throws ValueError for a size below 1, heads that do not divide dim,
    /// kv_heads that do not divide heads, or heads of odd width.
    LlamaConfig checked() const;
    int head_width() const { return dim / heads; }
};

/// The number of trainable elements of a checked configuration.
Index parameter_count(const LlamaConfig& config);

/// Keys and values of the positions so far, for generation.
template <class T> struct LlamaCache {
    struct Layer {
        Tensor<T> keys, values;  ///< [positions, kv_heads h]
    };
    std::vector<Layer> layers;
    int positions = 0;
};

template <class T> class Llama {
public:
    using Config = LlamaConfig;
    using Scalar = T;

    Llama(const LlamaConfig& config, nn::Rng& rng);

    /// Logits [N, V] of the next token at each of the N positions of a ragged batch.
    Tensor<T> operator()(const Batch& batch) const;
    /// The mean cross entropy over all positions, without the logits; the audit goes through them.
    Tensor<T> loss(const Batch& batch) const;
    /// Logits [1, V] after some more tokens of one sequence. Throws ValueError for none, or more than fit the context.
    Tensor<T> next(std::span<const std::int32_t> tokens, LlamaCache<T>& cache) const;

    const LlamaConfig& config() const { return config_; }

    void each_parameter(auto&& visit) {
        visit("token_embedding", token_embedding_);
        visit("layers", layers_);
        visit("final_norm", final_norm_);
        visit("classifier", classifier_);
    }

private:
    struct Layer {
        Parameter<T> attention_norm, wq, wk, wv, wo, ffn_norm, w1, w2, w3;

        Layer(const LlamaConfig& config, nn::Rng& rng);

        void each_parameter(auto&& visit) {
            visit("attention_norm", attention_norm);
            visit("wq", wq);
            visit("wk", wk);
            visit("wv", wv);
            visit("wo", wo);
            visit("ffn_norm", ffn_norm);
            visit("w1", w1);
            visit("w2", w2);
            visit("w3", w3);
        }
    };

    /// All but the classifier; `attend(layer, q, k, v)` says what the queries see.
    template <class Attend> Tensor<T> trunk(const Indices& tokens, const Indices& positions, Attend&& attend) const;
    Tensor<T> trunk(const Batch& batch) const;
    const Parameter<T>& classifier() const;
    AttentionOptions attention() const { return {.heads = config_.heads, .key_value_heads = config_.kv_heads}; }

    LlamaConfig config_;
    Parameter<T> token_embedding_;
    std::vector<Layer> layers_;
    Parameter<T> final_norm_;
    std::optional<Parameter<T>> classifier_;
};

}  // namespace xtape::models
