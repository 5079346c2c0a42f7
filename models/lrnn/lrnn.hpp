#pragma once
// A linear recurrent network with token shift, data-dependent decay and slot memory, over windows in parallel
// (training) and token by token with a state of fixed size (generation). Forward only: the tape does the rest. Start
// reading at Lrnn::trunk, which both forms share.

#include <xtape/engine/ops.hpp>
#include <xtape/engine/parameter.hpp>
#include <xtape/models/lrnn/config.hpp>
#include <xtape/models/text/batch.hpp>
#include <xtape/nn/init.hpp>
#include <xtape/nn/layer_norm.hpp>

#include <vector>

namespace xtape::models {

/// What generation carries from token to token.
template <class T> struct LrnnState {
    struct Layer {
        Tensor<T> past;                    ///< [4, D]: the normalised inputs of the last four tokens, the newest first
        Tensor<T> numerator, denominator;  ///< [M, D]: N and E of each slot
        Tensor<T> last;                    ///< [1, D]: the last input of the channel mix
    };
    std::vector<Layer> layers;
};

template <class T> class Lrnn {
public:
    using Config = LrnnConfig;
    using Scalar = T;

    Lrnn(const LrnnConfig& config, nn::Rng& rng);

    /// Logits [N, V] of the next token at each of the N positions of a ragged batch.
    Tensor<T> operator()(const Batch& batch) const;
    /// The mean cross entropy over all positions, with the label smoothing of the configuration.
    Tensor<T> loss(const Batch& batch) const;

    /// The state before the first token: zeros.
    LrnnState<T> start() const;
    /// Logits [1, V] after one more token, in time and memory that do not grow. Throws ValueError for a state of
    /// another number of layers.
    Tensor<T> next(std::int32_t token, LrnnState<T>& state) const;

    const LrnnConfig& config() const { return config_; }

    void each_parameter(auto&& visit) {
        visit("emb", emb_);
        visit("ln0", ln0_);
        visit("layers", layers_);
        visit("ln_out", ln_out_);
        visit("head", head_);
    }

private:
    struct Layer {
        nn::LayerNorm<T> ln1, ln2;
        Parameter<T> time_shift_w1, time_shift_w2, time_shift_w4;
        Parameter<T> time_mix_r, time_mix_k, time_mix_v;
        Parameter<T> decay_lora_a, decay_lora_b, decay_base, time_first;
        Parameter<T> wr, wk, wv, wo;
        Parameter<T> channel_mix, ffn_gate, ffn_up, ffn_down;
        Parameter<T> mem_gate_write, mem_gate_read;

        Layer(const LrnnConfig& config, int layer, nn::Rng& rng);

        void each_parameter(auto&& visit) {
            visit("ln1", ln1);
            visit("ln2", ln2);
            visit("time_shift_w1", time_shift_w1);
            visit("time_shift_w2", time_shift_w2);
            visit("time_shift_w4", time_shift_w4);
            visit("time_mix_r", time_mix_r);
            visit("time_mix_k", time_mix_k);
            visit("time_mix_v", time_mix_v);
            visit("decay_lora_a", decay_lora_a);
            visit("decay_lora_b", decay_lora_b);
            visit("decay_base", decay_base);
            visit("time_first", time_first);
            visit("Wr", wr);
            visit("Wk", wk);
            visit("Wv", wv);
            visit("Wo", wo);
            visit("channel_mix", channel_mix);
            visit("ffn_gate", ffn_gate);
            visit("ffn_up", ffn_up);
            visit("ffn_down", ffn_down);
            visit("mem_gate_write", mem_gate_write);
            visit("mem_gate_read", mem_gate_read);
        }
    };

    /// From tokens to logits. For the inputs n of layer i's time mix `past.earlier(i, n, u)` gives u₁ ⊙ n_{t−1} +
    /// u₂ ⊙ n_{t−2} + u₄ ⊙ n_{t−4}, for those of its channel mix `past.previous(i, n, u)` gives u ⊙ n_{t−1}, and
    /// `past.read(i, ...)` gives what its memory holds.
    template <class Past> Tensor<T> trunk(const Indices& tokens, Past&& past) const;
    template <class Past> Tensor<T> time_mix(std::size_t i, const Tensor<T>& n, Past& past) const;
    template <class Past> Tensor<T> channel_mix(std::size_t i, const Tensor<T>& n, Past& past) const;

    LrnnConfig config_;
    Tensor<T> alibi_;  ///< [D]: the slowest decay of each channel's head
    Parameter<T> emb_;
    nn::LayerNorm<T> ln0_;
    std::vector<Layer> layers_;
    nn::LayerNorm<T> ln_out_;
    Parameter<T> head_;
};

}  // namespace xtape::models
