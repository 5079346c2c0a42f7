// Losses of single rows and elements, and their weighted means.

#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/kernels/cross_entropy.hpp>
#include <xtape/engine/kernels/rows.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/targets.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

using kernels::constant;

/// log(1 + e^s) − y s = ([s > 0] − y) s + log(1 + e^−|s|), which neither overflows nor cancels.
struct LogitEntropy {
    static constexpr std::string_view name = "binary_cross_entropy_with_logits";
    template <class V> static V step(const V& s) { return select(s > V(0), V(1), V(0)); }
    template <class V> V f(const V& s, const V& y) const { return (step(s) - y) * s + log1p(exp(-abs(s))); }
    template <class V> V da_ab(const V& s, const V& y) const {
        const V tail = V(1) / (V(1) + exp(abs(s)));            // σ(−|s|)
        return (step(s) - y) + select(s > V(0), -tail, tail);  // ∂ℓ/∂s = σ(s) − y
    }
    template <class V> V db_a(const V& s) const { return -s; }  // ∂ℓ/∂y = −s
};

/// −y log p − (1 − y) log(1 − p), p clamped.
struct ProbabilityEntropy {
    static constexpr std::string_view name = "binary_cross_entropy";
    template <class V> static V low() { return constant<V>(1e-7); }
    template <class V> static V high() { return constant<V>(1 - 1e-7); }
    template <class V> static V clamped(const V& p) {
        return select(p < low<V>(), low<V>(), select(p > high<V>(), high<V>(), p));
    }
    template <class V> V f(const V& p, const V& y) const {
        const V q = clamped(p);
        return -(y * log(q) + (V(1) - y) * log1p(-q));
    }
    template <class V> V da_ab(const V& p, const V& y) const {
        const V slope = (p - y) / (p * (V(1) - p));  // ∂ℓ/∂p = (p − y) / (p (1 − p))
        return select(p < low<V>() || p > high<V>(), V(0), slope);
    }
    template <class V> V db_a(const V& p) const {
        const V q = clamped(p);
        return log1p(-q) - log(q);  // ∂ℓ/∂y = log(1 − p) − log p
    }
};

struct SquaredDifference {
    static constexpr std::string_view name = "mean_squared_error";
    template <class V> V f(const V& x, const V& y) const { return (x - y) * (x - y); }
    template <class V> V da_ab(const V& x, const V& y) const { return V(2) * (x - y); }  // ∂ℓ/∂x = 2 (x − y)
    template <class V> V db_ab(const V& x, const V& y) const { return V(2) * (y - x); }  // ∂ℓ/∂y = 2 (y − x)
};

/// Throws unless two operands have one shape, of some elements.
void check_pair(std::string_view op, std::string_view a_name, const Shape& a, std::string_view b_name, const Shape& b) {
    if (a != b)
        throw ShapeError(fmt::format("{}: {} and {} must have the same shape: {} is {}, {} is {}", op, a_name, b_name,
                                     a_name, to_string(a), b_name, to_string(b)));
    if (a.size() == 0) throw ValueError(fmt::format("{}: the mean of nothing: {} is {}", op, a_name, to_string(a)));
}

/// The mean of w ℓ(x, y), for targets y in [0, 1].
template <class Loss, class T>
Tensor<T> weighted_mean(std::string_view x_name, const Tensor<T>& x, const Tensor<T>& y, const Tensor<T>& weights,
                        Where where) {
    located(where, [&] {
        check_pair(Loss::name, x_name, x.shape(), "targets", y.shape());
        if (weights) check_pair(Loss::name, x_name, x.shape(), "weights", weights.shape());
        for (Index i = 0; i < y.size(); ++i) {
            if (!(y.data()[i] >= 0 && y.data()[i] <= 1))
                throw ValueError(
                    fmt::format("{}: target {} at {} is outside [0, 1]", Loss::name, y.data()[i], place(y.shape(), i)));
        }
    });
    const Tensor<T> losses = elementwise(Loss{}, where, x, y);
    return mean(weights ? mul(weights, losses, where) : losses, {}, false, where);
}

template <class T> struct RowCrossEntropy {
    static constexpr std::string_view name = "row_cross_entropy";
    CrossEntropyOptions options;

    Shape shape(const Shape& logits, const Indices& targets) const {
        check_targets(name, logits, targets, options);
        return targets.shape();
    }
    std::array<Shape, 1> saved(const Shape&, const Indices& targets) const { return {targets.shape()}; }

    void forward(View<T> logits, View<std::int32_t> targets, Out<T> y, Out<T> lse) const {
        const Index columns = logits.shape.columns();
        kernels::each_row<T>(y.size(), columns, [&](Index row) {
            y.data[row] = static_cast<T>(kernels::cross_entropy(one_of(columns), logits.data + row * columns,
                                                                targets.data + row, lse.data + row));
        });
    }
    void vjp(Grad<0, T> dlogits, Input<0, T> logits, Input<1, std::int32_t> targets, Saved<0, T> lse,
             Cotangent<T> dy) const {
        const Index columns = logits.shape.columns();
        kernels::each_row<T>(dy.size(), columns, [&](Index row) {
            kernels::cross_entropy_backward(one_of(columns), logits.data + row * columns, targets.data + row,
                                            lse.data + row, dy.data[row], dlogits.data + row * columns,
                                            dlogits.accumulate);  // dlogits = (softmax(logits) − target) dy
        });
    }

private:
    kernels::CrossEntropy one_of(Index columns) const {
        return {1, columns, options.ignore_index, options.label_smoothing};
    }
};

}  // namespace

template <Real T>
Tensor<T> row_cross_entropy(const Tensor<T>& logits, const Indices& targets, CrossEntropyOptions options, Where where) {
    return apply<T>(RowCrossEntropy<T>{options}, where, logits, targets);
}

template <Real T>
Tensor<T> binary_cross_entropy_with_logits(const Tensor<T>& logits, const Tensor<T>& targets, const Tensor<T>& weights,
                                           Where where) {
    return weighted_mean<LogitEntropy>("logits", logits, targets, weights, where);
}

template <Real T>
Tensor<T> binary_cross_entropy(const Tensor<T>& probabilities, const Tensor<T>& targets, const Tensor<T>& weights,
                               Where where) {
    return weighted_mean<ProbabilityEntropy>("probabilities", probabilities, targets, weights, where);
}

template <Real T> Tensor<T> mean_squared_error(const Tensor<T>& x, const Tensor<T>& y, Where where) {
    located(where, [&] { check_pair("mean_squared_error", "x", x.shape(), "y", y.shape()); });
    return mean(elementwise(SquaredDifference{}, where, x, y), {}, false, where);
}

template Tensor<float> row_cross_entropy(const Tensor<float>&, const Indices&, CrossEntropyOptions, Where);
template Tensor<double> row_cross_entropy(const Tensor<double>&, const Indices&, CrossEntropyOptions, Where);
template Tensor<float> binary_cross_entropy_with_logits(const Tensor<float>&, const Tensor<float>&,
                                                        const Tensor<float>&, Where);
template Tensor<double> binary_cross_entropy_with_logits(const Tensor<double>&, const Tensor<double>&,
                                                         const Tensor<double>&, Where);
template Tensor<float> binary_cross_entropy(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> binary_cross_entropy(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&,
                                             Where);
template Tensor<float> mean_squared_error(const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> mean_squared_error(const Tensor<double>&, const Tensor<double>&, Where);

}  // namespace xtape
