// Losses.

#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/kernels/cross_entropy.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>
#include <xtape/engine/ops/product.hpp>
#include <xtape/engine/ops/targets.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

/// The shape of a mean over rows of logits. Throws where they do not fit the targets, or none counts.
Shape mean_shape(std::string_view op, const Shape& logits, const Indices& targets, const CrossEntropyOptions& options) {
    if (check_targets(op, logits, targets, options) == 0)
        throw ValueError(
            fmt::format("{}: the mean of nothing: no row counts: targets is {}", op, to_string(targets.shape())));
    return {};
}

template <class T> struct CrossEntropy {
    static constexpr std::string_view name = "cross_entropy";
    static constexpr int writes_over = 0;  // so that logits over a large vocabulary are not held twice
    CrossEntropyOptions options;

    Shape shape(const Shape& logits, const Indices& targets) const {
        return mean_shape(name, logits, targets, options);
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

/// The shape of x wᵀ. Throws ShapeError unless w is [V, D] and x [..., D].
Shape logits_shape(const Shape& x, const Shape& w) {
    if (w.rank() != 2 || x.rank() == 0 || x.columns() != w[1])
        throw ShapeError(fmt::format("linear_cross_entropy: w must be [V, D] for an x of [..., D]: x is {}, w is {}",
                                     to_string(x), to_string(w)));
    return x.with(x.rank() - 1, w[0]);
}

/// Logits x wᵀ and their cross entropy, a part of the rows at a time. The gradients are made on the way, for a
/// cotangent of 1, from the logits that are there: later they would take another product.
template <class T> struct LinearCrossEntropy {
    static constexpr std::string_view name = "linear_cross_entropy";
    static constexpr Index logits_at_once = Index{1} << 20;
    CrossEntropyOptions options;
    Precision precision;

    Shape shape(const Shape& x, const Shape& w, const Indices& targets) const {
        return mean_shape(name, logits_shape(x, w), targets, options);
    }
    std::array<Shape, 2> saved(const Shape& x, const Shape& w, const Indices&) const { return {x, w}; }

    void forward(View<T> x, View<T> w, View<std::int32_t> targets, Out<T> y, Out<T> dx, Out<T> dw) const {
        const Index rows = x.shape.rows(), d = w.shape[1], v = w.shape[0];
        const Index most = std::min(rows, std::max<Index>(64, logits_at_once / v / 64 * 64));
        const auto logits = Tensor<T>::unwritten({most, v}), lse = Tensor<T>::unwritten({most});
        T* const z = logits.body()->data;
        const auto part = [&](Index count) {
            return kernels::CrossEntropy{count, v, options.ignore_index, options.label_smoothing};
        };
        const auto counted = static_cast<double>(kernels::counted_rows(part(rows), targets.data));
        double total = 0;
        for (Index begin = 0, n; begin < rows; begin += n) {
            n = std::min(most, rows - begin);
            const T* const x_of = x.data + begin * d;
            const std::int32_t* const of = targets.data + begin;
            multiply({.transpose_b = true, .m = n, .n = v, .k = d, .lda = d, .ldb = d, .ldc = v}, precision, x_of,
                     w.data, z);
            total += kernels::cross_entropy(part(n), z, of, lse.body()->data);
            kernels::cross_entropy_backward(part(n), z, of, lse.data(), static_cast<T>(1 / counted), z, false);
            multiply({.m = n, .n = d, .k = v, .lda = v, .ldb = d, .ldc = d}, precision, z, w.data,
                     dx.data + begin * d);  // dx = dlogits w
            multiply(
                {.transpose_a = true, .m = v, .n = d, .k = n, .lda = v, .ldb = d, .ldc = d, .accumulate = begin > 0},
                precision, z, x_of, dw.data);  // dw = dlogitsᵀ x
        }
        *y.data = static_cast<T>(total / counted);
    }
    void vjp(Grad<0, T> dx, Saved<0, T> unit, Cotangent<T> dy) const { scaled(dx, unit, dy); }
    void vjp(Grad<1, T> dw, Saved<1, T> unit, Cotangent<T> dy) const { scaled(dw, unit, dy); }

private:
    static void scaled(const detail::Destination<T>& to, const View<T>& unit, const View<T>& dy) {
        detail::map_backward<T>(
            to, to.shape, [](const auto& g, const auto& by) { return g * by; }, unit, dy);
    }
};

}  // namespace

template <Real T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Indices& targets, CrossEntropyOptions options, Where where) {
    return apply<T>(CrossEntropy<T>{options}, where, logits, targets);
}

template <Real T>
Tensor<T> linear_cross_entropy(const Tensor<T>& x, const Tensor<T>& w, const Indices& targets,
                               CrossEntropyOptions options, Where where) {
    if (Tape<T>::recording() != nullptr)
        return apply<T>(LinearCrossEntropy<T>{options, product_precision()}, where, x, w, targets);
    located(where, [&] { return logits_shape(x.shape(), w.shape()); });
    return cross_entropy(matmul(x, w, {.transpose_b = true}, where), targets, options, where);
}

template Tensor<float> cross_entropy(const Tensor<float>&, const Indices&, CrossEntropyOptions, Where);
template Tensor<double> cross_entropy(const Tensor<double>&, const Indices&, CrossEntropyOptions, Where);
template Tensor<float> linear_cross_entropy(const Tensor<float>&, const Tensor<float>&, const Indices&,
                                            CrossEntropyOptions, Where);
template Tensor<double> linear_cross_entropy(const Tensor<double>&, const Tensor<double>&, const Indices&,
                                             CrossEntropyOptions, Where);

}  // namespace xtape
