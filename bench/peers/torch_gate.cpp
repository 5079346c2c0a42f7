#include "torch_gate.hpp"

#include "torch_common.hpp"

#include <algorithm>
#include <cmath>

namespace peers {
namespace {

/// y = x Wᵀ + b.
struct Affine {
    torch::Tensor weight, bias;

    torch::Tensor operator()(const torch::Tensor& x) const { return torch::linear(x, weight, bias); }
};

struct Norm {
    torch::Tensor weight, bias;
    double epsilon;

    torch::Tensor operator()(const torch::Tensor& x) const {
        return torch::layer_norm(x, weight.sizes(), weight, bias, epsilon);
    }
};

/// What the heads are asked of the rows [B*T,D] of a batch padded to `length`.
struct Questions {
    torch::Tensor last_rows, next, next_weights;       // of each example that predicts
    torch::Tensor averages, labels, decision_weights;  // of each that decides; averages [N,B*T]: over its positions

    Questions(const TorchGateBatch& batch, int64_t length) {
        const std::size_t count = batch.next.size();
        std::vector<int64_t> rows, targets;
        std::vector<float> weights, means, wanted, importance;
        for (std::size_t i = 0; i < count; ++i) {
            const auto first = static_cast<int64_t>(i) * length,
                       positions = int64_t{batch.offsets[i + 1]} - batch.offsets[i];
            if (batch.next[i] >= 0) {
                rows.push_back(first + positions - 1);
                targets.push_back(batch.next[i]);
                weights.push_back(batch.weights[i]);
            } else {
                const std::size_t row = means.size();
                means.resize(row + count * static_cast<std::size_t>(length));
                std::fill_n(means.begin() + static_cast<int64_t>(row) + first, positions,
                            1.0f / static_cast<float>(positions));
                wanted.push_back(batch.labels[i]);
                importance.push_back(batch.weights[i]);
            }
        }
        last_rows = torch::tensor(rows, torch::kLong);
        next = torch::tensor(targets, torch::kLong);
        next_weights = torch::tensor(weights);
        averages =
            torch::tensor(means).view({static_cast<int64_t>(wanted.size()), static_cast<int64_t>(count) * length});
        labels = torch::tensor(wanted);
        decision_weights = torch::tensor(importance);
    }
};

}  // namespace

struct TorchGate::Impl {
    struct Layer {
        Norm ln1;
        Affine qkv, out;
        Norm ln2;
        Affine up, down;
    };

    TorchGateConfig config;
    torch::Tensor token_embedding, position_embedding;
    std::vector<Layer> layers;
    Norm final_ln;
    Affine output, gate;
    torch::Tensor mask;
    torch::optim::AdamW adam;

    Impl(const TorchGateConfig& c, Arrays next)
        : config(c),
          token_embedding(next({c.vocab, c.dim})),
          position_embedding(next({c.context, c.dim})),
          layers(read_layers(next)),
          final_ln(read_norm(next)),
          output(read_affine(next, c.vocab, c.dim)),
          gate(read_affine(next, 1, c.dim)),
          mask(causal_mask(c.context)),
          adam(trainable(all()), torch::optim::AdamWOptions().betas({0.9, 0.999}).eps(1e-8).weight_decay(0.01)) {}

    Norm read_norm(Arrays& next) const {
        const auto weight = next({config.dim});
        return {weight, next({config.dim}), config.ln_epsilon};
    }

    static Affine read_affine(Arrays& next, int64_t out, int64_t in) {
        const auto weight = next({out, in});
        return {weight, next({out})};
    }

    std::vector<Layer> read_layers(Arrays& next) const {
        const int64_t d = config.dim, f = config.ffn;
        std::vector<Layer> read(static_cast<std::size_t>(config.layers));
        for (Layer& layer : read) {
            layer.ln1 = read_norm(next);
            const Affine q = read_affine(next, d, d), k = read_affine(next, d, d), v = read_affine(next, d, d);
            layer.qkv = {torch::cat({q.weight, k.weight, v.weight}), torch::cat({q.bias, k.bias, v.bias})};
            layer.out = read_affine(next, d, d);
            layer.ln2 = read_norm(next);
            layer.up = read_affine(next, f, d);
            layer.down = read_affine(next, d, f);
        }
        return read;
    }

    std::vector<torch::Tensor> all() const {
        std::vector<torch::Tensor> tensors{token_embedding, position_embedding};
        const auto add = [&](const auto& pair) { tensors.insert(tensors.end(), {pair.weight, pair.bias}); };
        for (const Layer& w : layers) add(w.ln1), add(w.qkv), add(w.out), add(w.ln2), add(w.up), add(w.down);
        add(final_ln), add(output), add(gate);
        return tensors;
    }

    /// Attention of q, k and v side by side, [B*T,3D].
    torch::Tensor attend(const torch::Tensor& qkv, const torch::Tensor& seen, int64_t batch, int64_t length) const {
        const int64_t heads = config.heads, width = config.dim / heads;
        const auto by_head = qkv.view({batch, length, 3, heads, width}).permute({2, 0, 3, 1, 4});
        const auto parts = by_head.reshape({3, batch * heads, length, width}).unbind();
        const double scale = 1 / std::sqrt(static_cast<double>(width));
        const auto scores = torch::baddbmm(seen, parts[0], parts[1].transpose(1, 2), 1, scale);
        const auto mixed = scores.softmax(-1).bmm(parts[2]).view({batch, heads, length, width});
        return mixed.transpose(1, 2).reshape({batch * length, config.dim});
    }

    /// final_ln's output, [B*T,D].
    torch::Tensor trunk(const torch::Tensor& tokens) const {
        const int64_t batch = tokens.size(0), length = tokens.size(1);
        const auto seen = mask.slice(0, 0, length).slice(1, 0, length);
        const auto embedded = torch::embedding(token_embedding, tokens) + position_embedding.slice(0, 0, length);
        auto x = embedded.view({batch * length, config.dim});
        for (const Layer& w : layers) {
            x = x + w.out(attend(w.qkv(w.ln1(x)), seen, batch, length));
            x = x + w.down(torch::gelu(w.up(w.ln2(x)), "tanh"));
        }
        return final_ln(x);
    }

    torch::Tensor loss(const torch::Tensor& tokens, const Questions& asked) const {
        const auto z = trunk(tokens);
        const auto logits = output(z.index_select(0, asked.last_rows));
        const auto surprise = torch::cross_entropy_loss(logits, asked.next, {}, torch::Reduction::None);
        const auto allow = gate(asked.averages.mm(z)).squeeze(1);
        const auto regret = torch::binary_cross_entropy_with_logits(allow, asked.labels, asked.decision_weights, {},
                                                                    torch::Reduction::Sum);
        return (surprise.dot(asked.next_weights) + regret) / tokens.size(0);
    }
};

TorchGate::TorchGate(const TorchGateConfig& config, const std::vector<std::span<const float>>& parameters)
    : impl_(std::make_unique<Impl>(config, Arrays(parameters))) {}
TorchGate::~TorchGate() = default;
TorchGate::TorchGate(TorchGate&&) noexcept = default;
TorchGate& TorchGate::operator=(TorchGate&&) noexcept = default;

float TorchGate::step(const TorchGateBatch& batch, double learning_rate) {
    const Threads threads(impl_->config.threads);
    const int sequences = static_cast<int>(batch.next.size());
    const int64_t length = longest(batch.offsets.data(), sequences);
    const auto tokens = padded(batch.tokens.data(), batch.offsets.data(), sequences, length, 0);
    return update(impl_->loss(tokens, Questions(batch, length)), impl_->adam, learning_rate, 0);
}

}  // namespace peers
