// Affine maps, and products that end in an activation.

#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/kernels/norm.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/product.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

/// The shape of x W + bias, or of x W where there is no bias.
Shape affine_shape(MatmulOptions options, const Shape& x, const Shape& weight, const Shape* bias) {
    if (weight.rank() != 2)
        throw ShapeError(fmt::format("linear: the weight must be a matrix: weight is {}", to_string(weight)));
    const Shape y = product_shape({"linear", "x", "weight", ", bias"}, options, x, weight);
    if (bias != nullptr && (bias->rank() != 1 || (*bias)[0] != y.columns()))
        throw ShapeError(fmt::format("linear: the bias does not fit the result's columns: bias is {}, the result is {}",
                                     to_string(*bias), to_string(y)));
    return y;
}

template <class T> void backward_bias(const detail::Destination<T>& dbias, Index rows, const T* dy) {
    kernels::add_rows(rows, dbias.shape.size(), dy, dbias.data, dbias.accumulate);  // dbias = Σ over rows of dy
}

template <class T> struct Linear {
    static constexpr std::string_view name = "linear";
    MatmulOptions options;
    Precision precision = product_precision();

    Shape shape(const Shape& x, const Shape& weight, const Shape& bias) const {
        return affine_shape(options, x, weight, &bias);
    }

    void forward(View<T> x, View<T> weight, View<T> bias, Out<T> y) const {
        Product(options, precision, x.shape, weight.shape).forward(x.data, weight.data, y.data, bias.data);
    }
    void vjp(Grad<0, T> dx, Input<1, T> weight, Cotangent<T> dy) const {
        Product(options, precision, dx.shape, weight.shape).backward_a(dx, weight.data, dy.data);  // dx = dy Wᵀ
    }
    void vjp(Grad<1, T> dw, Input<0, T> x, Cotangent<T> dy) const {
        Product(options, precision, x.shape, dw.shape).backward_b(dw, x.data, dy.data);  // dW = xᵀ dy
    }
    void vjp(Grad<2, T> dbias, Cotangent<T> dy) const { backward_bias(dbias, dy.shape.rows(), dy.data); }
};

/// The relu of x W + bias, or of x W.
template <class T> struct LinearRelu {
    static constexpr std::string_view name = "linear_relu";
    static constexpr std::array optional{2};
    MatmulOptions options;
    Precision precision = product_precision();

    Shape shape(const Shape& x, const Shape& weight, const Shape& bias) const {
        return affine_shape(options, x, weight, &bias == &detail::no_shape ? nullptr : &bias);
    }

    void forward(View<T> x, View<T> weight, View<T> bias, Out<T> y) const {
        Product(options, precision, x.shape, weight.shape).forward(x.data, weight.data, y.data, bias.data, true);
    }
    void vjp(Grad<0, T> dx, Grad<1, T> dw, Grad<2, T> dbias, Input<0, T> x, Input<1, T> weight, Output<T> y,
             Cotangent<T> dy) const {
        const Product product(options, precision, x.shape, weight.shape);
        const auto passed = Tensor<T>::unwritten(dy.shape);
        const auto where_positive = [](const kernels::Batch<T>& value, const kernels::Batch<T>& g) {
            const kernels::Batch<T> zero(T(0));
            return select(value > zero, g, zero);
        };
        detail::map_forward(detail::out(passed), where_positive, View<T>(y), View<T>(dy));  // dz = [y > 0] dy
        if (dx) product.backward_a(dx, weight.data, passed.data());                         // dx = dz Wᵀ
        if (dw) product.backward_b(dw, x.data, passed.data());                              // dW = xᵀ dz
        if (dbias) backward_bias(dbias, dy.shape.rows(), passed.data());
    }
};

}  // namespace

template <Real T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, LinearOptions options,
                 Where where) {
    const MatmulOptions transposes{options.transpose_a, options.transpose_b};
    if (options.activation == Activation::relu) return apply<T>(LinearRelu<T>{transposes}, where, x, weight, bias);
    const Tensor<T> z =
        bias ? apply<T>(Linear<T>{transposes}, where, x, weight, bias) : matmul(x, weight, transposes, where);
    if (options.activation == Activation::silu) return silu(z, where);
    if (options.activation == Activation::gelu) return gelu(z, Gelu::tanh, where);
    return z;
}

template Tensor<float> linear(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&, LinearOptions, Where);
template Tensor<double> linear(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&, LinearOptions,
                               Where);

}  // namespace xtape
