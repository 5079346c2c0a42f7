// Losses.

#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/kernels/cross_entropy.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
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

/// Logits x wᵀ and their cross entropy, a part of the rows at a time. Where gradients are wanted they are made on the
/// way, for a cotangent of 1, from the logits that are there: later they would take another product.
template <class T> struct LinearCrossEntropy {
    static constexpr std::string_view name = "linear_cross_entropy";
    CrossEntropyOptions options;
    Precision precision;
    bool wants_dx, wants_dw;

    Shape shape(const Shape& x, const Shape& w, const Indices& targets) const {
        return mean_shape(name, logits_shape(x, w), targets, options);
    }
    std::array<Shape, 2> saved(const Shape& x, const Shape& w, const Indices&) const {
        return {wants_dx ? x : Shape{0}, wants_dw ? w : Shape{0}};
    }

    void forward(View<T> x, View<T> w, View<std::int32_t> targets, Out<T> y, Out<T> dx, Out<T> dw) const {
        const Index rows = x.shape.rows(), d = w.shape[1], v = w.shape[0];
        const Index most = most_rows(v), parts = (rows + most - 1) / most;
        const auto counted = static_cast<double>(kernels::counted_rows(part(rows, v), targets.data));
        const auto logits = Tensor<T>::unwritten({(rows + parts - 1) / parts, v});
        double total = 0;
        for (Index begin = 0, p = 0, n; p < parts; ++p, begin += n) {
            n = rows / parts + (p < rows % parts ? 1 : 0);
            const T* const x_of = x.data + begin * d;
            T* const z = logits.body()->data;
            multiply({.transpose_b = true, .m = n, .n = v, .k = d, .lda = d, .ldb = d, .ldc = v}, precision, x_of,
                     w.data, z);
            total += loss(part(n, v), z, targets.data + begin, 1 / counted);
            if (wants_dx)  // dx = dlogits w
                multiply({.m = n, .n = d, .k = v, .lda = v, .ldb = d, .ldc = d}, precision, z, w.data,
                         dx.data + begin * d);
            if (wants_dw)  // dw = dlogitsᵀ x
                multiply(
                    {.transpose_a = true, .m = v, .n = d, .k = n, .lda = v, .ldb = d, .ldc = d, .accumulate = p > 0},
                    precision, z, x_of, dw.data);
        }
        *y.data = static_cast<T>(total / counted);
    }
    void vjp(Grad<0, T> dx, Saved<0, T> unit, Cotangent<T> dy) const { scaled(dx, unit, dy); }
    void vjp(Grad<1, T> dw, Saved<1, T> unit, Cotangent<T> dy) const { scaled(dw, unit, dy); }

private:
    /// Of one part, for so many classes: a million logits, but each part packs w anew and sums into the whole dw, which
    /// few rows would not be worth, the less the quicker the products are.
    Index most_rows(Index classes) const {
        const Index worth = precision == Precision::bf16 ? 1024 : 256;
        return std::max(worth, worth * 4096 / classes);
    }

    kernels::CrossEntropy part(Index rows, Index columns) const {
        return {rows, columns, options.ignore_index, options.label_smoothing};
    }

    /// The sum over the rows; their gradient, times d, takes the place of the logits where it is wanted.
    double loss(const kernels::CrossEntropy& rows, T* logits, const std::int32_t* targets, double d) const {
        const auto kept = Tensor<T>::unwritten({rows.rows});
        T* const lse = kept.body()->data;
        const double sum = kernels::cross_entropy(rows, logits, targets, lse);
        if (wants_dx || wants_dw)
            kernels::cross_entropy_backward(rows, logits, targets, lse, static_cast<T>(d), logits, false);
        return sum;
    }

    static void scaled(const detail::Destination<T>& to, const View<T>& unit, const View<T>& dy) {
        const auto product = [](const auto& g, const auto& by) { return g * by; };
        detail::map_backward<T>(to, to.shape, product, unit, dy);
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
    const auto wants = [tape = Tape<T>::recording()](const Tensor<T>& of) {
        return tape && of && tape->wants_grad(of);
    };
    return apply<T>(LinearCrossEntropy<T>{options, product_precision(), wants(x), wants(w)}, where, x, w, targets);
}

template Tensor<float> cross_entropy(const Tensor<float>&, const Indices&, CrossEntropyOptions, Where);
template Tensor<double> cross_entropy(const Tensor<double>&, const Indices&, CrossEntropyOptions, Where);
template Tensor<float> linear_cross_entropy(const Tensor<float>&, const Tensor<float>&, const Indices&,
                                            CrossEntropyOptions, Where);
template Tensor<double> linear_cross_entropy(const Tensor<double>&, const Tensor<double>&, const Indices&,
                                             CrossEntropyOptions, Where);

}  // namespace xtape
