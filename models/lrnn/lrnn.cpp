#include <xtape/engine/fuse.hpp>
#include <xtape/engine/scope.hpp>
#include <xtape/models/lrnn/lrnn.hpp>

#include <array>
#include <cmath>

#include <fmt/format.h>

namespace xtape::models {

namespace {

constexpr double epsilon = 1e-6;

/// The sums over the slots of what is read of N and E.
template <class T> struct Reading { Tensor<T> numerator, denominator; };

/// Of n_{t−1}, n_{t−2} and n_{t−4} in the token shift: [D] each.
template <class T> using Shares = std::array<Tensor<T>, 3>;

/// c ⊙ x + (1 − c) ⊙ y.
template <class T> Tensor<T> blend(const Tensor<T>& x, const Tensor<T>& y, const Tensor<T>& c) {
    return fuse([](auto a, auto b, auto share) { return b + share * (a - b); }, x, y, c);
}

/// e^x with x held in [−10, 10].
template <class T> Tensor<T> bounded_exp(const Tensor<T>& x) { return exp(clamp(x, -10, 10)); }

/// exp(−2^(−8(k+1)/H)) for the channels of head k.
template <class T> Tensor<T> alibi_decay(const LrnnConfig& c) {
    std::vector<T> decay;
    for (int head = 0; head < c.heads; ++head) {
        const double slope = std::exp2(-8.0 * (head + 1) / c.heads);
        decay.insert(decay.end(), static_cast<std::size_t>(c.dim / c.heads), static_cast<T>(std::exp(-slope)));
    }
    return Tensor<T>({c.dim}, decay);
}

/// [D]: base + step · head for the channels of each head.
template <class T> Tensor<T> by_head(const LrnnConfig& c, double base, double step) {
    std::vector<T> values;
    for (int head = 0; head < c.heads; ++head)
        values.insert(values.end(), static_cast<std::size_t>(c.dim / c.heads), static_cast<T>(base + step * head));
    return Tensor<T>({c.dim}, values);
}

/// The whole past of every position at once: rows above it in its own sequence, and scans.
template <class T> class ParallelPast {
public:
    explicit ParallelPast(const Batch& batch) : offsets_(batch.offsets) {
        const auto starts = batch.offsets ? batch.offsets.values() : std::span<const std::int32_t>();
        const Index rows = batch.tokens.size();
        sequences_ = starts.empty() ? 1 : static_cast<Index>(starts.size()) - 1;
        length_ = sequences_ > 0 ? rows / sequences_ : 0;
        equal_ = length_ > 0 && length_ * sequences_ == rows;
        for (std::size_t i = 0; i < starts.size(); ++i) equal_ = equal_ && starts[i] == static_cast<Index>(i) * length_;
        if (!equal_) positions_ = batch.positions;
    }

    /// Products are shifted, not their factors: so all of them read the same n again in the backward, and no copy.
    Tensor<T> earlier(std::size_t, const Tensor<T>& n, const Shares<T>& u) const {
        return before(u[0] * n, 1) + before(u[1] * n, 2) + before(u[2] * n, 4);
    }
    Tensor<T> previous(std::size_t, const Tensor<T>& n, const Tensor<T>& u) const { return before(u * n, 1); }
    Reading<T> read(std::size_t, const Tensor<T>& decay, const Tensor<T>& write, const Tensor<T>& read,
                    const Tensor<T>& k, const Tensor<T>& v) const {
        const Tensor<T> sums = slot_memory(decay, write, read, k, v, offsets_);
        return {reshape(slice(sums, 0, 0, 1), decay.shape()), reshape(slice(sums, 0, 1, 2), decay.shape())};
    }

private:
    /// Row t − by of the same sequence for row t; zeros before its start.
    Tensor<T> before(const Tensor<T>& x, Index by) const {
        if (equal_) return reshape(shift(reshape(x, {sequences_, length_, x.shape()[1]}), 1, by), x.shape());
        std::vector<T> inside;
        for (const std::int32_t position : positions_.values()) inside.push_back(position >= by ? T(1) : T(0));
        return where(Tensor<T>({x.shape()[0], 1}, inside), shift(x, 0, by), Tensor<T>(T(0)));
    }

    Indices offsets_;
    Indices positions_;  ///< none where all sequences are equally long
    Index sequences_, length_;
    bool equal_;
};

/// The past of one token, from a state that it becomes part of.
template <class T> struct RecurrentPast {
    LrnnState<T>& state;

    Tensor<T> earlier(std::size_t i, const Tensor<T>& n, const Shares<T>& u) const {
        Tensor<T>& past = state.layers[i].past;
        const auto row = [&](Index back) { return slice(past, 0, back - 1, back); };
        Tensor<T> sum = u[0] * row(1) + u[1] * row(2) + u[2] * row(4);
        past = concat({n, slice(past, 0, 0, 3)}, 0);
        return sum;
    }
    Tensor<T> previous(std::size_t i, const Tensor<T>& n, const Tensor<T>& u) const {
        return u * std::exchange(state.layers[i].last, n);
    }
    Reading<T> read(std::size_t i, const Tensor<T>& decay, const Tensor<T>& write, const Tensor<T>& read,
                    const Tensor<T>& k, const Tensor<T>& v) const {
        auto& memory = state.layers[i];
        Reading<T> sums{matmul(read, memory.numerator), matmul(read, memory.denominator)};
        const Tensor<T> into = reshape(write, {write.shape()[1], 1});
        const auto kept = [](auto old, auto a, auto w, auto added) { return a * old + w * added; };
        memory.numerator = fuse(kept, memory.numerator, decay, into, k * v);
        memory.denominator = fuse(kept, memory.denominator, decay, into, k);
        return sums;
    }
};

}  // namespace

template <class T>
Lrnn<T>::Layer::Layer(const LrnnConfig& c, int layer, nn::Rng& rng)
    : ln1(c.dim, epsilon),
      ln2(c.dim, epsilon),
      time_shift_w1(nn::uniform<T>({c.dim}, rng, 0.3, 0.7)),
      time_shift_w2(nn::uniform<T>({c.dim}, rng, 0.1, 0.3)),
      time_shift_w4(nn::uniform<T>({c.dim}, rng, 0, 0.2)),
      time_mix_r(nn::constant<T>({c.dim}, 0.5)),
      time_mix_k(nn::constant<T>({c.dim}, 0.5)),
      time_mix_v(nn::constant<T>({c.dim}, 0.5)),
      decay_lora_a(nn::normal<T>({c.dim, c.decay_rank}, rng, 0.01)),
      decay_lora_b(nn::normal<T>({c.decay_rank, c.dim}, rng, 0.01)),
      decay_base(by_head<T>(c, 1.5 - 0.1 * layer, -0.2)),
      time_first(by_head<T>(c, -3 + 0.3 * layer, 0.5)),
      wr(nn::normal<T>({c.dim, c.dim}, rng, 0.02 / std::sqrt(c.layers))),
      wk(nn::normal<T>({c.dim, c.dim}, rng, 0.02 / std::sqrt(c.layers))),
      wv(nn::normal<T>({c.dim, c.dim}, rng, 0.02 / std::sqrt(c.layers))),
      wo(nn::normal<T>({c.dim, c.dim}, rng, 0.02 / std::sqrt(c.layers))),
      channel_mix(nn::constant<T>({c.dim}, 0.5)),
      ffn_gate(nn::normal<T>({c.dim, c.ffn()}, rng, 0.02 / std::sqrt(c.layers))),
      ffn_up(nn::normal<T>({c.dim, c.ffn()}, rng, 0.02 / std::sqrt(c.layers))),
      ffn_down(nn::normal<T>({c.ffn(), c.dim}, rng, 0.02 / std::sqrt(c.layers))),
      mem_gate_write(nn::normal<T>({c.dim, c.slots}, rng, 0.01)),
      mem_gate_read(nn::normal<T>({c.dim, c.slots}, rng, 0.01)) {}

template <class T>
Lrnn<T>::Lrnn(const LrnnConfig& config, nn::Rng& rng)
    : config_(config.checked()),
      alibi_(alibi_decay<T>(config_)),
      emb_(nn::normal<T>({config_.vocab, config_.dim}, rng, 0.02)),
      ln0_(config_.dim, epsilon),
      layers_([&] {
          std::vector<Layer> layers;
          for (int i = 0; i < config_.layers; ++i) layers.emplace_back(config_, i, rng);
          return layers;
      }()),
      ln_out_(config_.dim, epsilon),
      head_(nn::normal<T>({config_.dim, config_.vocab}, rng, 0.02)) {}

template <class T>
template <class Past>
Tensor<T> Lrnn<T>::time_mix(std::size_t i, const Tensor<T>& n, Past& past) const {
    const Layer& p = layers_[i];
    const auto share = [](auto w, auto a, auto b) {
        return sigmoid(w) / (sigmoid(w) + sigmoid(a) + sigmoid(b) + epsilon);
    };
    const Tensor<T> s = past.earlier(i, n,
                                     {fuse(share, p.time_shift_w1, p.time_shift_w2, p.time_shift_w4),
                                      fuse(share, p.time_shift_w2, p.time_shift_w1, p.time_shift_w4),
                                      fuse(share, p.time_shift_w4, p.time_shift_w1, p.time_shift_w2)});
    const Tensor<T> r = matmul(blend(n, s, sigmoid(p.time_mix_r)), p.wr);
    const Tensor<T> k = bounded_exp(matmul(blend(n, s, sigmoid(p.time_mix_k)), p.wk));
    const Tensor<T> v = matmul(blend(n, s, sigmoid(p.time_mix_v)), p.wv);
    const Tensor<T> decay = fuse([](auto x, auto base, auto slowest) { return sigmoid(x + base) * slowest; },
                                 matmul(matmul(n, p.decay_lora_a), p.decay_lora_b), p.decay_base, alibi_);
    const Tensor<T> write = softmax(matmul(n, p.mem_gate_write)), read = softmax(matmul(n, p.mem_gate_read));
    const Reading<T> sums = past.read(i, decay, write, read, k, v);
    const auto gated = [](auto gate, auto numerator, auto denominator, auto key, auto value, auto first) {
        return sigmoid(gate) * (numerator + first * key * value) / (denominator + first * key + epsilon);
    };
    return matmul(fuse(gated, r, sums.numerator, sums.denominator, k, v, bounded_exp<T>(p.time_first)), p.wo);
}

template <class T>
template <class Past>
Tensor<T> Lrnn<T>::channel_mix(std::size_t i, const Tensor<T>& n, Past& past) const {
    const Layer& p = layers_[i];
    const Tensor<T> c = sigmoid(p.channel_mix);
    const Tensor<T> y = c * n + past.previous(i, n, 1 - c);
    const auto swiglu = [](auto gate, auto up) { return gate * sigmoid(gate) * up; };
    return matmul(fuse(swiglu, matmul(y, p.ffn_gate), matmul(y, p.ffn_up)), p.ffn_down);
}

template <class T> template <class Past> Tensor<T> Lrnn<T>::trunk(const Indices& tokens, Past&& past) const {
    Tensor<T> x = ln0_(embedding(emb_, tokens));
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const Scope scope("layers", static_cast<int>(i));
        x = x + time_mix(i, layers_[i].ln1(x), past);
        x = x + channel_mix(i, layers_[i].ln2(x), past);
    }
    return matmul(ln_out_(x), head_);
}

template <class T> Tensor<T> Lrnn<T>::operator()(const Batch& batch) const {
    return trunk(batch.tokens, ParallelPast<T>(batch));
}

template <class T> Tensor<T> Lrnn<T>::loss(const Batch& batch) const {
    return cross_entropy((*this)(batch), batch.targets, {.label_smoothing = config_.label_smoothing});
}

template <class T> LrnnState<T> Lrnn<T>::start() const {
    const auto zeros = [&](Index rows) { return Tensor<T>::zeros({rows, config_.dim}); };
    LrnnState<T> state;
    for (std::size_t i = 0; i < layers_.size(); ++i)
        state.layers.push_back({zeros(4), zeros(config_.slots), zeros(config_.slots), zeros(1)});
    return state;
}

template <class T> Tensor<T> Lrnn<T>::next(std::int32_t token, LrnnState<T>& state) const {
    if (state.layers.size() != layers_.size())
        throw ValueError(fmt::format("lrnn: the state is of {} layers, the model of {}; begin with start()",
                                     state.layers.size(), layers_.size()));
    return trunk(indices({token}), RecurrentPast<T>{state});
}

template class Lrnn<float>;
template class Lrnn<double>;

}  // namespace xtape::models
