// Norms of rows: by their root mean square, and by their mean and variance.

#include <xtape/engine/kernels/norm.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

/// Throws for a row that has no mean, or an eps that makes no sense.
void check_rows(std::string_view op, const Shape& x, double eps) {
    if (x.rank() == 0 || x.columns() == 0)
        throw ValueError(fmt::format("{}: the mean of an empty row: x is {}", op, to_string(x)));
    if (!(eps >= 0)) throw ValueError(fmt::format("{}: eps must not be negative: eps is {}", op, eps));
}

/// Throws for a weight or a bias that is not one row.
void check_row_of(std::string_view op, std::string_view name, const Shape& x, const Shape& row) {
    if (row.rank() != 1 || row[0] != x.columns())
        throw ShapeError(fmt::format("{}: the {} does not fit the rows: x is {}, {} is {}", op, name, to_string(x),
                                     name, to_string(row)));
}

template <class T> struct RmsNorm {
    static constexpr std::string_view name = "rms_norm";
    static constexpr bool recomputable = true;
    double eps;

    Shape shape(const Shape& x) const { return check_rows(name, x, eps), x; }
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
    static constexpr bool recomputable = true;
    double eps;

    Shape shape(const Shape& x, const Shape& weight) const {
        check_rows(name, x, eps);
        check_row_of(name, "weight", x, weight);
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

template <class T> struct LayerNorm {
    static constexpr std::string_view name = "layer_norm";
    static constexpr bool recomputable = true;
    double eps;

    Shape shape(const Shape& x) const { return check_rows(name, x, eps), x; }
    std::array<Shape, 2> saved(const Shape& x) const { return {Shape{x.rows()}, Shape{x.rows()}}; }

    void forward(View<T> x, Out<T> y, Out<T> mean, Out<T> rstd) const {
        kernels::layer_norm<T>(mean.size(), x.shape.columns(), eps, x.data, nullptr, nullptr, y.data, mean.data,
                               rstd.data);
    }
    void vjp(Grad<0, T> dx, Input<0, T> x, Saved<0, T> mean, Saved<1, T> rstd, Cotangent<T> dy) const {
        kernels::layer_norm_backward<T>(
            mean.size(), x.shape.columns(), x.data, nullptr, mean.data, rstd.data, dy.data, dx.data,
            dx.accumulate);  // dx = rstd (dy − mean(dy) − x̂ mean(dy x̂)), x̂ = (x − mean) rstd
    }
};

template <class T> struct WeightedLayerNorm {
    static constexpr std::string_view name = "layer_norm";
    static constexpr bool recomputable = true;
    double eps;

    Shape shape(const Shape& x, const Shape& weight, const Shape& bias) const {
        check_rows(name, x, eps);
        check_row_of(name, "weight", x, weight);
        check_row_of(name, "bias", x, bias);
        return x;
    }
    std::array<Shape, 2> saved(const Shape& x, const Shape&, const Shape&) const {
        return {Shape{x.rows()}, Shape{x.rows()}};
    }

    void forward(View<T> x, View<T> weight, View<T> bias, Out<T> y, Out<T> mean, Out<T> rstd) const {
        kernels::layer_norm(mean.size(), x.shape.columns(), eps, x.data, weight.data, bias.data, y.data, mean.data,
                            rstd.data);
    }
    void vjp(Grad<0, T> dx, Input<0, T> x, Input<1, T> weight, Saved<0, T> mean, Saved<1, T> rstd,
             Cotangent<T> dy) const {
        kernels::layer_norm_backward(mean.size(), x.shape.columns(), x.data, weight.data, mean.data, rstd.data, dy.data,
                                     dx.data,
                                     dx.accumulate);  // dx = rstd (g − mean(g) − x̂ mean(g x̂)), g = w ⊙ dy
    }
    void vjp(Grad<1, T> dw, Input<0, T> x, Saved<0, T> mean, Saved<1, T> rstd, Cotangent<T> dy) const {
        kernels::layer_norm_backward_weight(mean.size(), x.shape.columns(), x.data, mean.data, rstd.data, dy.data,
                                            dw.data, dw.accumulate);  // dw = Σ over rows of dy ⊙ x̂
    }
    void vjp(Grad<2, T> db, Cotangent<T> dy) const {
        kernels::add_rows(dy.shape.rows(), dy.shape.columns(), dy.data, db.data, db.accumulate);  // db = Σ dy
    }
};

}  // namespace

template <Real T> Tensor<T> rms_norm(const Tensor<T>& x, double eps, Where where) {
    return apply<T>(RmsNorm<T>{eps}, where, x);
}

template <Real T> Tensor<T> rms_norm(const Tensor<T>& x, const Tensor<T>& weight, double eps, Where where) {
    return apply<T>(WeightedRmsNorm<T>{eps}, where, x, weight);
}

template <Real T> Tensor<T> layer_norm(const Tensor<T>& x, double eps, Where where) {
    return apply<T>(LayerNorm<T>{eps}, where, x);
}

template <Real T>
Tensor<T> layer_norm(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, double eps, Where where) {
    return apply<T>(WeightedLayerNorm<T>{eps}, where, x, weight, bias);
}

template Tensor<float> rms_norm(const Tensor<float>&, double, Where);
template Tensor<double> rms_norm(const Tensor<double>&, double, Where);
template Tensor<float> rms_norm(const Tensor<float>&, const Tensor<float>&, double, Where);
template Tensor<double> rms_norm(const Tensor<double>&, const Tensor<double>&, double, Where);
template Tensor<float> layer_norm(const Tensor<float>&, double, Where);
template Tensor<double> layer_norm(const Tensor<double>&, double, Where);
template Tensor<float> layer_norm(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&, double, Where);
template Tensor<double> layer_norm(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&, double, Where);

}  // namespace xtape
