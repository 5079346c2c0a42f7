// Root mean square norms.

#include <xtape/engine/kernels/norm.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

/// Throws for a row that has no mean, or an eps that makes no sense.
void check_rows(const Shape& x, double eps) {
    if (x.rank() == 0 || x.columns() == 0)
        throw ValueError(fmt::format("rms_norm: the mean of an empty row: x is {}", to_string(x)));
    if (!(eps >= 0)) throw ValueError(fmt::format("rms_norm: eps must not be negative: eps is {}", eps));
}

template <class T> struct RmsNorm {
    static constexpr std::string_view name = "rms_norm";
    double eps;

    Shape shape(const Shape& x) const { return check_rows(x, eps), x; }
    std::array<Shape, 1> saved(const Shape& x) const { return {Shape{x.rows()}}; }

    void forward(View<T> x, Out<T> y, Out<T> rstd) const {
        kernels::rms_norm<T>(rstd.size(), x.shape.columns(), eps, x.data, nullptr, y.data, rstd.data);
    }
    void vjp(Grad<0, T> dx, Input<0, T> x, Saved<0, T> rstd, Cotangent<T> dy) const {
        kernels::rms_norm_backward<T>(rstd.size(), x.shape.columns(), x.data, nullptr, rstd.data, dy.data, dx.data,
                                      dx.accumulate);  // dx = rstd (dy − x̂ mean(dy x̂)), x̂ = x rstd
    }
};

template <class T> struct WeightedRmsNorm {
    static constexpr std::string_view name = "rms_norm";
    double eps;

    Shape shape(const Shape& x, const Shape& weight) const {
        check_rows(x, eps);
        if (weight.rank() != 1 || weight[0] != x.columns())
            throw ShapeError(fmt::format("rms_norm: the weight does not fit the rows: x is {}, weight is {}",
                                         to_string(x), to_string(weight)));
        return x;
    }
    std::array<Shape, 1> saved(const Shape& x, const Shape&) const { return {Shape{x.rows()}}; }

    void forward(View<T> x, View<T> weight, Out<T> y, Out<T> rstd) const {
        kernels::rms_norm(rstd.size(), x.shape.columns(), eps, x.data, weight.data, y.data, rstd.data);
    }
    void vjp(Grad<0, T> dx, Input<0, T> x, Input<1, T> weight, Saved<0, T> rstd, Cotangent<T> dy) const {
        kernels::rms_norm_backward(rstd.size(), x.shape.columns(), x.data, weight.data, rstd.data, dy.data, dx.data,
                                   dx.accumulate);  // dx = rstd (g − x̂ mean(g x̂)), g = w ⊙ dy
    }
    void vjp(Grad<1, T> dw, Input<0, T> x, Saved<0, T> rstd, Cotangent<T> dy) const {
        kernels::rms_norm_backward_weight(rstd.size(), x.shape.columns(), x.data, rstd.data, dy.data, dw.data,
                                          dw.accumulate);  // dw = Σ over rows of dy ⊙ x̂
    }
};

}  // namespace

template <Real T> Tensor<T> rms_norm(const Tensor<T>& x, double eps, Where where) {
    return apply<T>(RmsNorm<T>{eps}, where, x);
}

template <Real T> Tensor<T> rms_norm(const Tensor<T>& x, const Tensor<T>& weight, double eps, Where where) {
    return apply<T>(WeightedRmsNorm<T>{eps}, where, x, weight);
}

template Tensor<float> rms_norm(const Tensor<float>&, double, Where);
template Tensor<double> rms_norm(const Tensor<double>&, double, Where);
template Tensor<float> rms_norm(const Tensor<float>&, const Tensor<float>&, double, Where);
template Tensor<double> rms_norm(const Tensor<double>&, const Tensor<double>&, double, Where);

}  // namespace xtape
