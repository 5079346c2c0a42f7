#include <xtape/engine/scope.hpp>
#include <xtape/models/microgpt/microgpt.hpp>

#include <fmt/format.h>

namespace xtape::models {

void MicrogptConfig::check() const {
    const std::pair<const char*, int> sizes[] = {{"vocab", vocab}, {"dim", dim},     {"heads", heads},
                                                 {"ffn", ffn},     {"block", block}, {"layers", layers}};
    for (const auto& [name, size] : sizes) {
        if (size < 1) throw ValueError(fmt::format("microgpt: {} must be at least 1: it is {}", name, size));
        if (size > 1 << 20)
            throw ValueError(fmt::format("microgpt: {} must be at most {}: it is {}", name, 1 << 20, size));
    }
    if (dim % heads != 0)
        throw ValueError(fmt::format("microgpt: heads must divide dim: heads is {}, dim is {}", heads, dim));
}

Index parameter_count(const MicrogptConfig& c) {
    const Index layer = Index{4} * c.dim * c.dim + Index{2} * c.dim * c.ffn;
    return Index{c.vocab} * c.dim * 2 + Index{c.block} * c.dim + c.layers * layer;
}

template <class T>
Microgpt<T>::Layer::Layer(const MicrogptConfig& c, nn::Rng& rng)
    : wq(nn::normal<T>({c.dim, c.dim}, rng, c.init)),
      wk(nn::normal<T>({c.dim, c.dim}, rng, c.init)),
      wv(nn::normal<T>({c.dim, c.dim}, rng, c.init)),
      wo(nn::normal<T>({c.dim, c.dim}, rng, c.init)),
      w1(nn::normal<T>({c.dim, c.ffn}, rng, c.init)),
      w2(nn::normal<T>({c.ffn, c.dim}, rng, c.init)) {}

template <class T>
Microgpt<T>::Microgpt(const MicrogptConfig& config, nn::Rng& rng)
    : config_((config.check(), config)),
      wte_(nn::normal<T>({config.vocab, config.dim}, rng, config.init)),
      wpe_(nn::normal<T>({config.block, config.dim}, rng, config.init)),
      layers_([&] {
          std::vector<Layer> layers;
          for (int i = 0; i < config.layers; ++i) layers.emplace_back(config, rng);
          return layers;
      }()),
      wout_(nn::normal<T>({config.dim, config.vocab}, rng, config.init)) {}

template <class T>
template <class Attend>
Tensor<T> Microgpt<T>::forward(const Indices& tokens, const Indices& positions, Attend&& attend) const {
    const bool full = config_.norm == Config::Norm::full;
    const bool before_attention = config_.norm != Config::Norm::none;
    const auto act = [&](const Tensor<T>& h) { return config_.act == Config::Act::relu ? relu(h) : relu_squared(h); };

    Tensor<T> x = embedding(wte_, tokens) + embedding(wpe_, positions);
    if (full) x = rms_norm(x);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const Scope scope("layers", static_cast<int>(i));
        const Layer& layer = layers_[i];
        const Tensor<T> n = before_attention ? rms_norm(x) : x;
        const Tensor<T> a = attend(i, matmul(n, layer.wq), matmul(n, layer.wk), matmul(n, layer.wv));
        x = x + matmul(a, layer.wo);
        const Tensor<T> m = full ? rms_norm(x) : x;
        x = x + matmul(act(matmul(m, layer.w1)), layer.w2);
    }
    return matmul(x, wout_);
}

template <class T> Tensor<T> Microgpt<T>::operator()(const Batch& batch) const {
    const auto attend = [&](std::size_t, const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
        return causal_attention(q, k, v, batch.offsets, {.heads = config_.heads});
    };
    return forward(batch.tokens, batch.positions, attend);
}

template <class T> Tensor<T> Microgpt<T>::loss(const Batch& batch) const {
    return cross_entropy((*this)(batch), batch.targets);
}

template <class T> Tensor<T> Microgpt<T>::next(std::int32_t token, MicrogptCache<T>& cache) const {
    if (cache.positions >= config_.block)
        throw ValueError(
            fmt::format("microgpt: position {} is beyond the block of {}", cache.positions, config_.block));
    cache.layers.resize(layers_.size());
    const auto attend = [&](std::size_t i, const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
        auto& past = cache.layers[i];
        past.keys = past.keys ? concat({past.keys, k}, 0) : k;
        past.values = past.values ? concat({past.values, v}, 0) : v;
        return causal_attention(q, past.keys, past.values, {}, {.heads = config_.heads});
    };
    return forward(indices({token}), indices({cache.positions++}), attend);
}

template class Microgpt<float>;
template class Microgpt<double>;

}  // namespace xtape::models
