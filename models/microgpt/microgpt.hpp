#pragma once
// microgpt: a character GPT of 4,192 parameters that learns names. Forward only: the tape does the rest.

#include <xtape/engine/ops.hpp>
#include <xtape/engine/parameter.hpp>
#include <xtape/models/text/batch.hpp>
#include <xtape/nn/init.hpp>

#include <string>
#include <vector>

namespace xtape::models {

struct MicrogptConfig {
    enum class Norm {
        none,
        attention,
        full
    };  ///< no norm; before attention; also of the embeddings and before the FFN
    enum class Act { relu, relu_squared };

    int vocab = 27;
    int dim = 16;
    int heads = 4;
    int ffn = 64;
    int block = 16;  ///< the most positions
    int layers = 1;
    Norm norm = Norm::attention;
    Act act = Act::relu;
    double init = 0.1;  ///< standard deviation of the initial values

    /// Throws ValueError for a size below 1 or heads that do not divide dim.
    void check() const;
};

/// The number of trainable elements of a configuration.
Index parameter_count(const MicrogptConfig& config);

/// Keys and values of the positions so far, for generation.
template <class T> struct MicrogptCache {
    struct Layer {
        Tensor<T> keys, values;  ///< [positions, D]
    };
    std::vector<Layer> layers;
    int positions = 0;
};

template <class T> class Microgpt {
public:
    using Config = MicrogptConfig;
    using Scalar = T;

    Microgpt(const MicrogptConfig& config, nn::Rng& rng);

    /// Logits [N, V] of the next token at each of the N positions of a ragged batch.
    Tensor<T> operator()(const Batch& batch) const;
    /// The mean cross entropy over all positions.
    Tensor<T> loss(const Batch& batch) const;
    /// Logits [1, V] after one more token of one sequence. Throws ValueError when the cache holds `block` positions.
    Tensor<T> next(std::int32_t token, MicrogptCache<T>& cache) const;

    const MicrogptConfig& config() const { return config_; }

    void each_parameter(auto&& visit) {
        visit("wte", wte_);
        visit("wpe", wpe_);
        visit("layers", layers_);
        visit("wout", wout_);
    }

private:
    struct Layer {
        Parameter<T> wq, wk, wv, wo, w1, w2;

        Layer(const MicrogptConfig& config, nn::Rng& rng);

        void each_parameter(auto&& visit) {
            visit("wq", wq);
            visit("wk", wk);
            visit("wv", wv);
            visit("wo", wo);
            visit("w1", w1);
            visit("w2", w2);
        }
    };

    /// The forward pass; `attend(layer, q, k, v)` says what the queries see.
    template <class Attend> Tensor<T> forward(const Indices& tokens, const Indices& positions, Attend&& attend) const;

    MicrogptConfig config_;
    Parameter<T> wte_, wpe_;
    std::vector<Layer> layers_;
    Parameter<T> wout_;
};

}  // namespace xtape::models
