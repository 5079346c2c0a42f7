#include "torch_llama.hpp"

#include "torch_common.hpp"

#include <ATen/autocast_mode.h>
#include <cmath>

namespace peers {
namespace {

/// Autocast to bfloat16 for as long as it lives, if `enabled`.
class Autocast {
public:
    explicit Autocast(bool enabled) : before_(at::autocast::is_cpu_enabled()) {
        at::autocast::set_autocast_cpu_dtype(torch::kBFloat16);
        at::autocast::set_cpu_enabled(enabled);
    }
    ~Autocast() {
        at::autocast::clear_cache();
        at::autocast::set_cpu_enabled(before_);
    }
    Autocast(const Autocast&) = delete;
    Autocast& operator=(const Autocast&) = delete;

private:
    bool before_;
};

/// e^(i t θ^(−2j/h)), [T,1,h/2].
torch::Tensor rotations(int64_t context, int64_t width, double theta) {
    const auto j = torch::arange(0, width, 2, torch::kDouble);
    const auto angles = torch::outer(torch::arange(context, torch::kDouble), torch::pow(theta, -j / width));
    return torch::polar(torch::ones_like(angles), angles).to(torch::kComplexFloat).unsqueeze(1);
}

}  // namespace

struct TorchLlama::Impl {
    struct Layer {
        torch::Tensor attention_norm, wqkv, wo, ffn_norm, w13, w2;
    };

    TorchLlamaConfig config;
    int64_t heads, kv_heads, width, group;
    torch::Tensor token_embedding;
    std::vector<Layer> layers;
    torch::Tensor final_norm, classifier, mask, turns;
    torch::optim::AdamW adam;

    Impl(const TorchLlamaConfig& c, Arrays next)
        : config(c),
          heads(c.heads),
          kv_heads(c.kv_heads),
          width(c.dim / c.heads),
          group(c.heads / c.kv_heads),
          token_embedding(next({c.vocab, c.dim})),
          layers(read_layers(next)),
          final_norm(next({c.dim})),
          classifier(next({c.vocab, c.dim})),
          mask(causal_mask(c.context, c.bf16 ? torch::kBFloat16 : torch::kFloat)),
          turns(rotations(c.context, width, c.rope_theta)),
          adam(trainable(all()), torch::optim::AdamWOptions().betas({0.9, 0.999}).eps(1e-8).weight_decay(0.01)) {}

    std::vector<Layer> read_layers(Arrays& next) const {
        const int64_t d = config.dim, f = config.ffn, kv = kv_heads * width;
        std::vector<Layer> read(static_cast<std::size_t>(config.layers));
        for (Layer& layer : read) {
            layer.attention_norm = next({d});
            const auto wq = next({d, d}), wk = next({kv, d}), wv = next({kv, d});
            layer.wqkv = torch::cat({wq, wk, wv});
            layer.wo = next({d, d});
            layer.ffn_norm = next({d});
            const auto w1 = next({f, d});
            layer.w2 = next({d, f});
            layer.w13 = torch::cat({w1, next({f, d})});
        }
        return read;
    }

    std::vector<torch::Tensor> all() const {
        std::vector<torch::Tensor> tensors{token_embedding, final_norm, classifier};
        for (const Layer& w : layers)
            tensors.insert(tensors.end(), {w.attention_norm, w.wqkv, w.wo, w.ffn_norm, w.w13, w.w2});
        return tensors;
    }

    torch::Tensor norm(const torch::Tensor& x, const torch::Tensor& weight) const {
        return x * torch::rsqrt(x.square().mean(-1, true) + config.norm_epsilon) * weight;
    }

    /// Attention of q, k and v [B*T,(H+2K)h]. The queries of the heads that share a key stand below each other, so
    /// that every key head is one product of a batch.
    torch::Tensor attend(const torch::Tensor& qkv, const torch::Tensor& seen, int64_t batch, int64_t length) const {
        const auto by_head = qkv.view({batch, length, heads + 2 * kv_heads, width});
        const auto qk = by_head.narrow(2, 0, heads + kv_heads).to(torch::kFloat).unflatten(3, {width / 2, 2});
        const auto turned = torch::view_as_complex(qk) * turns.slice(0, 0, length);
        const auto roped = torch::view_as_real(turned).flatten(3).to(qkv.scalar_type());
        const auto split = [&](const torch::Tensor& x, int64_t first, int64_t rows) {
            const auto part = x.narrow(2, first, kv_heads * rows).transpose(1, 2);
            return part.reshape({batch * kv_heads, rows * length, width});
        };
        const auto q = split(roped, 0, group), k = split(roped, heads, 1), v = split(by_head, heads + kv_heads, 1);
        const double scale = 1 / std::sqrt(static_cast<double>(width));
        const auto mixed = torch::baddbmm(seen, q, k.transpose(1, 2), 1, scale).softmax(-1).bmm(v);
        return mixed.view({batch, heads, length, width}).transpose(1, 2).reshape({batch * length, config.dim});
    }

    torch::Tensor loss(const torch::Tensor& tokens, const torch::Tensor& targets, int64_t batch, int64_t length) const {
        const Autocast autocast(config.bf16);
        const auto seen = mask.slice(0, 0, length).slice(1, 0, length).repeat({group, 1});
        auto x = torch::embedding(token_embedding, tokens);
        for (const Layer& w : layers) {
            const auto qkv = torch::linear(norm(x, w.attention_norm), w.wqkv);
            x = x + torch::linear(attend(qkv, seen, batch, length), w.wo);
            const auto gate_up = torch::linear(norm(x, w.ffn_norm), w.w13).chunk(2, 1);
            x = x + torch::linear(torch::silu(gate_up[0]) * gate_up[1], w.w2);
        }
        const auto logits = torch::linear(norm(x, final_norm), classifier).to(torch::kFloat);
        return torch::cross_entropy_loss(logits, targets, {}, torch::Reduction::Mean, no_target);
    }
};

TorchLlama::TorchLlama(const TorchLlamaConfig& config, const std::vector<std::span<const float>>& parameters)
    : impl_(std::make_unique<Impl>(config, Arrays(parameters))) {}
TorchLlama::~TorchLlama() = default;
TorchLlama::TorchLlama(TorchLlama&&) noexcept = default;
TorchLlama& TorchLlama::operator=(TorchLlama&&) noexcept = default;

float TorchLlama::step(const int* tokens, const int* targets, int sequences, int length, double learning_rate) {
    const Threads threads(impl_->config.threads);
    const int64_t rows = int64_t{sequences} * length;
    const auto loss = impl_->loss(ids(tokens, rows), ids(targets, rows), sequences, length);
    return update(loss, impl_->adam, learning_rate, 1.0);
}

}  // namespace peers
