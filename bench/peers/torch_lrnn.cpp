#include "torch_lrnn.hpp"

#include "torch_common.hpp"

namespace peers {
namespace {

constexpr double epsilon = 1e-6, largest_log = 10;

/// n_{t − lag}, zeros before the start.
torch::Tensor shifted(const torch::Tensor& n, int64_t lag) { return torch::constant_pad_nd(n, {0, 0, lag, -lag}); }

torch::Tensor clamped_exp(const torch::Tensor& x) { return x.clamp(-largest_log, largest_log).exp(); }

/// What stands before each of the additions [S,2,M,D] in h = decay h + addition, decay [S,D].
torch::Tensor states_before(const torch::Tensor& decay, const torch::Tensor& additions) {
    const auto decays = decay.unbind(), added = additions.unbind();
    std::vector<torch::Tensor> states{torch::zeros_like(added[0])};
    for (std::size_t t = 0; t + 1 < added.size(); ++t)
        states.push_back(torch::addcmul(added[t], decays[t], states.back()));
    return torch::stack(states);
}

struct Norm {
    torch::Tensor weight, bias;

    torch::Tensor operator()(const torch::Tensor& x) const {
        return torch::layer_norm(x, weight.sizes(), weight, bias, epsilon);
    }
};

}  // namespace

struct TorchLrnn::Impl {
    /// Of one shape and side by side: time_shift [3,1,D]; time_mix [3,1,D] and wrkv [3,D,D] of r, k, v; low [D,R+2M],
    /// which is decay_lora_a, mem_gate_write and mem_gate_read; gate_up [D,2F].
    struct Layer {
        Norm ln1, ln2;
        torch::Tensor time_shift, time_mix, low, decay_lora_b, decay_base, time_first, wrkv, wo;
        torch::Tensor channel_mix, gate_up, down;
    };

    TorchLrnnConfig config;
    torch::Tensor embedding;
    Norm ln0;
    std::vector<Layer> layers;
    Norm ln_out;
    torch::Tensor head, alibi;
    torch::optim::Adam adam;

    Impl(const TorchLrnnConfig& c, Arrays next)
        : config(c),
          embedding(next({c.vocab, c.dim})),
          ln0(read_norm(next)),
          layers(read_layers(next)),
          ln_out(read_norm(next)),
          head(next({c.dim, c.vocab})),
          alibi(torch::exp(-torch::pow(2, -8.0 / c.heads * torch::arange(1, c.heads + 1, torch::kFloat)))
                    .repeat_interleave(c.dim / c.heads)),
          adam(trainable(all()), torch::optim::AdamOptions().betas({0.9, 0.999}).eps(1e-8)) {}

    Norm read_norm(Arrays& next) const {
        const auto weight = next({config.dim});
        return {weight, next({config.dim})};
    }

    std::vector<Layer> read_layers(Arrays& next) const {
        const int64_t d = config.dim, rank = config.rank, f = config.ffn, slots = config.slots;
        std::vector<Layer> read(static_cast<std::size_t>(config.layers));
        const auto three = [&](at::IntArrayRef shape) {
            const auto first = next(shape), second = next(shape);
            return torch::stack({first, second, next(shape)});
        };
        for (Layer& layer : read) {
            layer.ln1 = read_norm(next);
            layer.ln2 = read_norm(next);
            layer.time_shift = three({1, d});
            layer.time_mix = three({1, d});
            const auto decay_lora_a = next({d, rank});
            layer.decay_lora_b = next({rank, d});
            layer.decay_base = next({d});
            layer.time_first = next({d});
            layer.wrkv = three({d, d});
            layer.wo = next({d, d});
            layer.channel_mix = next({d});
            const auto gate = next({d, f});
            layer.gate_up = torch::cat({gate, next({d, f})}, 1);
            layer.down = next({f, d});
            const auto write = next({d, slots});
            layer.low = torch::cat({decay_lora_a, write, next({d, slots})}, 1);
        }
        return read;
    }

    std::vector<torch::Tensor> all() const {
        std::vector<torch::Tensor> tensors{embedding, ln0.weight, ln0.bias, ln_out.weight, ln_out.bias, head};
        for (const Layer& w : layers)
            tensors.insert(tensors.end(), {w.ln1.weight, w.ln1.bias, w.ln2.weight, w.ln2.bias, w.time_shift, w.time_mix,
                                           w.low, w.decay_lora_b, w.decay_base, w.time_first, w.wrkv, w.wo,
                                           w.channel_mix, w.gate_up, w.down});
        return tensors;
    }

    /// What each position reads from the slots, [S,D]: numerators and denominators side by side in axis 1.
    torch::Tensor remember(const Layer& w, const torch::Tensor& n, const torch::Tensor& k,
                           const torch::Tensor& v) const {
        const int64_t length = n.size(0), rank = config.rank, slots = config.slots;
        const auto low = n.mm(w.low);
        const auto decay = torch::addmm(w.decay_base, low.narrow(1, 0, rank), w.decay_lora_b).sigmoid() * alibi;
        const auto gates = low.narrow(1, rank, 2 * slots).unflatten(1, {2, slots}).softmax(-1).unbind(1);
        const auto by_slot = [&](const torch::Tensor& gate) { return gate.view({length, 1, slots, 1}); };
        const auto written = torch::stack({k * v, k}, 1);
        const auto states = states_before(decay, by_slot(gates[0]) * written.unsqueeze(2));
        const auto read = (by_slot(gates[1]) * states).sum(2);
        const auto sums = torch::addcmul(read, clamped_exp(w.time_first), written).unbind(1);
        return sums[0] / (sums[1] + epsilon);
    }

    torch::Tensor time_mix(const Layer& w, const torch::Tensor& x) const {
        const auto n = w.ln1(x);
        const auto shares = w.time_shift.sigmoid();
        const auto u = (shares / (shares.sum(0) + epsilon)).unbind();
        const auto past = shifted(n, 1) * u[0] + shifted(n, 2) * u[1] + shifted(n, 4) * u[2];
        const auto rkv = torch::lerp(past, n, w.time_mix.sigmoid()).bmm(w.wrkv).unbind();
        const auto wkv = remember(w, n, clamped_exp(rkv[1]), rkv[2]);
        return torch::addmm(x, rkv[0].sigmoid() * wkv, w.wo);
    }

    torch::Tensor channel_mix(const Layer& w, const torch::Tensor& x) const {
        const auto n = w.ln2(x);
        const auto gate_up = torch::lerp(shifted(n, 1), n, w.channel_mix.sigmoid()).mm(w.gate_up).chunk(2, 1);
        return torch::addmm(x, torch::silu(gate_up[0]) * gate_up[1], w.down);
    }

    torch::Tensor loss(const torch::Tensor& tokens, const torch::Tensor& targets) const {
        auto x = ln0(torch::embedding(embedding, tokens));
        for (const Layer& w : layers) x = channel_mix(w, time_mix(w, x));
        return torch::cross_entropy_loss(ln_out(x).mm(head), targets, {}, torch::Reduction::Mean, no_target);
    }
};

TorchLrnn::TorchLrnn(const TorchLrnnConfig& config, const std::vector<std::span<const float>>& parameters)
    : impl_(std::make_unique<Impl>(config, Arrays(parameters))) {}
TorchLrnn::~TorchLrnn() = default;
TorchLrnn::TorchLrnn(TorchLrnn&&) noexcept = default;
TorchLrnn& TorchLrnn::operator=(TorchLrnn&&) noexcept = default;

float TorchLrnn::step(const int* inputs, const int* targets, int length, double learning_rate) {
    const Threads threads(impl_->config.threads);
    const auto loss = impl_->loss(ids(inputs, length), ids(targets, length));
    return update(loss, impl_->adam, learning_rate, 5.0);
}

}  // namespace peers
