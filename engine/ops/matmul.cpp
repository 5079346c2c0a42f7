// Matrix products.

#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>
#include <xtape/engine/ops/product.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

/// The leading axes of a stack of matrices.
Shape leading(const Shape& shape) {
    return Shape(std::span(shape.begin(), static_cast<std::size_t>(std::max(0, shape.rank() - 2))));
}

/// Throws for two shapes, and says which operand would fit the other way round.
[[noreturn]] void fail(const OperandNames& names, MatmulOptions options, const Shape& a, const Shape& b,
                       std::string_view wrong, bool a_would_fit = false, bool b_would_fit = false) {
    std::string hint;
    if (b_would_fit && !options.transpose_b)
        hint = fmt::format("; did you mean {}({}, transpose({}){})?", names.op, names.a, names.b, names.rest);
    else if (a_would_fit && !options.transpose_a)
        hint = fmt::format("; did you mean {}(transpose({}), {}{})?", names.op, names.a, names.b, names.rest);
    throw ShapeError(fmt::format("{}: {}: {} is {}{}, {} is {}{}{}", names.op, wrong, names.a, to_string(a),
                                 options.transpose_a ? " transposed" : "", names.b, to_string(b),
                                 options.transpose_b ? " transposed" : "", hint));
}

}  // namespace

Shape product_shape(const OperandNames& names, MatmulOptions options, const Shape& a, const Shape& b) {
    const bool row = a.rank() == 1 && b.rank() == 2 && !options.transpose_a;
    if (b.rank() < 2 || (a.rank() < 2 && !row)) fail(names, options, a, b, "a matrix needs two axes");
    const Index a_rows = row ? 1 : a[options.transpose_a ? -1 : -2], a_columns = a[options.transpose_a ? -2 : -1];
    const Index b_rows = b[options.transpose_b ? -1 : -2], b_columns = b[options.transpose_b ? -2 : -1];
    if (a_columns != b_rows)
        fail(names, options, a, b, "inner dimensions differ", a_rows == b_rows, a_columns == b_columns);
    if (row) return {b_columns};
    if (a.rank() == 2 && b.rank() == 2) return {a_rows, b_columns};
    if (b.rank() == 2) return a.with(a.rank() - 2, a_rows).with(a.rank() - 1, b_columns);
    try {
        const Shape axes = broadcast(names.op, leading(a), leading(b));
        return axes.inserted(axes.rank(), a_rows).inserted(axes.rank() + 1, b_columns);
    } catch (const ShapeError&) {
        fail(names, options, a, b, "leading axes do not broadcast");
    }
}

namespace {

template <class T> struct Matmul {
    static constexpr std::string_view name = "matmul";
    MatmulOptions options;
    Precision precision = product_precision();

    Shape shape(const Shape& a, const Shape& b) const { return product_shape({"matmul", "a", "b", ""}, options, a, b); }

    void forward(View<T> a, View<T> b, Out<T> y) const {
        Product(options, precision, a.shape, b.shape).forward(a.data, b.data, y.data);
    }
    void vjp(Grad<0, T> da, Input<1, T> b, Cotangent<T> dy) const {
        Product(options, precision, da.shape, b.shape).backward_a(da, b.data, dy.data);  // da = dy bᵀ
    }
    void vjp(Grad<1, T> db, Input<0, T> a, Cotangent<T> dy) const {
        Product(options, precision, a.shape, db.shape).backward_b(db, a.data, dy.data);  // db = aᵀ dy
    }
};

}  // namespace

template <Real T> Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, MatmulOptions options, Where where) {
    const Matmul<T> op{options};
    const auto repeated = [&](const Tensor<T>& x, const Shape& axes) {
        const Shape whole = axes.inserted(axes.rank(), x.shape()[-2]).inserted(axes.rank() + 1, x.shape()[-1]);
        return x.shape() == whole ? x : broadcast_to(x, whole, where);
    };
    if (b.shape().rank() <= 2 || a.shape().rank() < 2 || leading(a.shape()) == leading(b.shape()))
        return apply<T>(op, where, a, b);
    const Shape axes = located(where, [&] { return leading(op.shape(a.shape(), b.shape())); });
    return apply<T>(op, where, repeated(a, axes), repeated(b, axes));
}

template Tensor<float> matmul(const Tensor<float>&, const Tensor<float>&, MatmulOptions, Where);
template Tensor<double> matmul(const Tensor<double>&, const Tensor<double>&, MatmulOptions, Where);

}  // namespace xtape
