// Losses.

#include <xtape/engine/kernels/cross_entropy.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/targets.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

template <class T> struct CrossEntropy {
    static constexpr std::string_view name = "cross_entropy";
    static constexpr int writes_over = 0;  // so that logits over a large vocabulary are not held twice
    CrossEntropyOptions options;

    Shape shape(const Shape& logits, const Indices& targets) const {
        if (check_targets(name, logits, targets, options) == 0)
            throw ValueError(fmt::format("cross_entropy: the mean of nothing: no row counts: targets is {}",
                                         to_string(targets.shape())));
        return {};
    }
    std::array<Shape, 1> saved(const Shape& logits, const Indices&) const { return {Shape{logits.rows()}}; }

    void forward(View<T> logits, View<std::int32_t> targets, Out<T> y, Out<T> lse) const {
        const auto rows = rows_of(logits.shape);
        const double total = kernels::cross_entropy(rows, logits.data, targets.data, lse.data);
        *y.data = static_cast<T>(total / static_cast<double>(kernels::counted_rows(rows, targets.data)));
    }
    void vjp(Grad<0, T> dlogits, Input<0, T> logits, Input<1, std::int32_t> targets, Saved<0, T> lse,
             Cotangent<T> dy) const {
        const auto rows = rows_of(logits.shape);
        const T d = *dy.data / static_cast<T>(kernels::counted_rows(rows, targets.data));
        kernels::cross_entropy_backward(rows, logits.data, targets.data, lse.data, d, dlogits.data,
                                        dlogits.accumulate);  // dlogits = (softmax(logits) − target) dy / count
    }

private:
    kernels::CrossEntropy rows_of(const Shape& logits) const {
        return {logits.rows(), logits.columns(), options.ignore_index, options.label_smoothing};
    }
};

}  // namespace

template <Real T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Indices& targets, CrossEntropyOptions options, Where where) {
    return apply<T>(CrossEntropy<T>{options}, where, logits, targets);
}

template Tensor<float> cross_entropy(const Tensor<float>&, const Indices&, CrossEntropyOptions, Where);
template Tensor<double> cross_entropy(const Tensor<double>&, const Indices&, CrossEntropyOptions, Where);

}  // namespace xtape
