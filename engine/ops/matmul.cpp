// Matrix products, with a bias or a relu in the same pass.

#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/kernels/norm.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>
#include <xtape/engine/ops/product.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

constexpr OperandNames matmul_names{"matmul", "a", "b", ""};

/// dz = [y > 0] dy, for y = max(z, 0). dz may be dy's own array.
template <class T> void relu_vjp(Out<T> dz, const View<T>& y, const View<T>& dy) {
    const auto slope = [](const kernels::Batch<T>& v) { return kernels::relu_slope(v); };
    detail::map_slope<T>({dz.data, dz.shape, false}, dy, slope, y);
}

constexpr std::string_view linear_name(bool relu) { return relu ? "linear_relu" : "linear"; }

/// The shape of x W. `rest` is what else a call of linear has, in the text of an error.
Shape linear_shape(MatmulOptions options, const Shape& x, const Shape& weight, const char* rest) {
    if (weight.rank() != 2)
        throw ShapeError(fmt::format("linear: the weight must be a matrix: weight is {}", to_string(weight)));
    return product_shape({"linear", "x", "weight", rest}, options, x, weight);
}

/// matmul, or linear without a bias.
template <class T, bool Relu, bool IsLinear> struct Matmul {
    static constexpr std::string_view name = IsLinear ? linear_name(Relu) : Relu ? "matmul_relu" : "matmul";
    MatmulOptions options;
    Precision precision = product_precision();

    Shape shape(const Shape& a, const Shape& b) const {
        return IsLinear ? linear_shape(options, a, b, "") : product_shape(matmul_names, options, a, b);
    }

    void forward(View<T> a, View<T> b, Out<T> y) const {
        Product(options, precision, a.shape, b.shape).forward(a.data, b.data, y.data);
    }
    void vjp_epilogue(Out<T> dz, Output<T> y, Cotangent<T> dy) const requires Relu { relu_vjp(dz, y, dy); }
    void vjp(Grad<0, T> da, Input<1, T> b, Cotangent<T> dy) const {
        Product(options, precision, da.shape, b.shape).backward_a(da, b.data, dy.data);  // da = dy bᵀ
    }
    void vjp(Grad<1, T> db, Input<0, T> a, Cotangent<T> dy) const {
        Product(options, precision, a.shape, db.shape).backward_b(db, a.data, dy.data);  // db = aᵀ dy
    }
};

template <class T, bool Relu> struct Linear {
    static constexpr std::string_view name = linear_name(Relu);
    MatmulOptions options;
    Precision precision = product_precision();

    Shape shape(const Shape& x, const Shape& weight, const Shape& bias) const {
        const Shape y = linear_shape(options, x, weight, ", bias");
        if (bias.rank() != 1 || bias[0] != y.columns())
            throw ShapeError(
                fmt::format("linear: the bias does not fit the result's columns: bias is {}, the result is {}",
                            to_string(bias), to_string(y)));
        return y;
    }

    void forward(View<T> x, View<T> weight, View<T> bias, Out<T> y) const {
        Product(options, precision, x.shape, weight.shape).forward(x.data, weight.data, y.data, bias.data);
    }
    void vjp_epilogue(Out<T> dz, Output<T> y, Cotangent<T> dy) const requires Relu { relu_vjp(dz, y, dy); }
    void vjp(Grad<0, T> dx, Input<1, T> weight, Cotangent<T> dy) const {
        Product(options, precision, dx.shape, weight.shape).backward_a(dx, weight.data, dy.data);  // dx = dy Wᵀ
    }
    void vjp(Grad<1, T> dw, Input<0, T> x, Cotangent<T> dy) const {
        Product(options, precision, x.shape, dw.shape).backward_b(dw, x.data, dy.data);  // dW = xᵀ dy
    }
    void vjp(Grad<2, T> dbias, Cotangent<T> dy) const {  // dbias = Σ over rows of dy
        kernels::add_rows(dy.shape.rows(), dbias.shape.size(), dy.data, dbias.data, dbias.accumulate);
    }
};

template <bool IsLinear, class T>
Tensor<T> apply_matmul(const Tensor<T>& a, const Tensor<T>& b, MatmulOptions options, Where where) {
    return options.relu ? apply<T>(Matmul<T, true, IsLinear>{options}, where, a, b)
                        : apply<T>(Matmul<T, false, IsLinear>{options}, where, a, b);
}

}  // namespace

template <Real T> Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, MatmulOptions options, Where where) {
    const auto repeated = [&](const Tensor<T>& x, const Shape& axes) {
        const Shape whole = axes.inserted(axes.rank(), x.shape()[-2]).inserted(axes.rank() + 1, x.shape()[-1]);
        return x.shape() == whole ? x : broadcast_to(x, whole, where);
    };
    if (b.shape().rank() <= 2 || a.shape().rank() < 2 || leading(a.shape()) == leading(b.shape()))
        return apply_matmul<false>(a, b, options, where);
    const Shape axes =
        located(where, [&] { return leading(product_shape(matmul_names, options, a.shape(), b.shape())); });
    return apply_matmul<false>(repeated(a, axes), repeated(b, axes), options, where);
}

template <Real T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, MatmulOptions options,
                 Where where) {
    if (!bias) return apply_matmul<true>(x, weight, options, where);
    return options.relu ? apply<T>(Linear<T, true>{options}, where, x, weight, bias)
                        : apply<T>(Linear<T, false>{options}, where, x, weight, bias);
}

template Tensor<float> matmul(const Tensor<float>&, const Tensor<float>&, MatmulOptions, Where);
template Tensor<double> matmul(const Tensor<double>&, const Tensor<double>&, MatmulOptions, Where);
template Tensor<float> linear(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&, MatmulOptions, Where);
template Tensor<double> linear(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&, MatmulOptions,
                               Where);

}  // namespace xtape
