// Softmax and its kin, over the last axis.

#include <xtape/engine/kernels/softmax.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

/// Throws for a scalar, which has no rows.
void check_rank(std::string_view op, const Shape& x) {
    if (x.rank() == 0) throw ShapeError(fmt::format("{}: a scalar has no rows: x is {}", op, to_string(x)));
}

template <class T> struct Softmax {
    static constexpr std::string_view name = "softmax";

    Shape shape(const Shape& x) const { return check_rank(name, x), x; }
    void forward(View<T> x, Out<T> y) const { kernels::softmax(x.shape.rows(), x.shape.columns(), x.data, y.data); }
    void vjp(Grad<0, T> dx, Output<T> y, Cotangent<T> dy) const {
        kernels::softmax_backward(y.shape.rows(), y.shape.columns(), y.data, dy.data, dx.data,
                                  dx.accumulate);  // dx = y (dy − Σ dy y)
    }
};

template <class T> struct LogSoftmax {
    static constexpr std::string_view name = "log_softmax";

    Shape shape(const Shape& x) const { return check_rank(name, x), x; }
    void forward(View<T> x, Out<T> y) const { kernels::log_softmax(x.shape.rows(), x.shape.columns(), x.data, y.data); }
    void vjp(Grad<0, T> dx, Output<T> y, Cotangent<T> dy) const {
        kernels::log_softmax_backward(y.shape.rows(), y.shape.columns(), y.data, dy.data, dx.data,
                                      dx.accumulate);  // dx = dy − e^y Σ dy
    }
};

template <class T> struct LogSumExp {
    static constexpr std::string_view name = "logsumexp";

    Shape shape(const Shape& x) const { return check_rank(name, x), x.without(x.rank() - 1); }
    void forward(View<T> x, Out<T> y) const { kernels::logsumexp(y.size(), x.shape.columns(), x.data, y.data); }
    void vjp(Grad<0, T> dx, Input<0, T> x, Output<T> y, Cotangent<T> dy) const {
        kernels::logsumexp_backward(y.size(), x.shape.columns(), x.data, y.data, dy.data, dx.data,
                                    dx.accumulate);  // dx = e^(x − y) dy
    }
};

}  // namespace

template <Real T> Tensor<T> softmax(const Tensor<T>& x, Where where) { return apply<T>(Softmax<T>{}, where, x); }

template <Real T> Tensor<T> log_softmax(const Tensor<T>& x, Where where) { return apply<T>(LogSoftmax<T>{}, where, x); }

template <Real T> Tensor<T> logsumexp(const Tensor<T>& x, Where where) { return apply<T>(LogSumExp<T>{}, where, x); }

template Tensor<float> softmax(const Tensor<float>&, Where);
template Tensor<double> softmax(const Tensor<double>&, Where);
template Tensor<float> log_softmax(const Tensor<float>&, Where);
template Tensor<double> log_softmax(const Tensor<double>&, Where);
template Tensor<float> logsumexp(const Tensor<float>&, Where);
template Tensor<double> logsumexp(const Tensor<double>&, Where);

}  // namespace xtape
