#include "torch_microgpt.hpp"

#include "torch_common.hpp"

#include <cmath>

namespace peers {
namespace {

constexpr int64_t vocab = 27, context = 16, heads = 4;

torch::Tensor rms_norm(const torch::Tensor& x) { return x * torch::rsqrt(x.square().mean(-1, true) + 1e-5); }

}  // namespace

struct TorchMicrogpt::Impl {
    int64_t dim;
    torch::Tensor wte, wpe, wqkv, wo, w1, w2, wout, causal;
    torch::optim::Adam adam;

    Impl(int64_t d, const float* const p[9])
        : dim(d),
          wte(copy_of(p[0], {vocab, d})),
          wpe(copy_of(p[1], {context, d})),
          wqkv(torch::cat({copy_of(p[2], {d, d}), copy_of(p[3], {d, d}), copy_of(p[4], {d, d})}, 1)),
          wo(copy_of(p[5], {d, d})),
          w1(copy_of(p[6], {d, 4 * d})),
          w2(copy_of(p[7], {4 * d, d})),
          wout(copy_of(p[8], {d, vocab})),
          causal(causal_mask(context)),
          adam(trainable({wte, wpe, wqkv, wo, w1, w2, wout}),
               torch::optim::AdamOptions().betas({0.85, 0.99}).eps(1e-8)) {}

    /// Attention of [B*T,D]; heads become the batch of a batched product.
    torch::Tensor attend(const torch::Tensor& n, int64_t batch, int64_t length) const {
        const int64_t width = dim / heads;
        const auto qkv = n.mm(wqkv).view({batch, length, 3, heads, width}).permute({2, 0, 3, 1, 4}).unbind(0);
        const auto split = [&](const torch::Tensor& x) { return x.reshape({batch * heads, length, width}); };
        const auto mask = causal.slice(0, 0, length).slice(1, 0, length);
        const auto scores = torch::baddbmm(mask, split(qkv[0]), split(qkv[1]).transpose(1, 2), 1,
                                           1 / std::sqrt(static_cast<double>(width)));
        const auto mixed = scores.softmax(-1).bmm(split(qkv[2]));
        return mixed.view({batch, heads, length, width}).transpose(1, 2).reshape({batch * length, dim});
    }

    torch::Tensor loss(const torch::Tensor& tokens, const torch::Tensor& targets) const {
        const int64_t batch = tokens.size(0), length = tokens.size(1);
        auto x = (torch::embedding(wte, tokens) + wpe.slice(0, 0, length)).view({batch * length, dim});
        x = torch::addmm(x, attend(rms_norm(x), batch, length), wo);
        x = torch::addmm(x, x.mm(w1).relu(), w2);
        return torch::cross_entropy_loss(x.mm(wout), targets.view(-1), {}, torch::Reduction::Mean, no_target);
    }
};

TorchMicrogpt::TorchMicrogpt(int dim, const float* const parameters[9])
    : impl_(std::make_unique<Impl>(dim, parameters)) {}
TorchMicrogpt::~TorchMicrogpt() = default;
TorchMicrogpt::TorchMicrogpt(TorchMicrogpt&&) noexcept = default;
TorchMicrogpt& TorchMicrogpt::operator=(TorchMicrogpt&&) noexcept = default;

float TorchMicrogpt::step(const int* inputs, const int* targets, const int* offsets, int sequences,
                          double learning_rate) {
    const Threads one(1);
    const int64_t length = longest(offsets, sequences);
    const auto loss = impl_->loss(padded(inputs, offsets, sequences, length, 0),
                                  padded(targets, offsets, sequences, length, no_target));
    return update(loss, impl_->adam, learning_rate, 0);
}

std::vector<float> TorchMicrogpt::parameter(int index) const {
    const torch::NoGradGuard no_grad;
    const auto& m = *impl_;
    const auto part = [&](int64_t i) { return m.wqkv.slice(1, i * m.dim, (i + 1) * m.dim); };
    const torch::Tensor all[] = {m.wte, m.wpe, part(0), part(1), part(2), m.wo, m.w1, m.w2, m.wout};
    const auto values = all[index].contiguous();
    return {values.data_ptr<float>(), values.data_ptr<float>() + values.numel()};
}

}  // namespace peers
