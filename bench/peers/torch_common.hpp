#pragma once
// What the training steps in eager PyTorch share.

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace peers {

constexpr int64_t no_target = -1;

/// So many threads of PyTorch for as long as it lives.
class Threads {
public:
    explicit Threads(int threads) : before_(torch::get_num_threads()), now_(threads) { change(before_, now_); }
    ~Threads() { change(now_, before_); }
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

private:
    static void change(int from, int to) {
        if (from != to) torch::set_num_threads(to);
    }
    int before_, now_;
};

inline torch::Tensor copy_of(const float* values, at::IntArrayRef shape) {
    return torch::from_blob(const_cast<float*>(values), shape).clone();
}

/// Copies one array after another. Throws c10::Error for one that has not the size of the shape.
class Arrays {
public:
    explicit Arrays(const std::vector<std::span<const float>>& arrays) : next_(arrays.begin()), end_(arrays.end()) {}

    torch::Tensor operator()(at::IntArrayRef shape) {
        const auto size = static_cast<std::size_t>(c10::multiply_integers(shape));
        TORCH_CHECK(next_ != end_ && next_->size() == size, "a parameter does not fit the shape ", shape);
        return copy_of((next_++)->data(), shape);
    }

private:
    std::vector<std::span<const float>>::const_iterator next_, end_;
};

inline torch::Tensor ids(const int* values, int64_t count) {
    return torch::from_blob(const_cast<int*>(values), {count}, torch::kInt).to(torch::kLong);
}

/// Tokens [B,T] of a ragged batch; rows of unequal length are filled up with `filler`.
inline torch::Tensor padded(const int* tokens, const int* offsets, int sequences, int64_t length, int64_t filler) {
    auto batch = torch::full({sequences, length}, filler, torch::kLong);
    auto* row = batch.data_ptr<int64_t>();
    for (int s = 0; s < sequences; s++, row += length) std::copy(tokens + offsets[s], tokens + offsets[s + 1], row);
    return batch;
}

inline int64_t longest(const int* offsets, int sequences) {
    int64_t length = 0;
    for (int s = 0; s < sequences; s++) length = std::max<int64_t>(length, offsets[s + 1] - offsets[s]);
    return length;
}

/// [T,T]: −∞ above the diagonal, 0 elsewhere; added to the scores of attention.
inline torch::Tensor causal_mask(int64_t length, torch::ScalarType type = torch::kFloat) {
    return torch::full({length, length}, -INFINITY, type).triu(1);
}

inline std::vector<torch::Tensor> trainable(std::vector<torch::Tensor> tensors) {
    for (auto& tensor : tensors) tensor.set_requires_grad(true);
    return tensors;
}

/// The second half of a training step: backward pass, clipping of the global norm to `max_norm` (0: none), update.
/// Gradients are dropped, not zeroed: the next backward pass then hands over its own instead of adding to zeros.
inline float update(const torch::Tensor& loss, torch::optim::Optimizer& optimizer, double learning_rate,
                    double max_norm) {
    auto& group = optimizer.param_groups()[0];
    group.options().set_lr(learning_rate);
    loss.backward();
    if (max_norm > 0) torch::nn::utils::clip_grad_norm_(group.params(), max_norm);
    optimizer.step();
    for (auto& parameter : group.params()) parameter.mutable_grad().reset();
    return loss.item<float>();
}

}  // namespace peers
