// Losses.

#include <xtape/engine/kernels/cross_entropy.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/place.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

template <class T> struct CrossEntropy {
    static constexpr std::string_view name = "cross_entropy";
    static constexpr int writes_over = 0;  // so that logits over a large vocabulary are not held twice
    CrossEntropyOptions options;

    Shape shape(const Shape& logits, const Indices& targets) const {
        if (logits.rank() == 0) throw ShapeError("cross_entropy: a scalar has no rows: logits is []");
        if (logits.rows() != targets.size())
            throw ShapeError(fmt::format("cross_entropy: {} rows of logits but {} targets: logits is {}, targets is {}",
                                         logits.rows(), targets.size(), to_string(logits), to_string(targets.shape())));
        if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1))
            throw ValueError(
                fmt::format("cross_entropy: label_smoothing must be from 0 to 1: it is {}", options.label_smoothing));
        check_targets(logits.columns(), targets);
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

    void check_targets(Index columns, const Indices& targets) const {
        const auto values = targets.values();
        Index counted = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (values[i] == options.ignore_index) continue;
            ++counted;
            if (values[i] >= 0 && values[i] < columns) continue;
            throw ValueError(fmt::format("cross_entropy: target {} at {} is outside the row of {} logits{}", values[i],
                                         place(targets.shape(), static_cast<Index>(i)), columns,
                                         columns == 0 ? "" : fmt::format(" (0 to {})", columns - 1)));
        }
        if (counted == 0)
            throw ValueError(fmt::format("cross_entropy: the mean of nothing: no row counts: targets is {}",
                                         to_string(targets.shape())));
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
