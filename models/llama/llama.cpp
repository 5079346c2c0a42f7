#include <xtape/engine/fuse.hpp>
#include <xtape/engine/scope.hpp>
#include <xtape/models/llama/llama.hpp>

#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace xtape::models {

namespace {

/// y = x Wᵀ.
template <class T> Tensor<T> project(const Tensor<T>& x, const Tensor<T>& weight) {
    return matmul(x, weight, {.transpose_b = true});
}

/// silu(gate) ⊙ up.
template <class T> Tensor<T> swiglu(const Tensor<T>& gate, const Tensor<T>& up) {
    return fuse([](auto g, auto u) { return g * sigmoid(g) * u; }, gate, up);
}

}  // namespace

LlamaConfig LlamaConfig::checked() const {
    LlamaConfig c = *this;
    if (c.kv_heads == 0) c.kv_heads = c.heads;
    if (c.ffn == 0) c.ffn = (c.dim * 8 / 3 + 31) / 32 * 32;
    struct Size {
        const char* name;
        int size, most;
    };
    for (const auto& [name, size, most] :
         {Size{"vocab", c.vocab, 1 << 24}, Size{"dim", c.dim, 1 << 17}, Size{"layers", c.layers, 1 << 12},
          Size{"heads", c.heads, 1 << 16}, Size{"kv_heads", c.kv_heads, 1 << 16}, Size{"ffn", c.ffn, 1 << 20},
          Size{"context", c.context, 1 << 24}}) {
        if (size < 1 || size > most)
            throw ValueError(fmt::format("llama: {} must be from 1 to {}: it is {}", name, most, size));
    }
    if (c.dim % c.heads != 0)
        throw ValueError(fmt::format("llama: heads must divide dim: heads is {}, dim is {}", c.heads, c.dim));
    if (c.heads % c.kv_heads != 0)
        throw ValueError(
            fmt::format("llama: kv_heads must divide heads: kv_heads is {}, heads is {}", c.kv_heads, c.heads));
    if (c.head_width() % 2 != 0)
        throw ValueError(
            fmt::format("llama: rotary positions turn pairs, so a head needs an even width: dim {} with "
                        "{} heads makes {}",
                        c.dim, c.heads, c.head_width()));
    if (!(c.rope_theta > 0 && std::isfinite(c.rope_theta)) || !(c.norm_eps > 0 && std::isfinite(c.norm_eps)))
        throw ValueError(fmt::format("llama: rope_theta and norm_eps must be above 0, and finite: they are {} and {}",
                                     c.rope_theta, c.norm_eps));
    return c;
}

Index parameter_count(const LlamaConfig& c) {
    const Index kv = Index{c.kv_heads} * c.head_width();
    const Index layer = Index{2} * c.dim * (c.dim + kv) + Index{3} * c.dim * c.ffn + Index{2} * c.dim;
    return Index{c.vocab} * c.dim * (c.tied ? 1 : 2) + c.layers * layer + c.dim;
}

template <class T>
Llama<T>::Layer::Layer(const LlamaConfig& c, nn::Rng& rng)
    : attention_norm(Tensor<T>::full({c.dim}, T(1))),
      wq(nn::normal<T>({c.dim, c.dim}, rng, c.init)),
      wk(nn::normal<T>({c.kv_heads * c.head_width(), c.dim}, rng, c.init)),
      wv(nn::normal<T>({c.kv_heads * c.head_width(), c.dim}, rng, c.init)),
      wo(nn::normal<T>({c.dim, c.dim}, rng, c.init / std::sqrt(2.0 * c.layers))),
      ffn_norm(Tensor<T>::full({c.dim}, T(1))),
      w1(nn::normal<T>({c.ffn, c.dim}, rng, c.init)),
      w2(nn::normal<T>({c.dim, c.ffn}, rng, c.init / std::sqrt(2.0 * c.layers))),
      w3(nn::normal<T>({c.ffn, c.dim}, rng, c.init)) {}

template <class T>
Llama<T>::Llama(const LlamaConfig& config, nn::Rng& rng)
    : config_(config.checked()),
      token_embedding_(nn::normal<T>({config_.vocab, config_.dim}, rng, config_.init)),
      layers_([&] {
          std::vector<Layer> layers;
          for (int i = 0; i < config_.layers; ++i) layers.emplace_back(config_, rng);
          return layers;
      }()),
      final_norm_(Tensor<T>::full({config_.dim}, T(1))) {
    if (!config_.tied) classifier_.emplace(nn::normal<T>({config_.vocab, config_.dim}, rng, config_.init));
}

template <class T>
template <class Attend>
Tensor<T> Llama<T>::trunk(const Indices& tokens, const Indices& positions, Attend&& attend) const {
    const auto turned = [&](const Tensor<T>& x, int heads) {
        return rope(x, positions, {.heads = heads, .theta = config_.rope_theta, .form = config_.rope});
    };
    Tensor<T> x = embedding(token_embedding_, tokens);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const Scope scope("layers", static_cast<int>(i));
        const Layer& layer = layers_[i];
        Tensor<T> n = rms_norm(x, layer.attention_norm, config_.norm_eps);
        const Tensor<T> q = turned(project(n, layer.wq), config_.heads);
        const Tensor<T> k = turned(project(n, layer.wk), config_.kv_heads);
        x = x + project(attend(i, q, k, project(n, layer.wv)), layer.wo);
        n = rms_norm(x, layer.ffn_norm, config_.norm_eps);
        x = x + project(swiglu(project(n, layer.w1), project(n, layer.w3)), layer.w2);
    }
    return rms_norm(x, final_norm_, config_.norm_eps);
}

template <class T> Tensor<T> Llama<T>::trunk(const Batch& batch) const {
    return trunk(batch.tokens, batch.positions,
                 [&](std::size_t, const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
                     return causal_attention(q, k, v, batch.offsets, attention());
                 });
}

template <class T> const Parameter<T>& Llama<T>::classifier() const {
    return classifier_ ? *classifier_ : token_embedding_;
}

template <class T> Tensor<T> Llama<T>::operator()(const Batch& batch) const {
    return project<T>(trunk(batch), classifier());
}

template <class T> Tensor<T> Llama<T>::loss(const Batch& batch) const {
    return linear_cross_entropy<T>(trunk(batch), classifier(), batch.targets);
}

template <class T> Tensor<T> Llama<T>::next(std::span<const std::int32_t> tokens, LlamaCache<T>& cache) const {
    const auto count = static_cast<int>(tokens.size());
    if (count == 0 || cache.positions + count > config_.context)
        throw ValueError(fmt::format("llama: {} tokens after {} do not fit a context of {}", count, cache.positions,
                                     config_.context));
    cache.layers.resize(layers_.size());
    const auto attend = [&](std::size_t i, const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
        auto& past = cache.layers[i];
        past.keys = past.keys ? concat({past.keys, k}, 0) : k;
        past.values = past.values ? concat({past.values, v}, 0) : v;
        return causal_attention(q, past.keys, past.values, {}, attention());
    };
    std::vector<std::int32_t> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), cache.positions);
    cache.positions += count;
    const Tensor<T> x = trunk(indices(tokens), indices(positions), attend);
    return project<T>(slice(x, 0, count - 1, count), classifier());
}

template class Llama<float>;
template class Llama<double>;

}  // namespace xtape::models
