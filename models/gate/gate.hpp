#pragma once
// The gate: a pre-LN transformer with biases that reads the tokens of a tool call and says allow or block. Forward
// only: the tape does the rest.

#include <xtape/models/gate/batch.hpp>
#include <xtape/nn/layer_norm.hpp>
#include <xtape/nn/linear.hpp>

#include <span>
#include <vector>

namespace xtape::models {

struct GateConfig {
    int vocab = 256;
    int dim = 128;
    int layers = 2;
    int heads = 4;
    int ffn = 512;
    int context = 128;
    double ln_eps = 1e-5;
    double init = 0.02;  ///< standard deviation of the initial weights

    /// Throws ValueError for a size below 1, heads that do not divide dim, or an ln_eps that is not above 0.
    void check() const;
};

/// The number of trainable elements.
Index parameter_count(const GateConfig& config);

/// What the two heads say.
template <class T> struct GateLogits {
    Tensor<T> next;   ///< [K, V], of the next-token examples; none where K = 0
    Tensor<T> allow;  ///< [M], of the decisions; none where M = 0
};

template <class T> class Gate {
public:
    using Config = GateConfig;
    using Scalar = T;

    Gate(const GateConfig& config, nn::Rng& rng);

    /// z outputᵀ + bias at the last position of each next-token example, and gate · mean(z) + bias of each decision,
    /// z being the trunk's output. Throws ValueError for an example longer than the context or an unknown token.
    GateLogits<T> operator()(const GateBatch& batch) const;
    /// (1/B) Σ w ℓ over the examples of both kinds: ℓ = −log softmax(logits)[next], or softplus(s) − y s at an allow
    /// logit s for a label clamped to y in [0, 1].
    Tensor<T> loss(const GateLogits<T>& logits, const GateBatch& batch) const;
    Tensor<T> loss(const GateBatch& batch) const { return loss((*this)(batch), batch); }

    /// The probability of allow of each decision of a batch, and of one call.
    std::vector<double> predict(const GateBatch& batch) const;
    double predict(std::span<const std::int32_t> tokens) const;

    const GateConfig& config() const { return config_; }

    void each_parameter(auto&& visit) {
        visit("token_embedding", token_embedding_);
        visit("position_embedding", position_embedding_);
        visit("layers", layers_);
        visit("final_ln", final_ln_);
        visit("output", output_);
        visit("gate", gate_);
    }

private:
    struct Attention {
        nn::Linear<T> q, k, v, o;
        int heads;

        Attention(const GateConfig& config, nn::Rng& rng);
        Tensor<T> operator()(const Tensor<T>& x, const Indices& offsets) const;

        void each_parameter(auto&& visit) {
            visit("wq", q.weight);
            visit("bq", q.bias);
            visit("wk", k.weight);
            visit("bk", k.bias);
            visit("wv", v.weight);
            visit("bv", v.bias);
            visit("wo", o.weight);
            visit("bo", o.bias);
        }
    };
    struct FeedForward {
        nn::Linear<T> up, down;

        FeedForward(const GateConfig& config, nn::Rng& rng);
        Tensor<T> operator()(const Tensor<T>& x) const;

        void each_parameter(auto&& visit) {
            visit("w1", up.weight);
            visit("b1", up.bias);
            visit("w2", down.weight);
            visit("b2", down.bias);
        }
    };
    struct Layer {
        nn::LayerNorm<T> ln1;
        Attention attention;
        nn::LayerNorm<T> ln2;
        FeedForward ffn;

        Layer(const GateConfig& config, nn::Rng& rng);

        void each_parameter(auto&& visit) {
            visit("ln1", ln1);
            visit("attention", attention);
            visit("ln2", ln2);
            visit("ffn", ffn);
        }
    };

    Tensor<T> trunk(const GateBatch& batch) const;

    GateConfig config_;
    Parameter<T> token_embedding_, position_embedding_;
    std::vector<Layer> layers_;
    nn::LayerNorm<T> final_ln_;
    nn::Linear<T> output_, gate_;
};

}  // namespace xtape::models
