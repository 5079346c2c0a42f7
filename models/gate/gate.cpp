#include <xtape/engine/scope.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/models/gate/gate.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xtape::models {

namespace {

/// y = x Wᵀ + b.
template <class T> nn::Linear<T> affine(int in, int out, nn::Rng& rng, double stddev) {
    return nn::Linear<T>(in, out, rng, {.out_in = true, .stddev = stddev});
}

/// Of what is added to the residual stream, once by each of 2 × layers.
double residual_init(const GateConfig& c) { return c.init / std::sqrt(2.0 * c.layers); }

template <class T> Tensor<T> row(const std::vector<double>& values) {
    return Tensor<T>(Shape{static_cast<Index>(values.size())}, std::vector<T>(values.begin(), values.end()));
}

}  // namespace

void GateConfig::check() const {
    struct Size {
        const char* name;
        int size, most;
    };
    for (const auto& [name, size, most] :
         {Size{"vocab", vocab, 1 << 24}, Size{"dim", dim, 1 << 17}, Size{"layers", layers, 1 << 12},
          Size{"heads", heads, 1 << 17}, Size{"ffn", ffn, 1 << 20}, Size{"context", context, 1 << 24}}) {
        if (size < 1 || size > most)
            throw ValueError(fmt::format("gate: {} must be from 1 to {}: it is {}", name, most, size));
    }
    if (dim % heads != 0)
        throw ValueError(fmt::format("gate: heads must divide dim: heads is {}, dim is {}", heads, dim));
    if (!(ln_eps > 0)) throw ValueError(fmt::format("gate: ln_eps must be above 0: it is {}", ln_eps));
}

Index parameter_count(const GateConfig& c) {
    const Index d = c.dim;
    const Index layer = 4 * d * (d + 1) + c.ffn * (2 * d + 1) + d + 4 * d;
    return (c.vocab + c.context) * d + c.layers * layer + 2 * d + c.vocab * (d + 1) + d + 1;
}

template <class T>
Gate<T>::Attention::Attention(const GateConfig& c, nn::Rng& rng)
    : q(affine<T>(c.dim, c.dim, rng, c.init)),
      k(affine<T>(c.dim, c.dim, rng, c.init)),
      v(affine<T>(c.dim, c.dim, rng, c.init)),
      o(affine<T>(c.dim, c.dim, rng, residual_init(c))),
      heads(c.heads) {}

template <class T> Tensor<T> Gate<T>::Attention::operator()(const Tensor<T>& x, const Indices& offsets) const {
    const Scope scope("attention");
    return o(causal_attention(q(x), k(x), v(x), offsets, {.heads = heads}));
}

template <class T>
Gate<T>::FeedForward::FeedForward(const GateConfig& c, nn::Rng& rng)
    : up(affine<T>(c.dim, c.ffn, rng, c.init)), down(affine<T>(c.ffn, c.dim, rng, residual_init(c))) {}

template <class T> Tensor<T> Gate<T>::FeedForward::operator()(const Tensor<T>& x) const {
    const Scope scope("ffn");
    return down(gelu(up(x)));
}

template <class T>
Gate<T>::Layer::Layer(const GateConfig& c, nn::Rng& rng)
    : ln1(c.dim, c.ln_eps), attention(c, rng), ln2(c.dim, c.ln_eps), ffn(c, rng) {}

template <class T>
Gate<T>::Gate(const GateConfig& config, nn::Rng& rng)
    : config_((config.check(), config)),
      token_embedding_(nn::normal<T>({config_.vocab, config_.dim}, rng, config_.init)),
      position_embedding_(nn::normal<T>({config_.context, config_.dim}, rng, config_.init)),
      layers_([&] {
          std::vector<Layer> layers;
          for (int i = 0; i < config_.layers; ++i) layers.emplace_back(config_, rng);
          return layers;
      }()),
      final_ln_(config_.dim, config_.ln_eps),
      output_(affine<T>(config_.dim, config_.vocab, rng, config_.init)),
      gate_(affine<T>(config_.dim, 1, rng, config_.init)) {}

template <class T> Tensor<T> Gate<T>::trunk(const GateBatch& batch) const {
    const std::int32_t longest = std::ranges::max(batch.positions.values()) + 1;
    if (longest > config_.context)
        throw ValueError(
            fmt::format("gate: an example of {} tokens is longer than the context of {}", longest, config_.context));
    Tensor<T> x = embedding(token_embedding_, batch.tokens) + embedding(position_embedding_, batch.positions);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const Scope scope("layers", static_cast<int>(i));
        const Layer& layer = layers_[i];
        x = x + layer.attention(layer.ln1(x), batch.offsets);
        x = x + layer.ffn(layer.ln2(x));
    }
    return final_ln_(x);
}

template <class T> GateLogits<T> Gate<T>::operator()(const GateBatch& batch) const {
    const Tensor<T> z = trunk(batch);
    GateLogits<T> logits;
    if (batch.last.size() > 0) logits.next = output_(embedding(z, batch.last));
    if (const Index decisions = batch.decisions.size(); decisions > 0) {
        const Tensor<T> pooled = segment_mean(z, batch.offsets);
        const bool all = decisions == batch.size();
        logits.allow = reshape(gate_(all ? pooled : embedding(pooled, batch.decisions)), {decisions});
    }
    return logits;
}

template <class T> Tensor<T> Gate<T>::loss(const GateLogits<T>& logits, const GateBatch& batch) const {
    const auto share = [&](const Indices& of) {
        return static_cast<T>(static_cast<double>(of.size()) / static_cast<double>(batch.size()));
    };
    Tensor<T> next, decision;  // the means of w ℓ over each kind
    if (logits.next) next = mean(row_cross_entropy(logits.next, batch.next) * row<T>(batch.next_weights));
    if (logits.allow) {
        std::vector<double> targets = batch.labels;
        for (double& y : targets) y = std::clamp(y, 0.0, 1.0);
        decision = binary_cross_entropy_with_logits(logits.allow, row<T>(targets), row<T>(batch.decision_weights));
    }
    if (!next) return decision;
    if (!decision) return next;
    return next * share(batch.next) + decision * share(batch.decisions);
}

template <class T> std::vector<double> Gate<T>::predict(const GateBatch& batch) const {
    const Pause pause;
    const Tensor<T> logits = (*this)(batch).allow;
    if (!logits) return {};
    const Tensor<T> probabilities = sigmoid(logits);
    return {probabilities.values().begin(), probabilities.values().end()};
}

template <class T> double Gate<T>::predict(std::span<const std::int32_t> tokens) const {
    const GateExample example{.tokens = {tokens.begin(), tokens.end()}};
    return predict(pack(std::span(&example, 1))).front();
}

template class Gate<float>;
template class Gate<double>;

}  // namespace xtape::models
