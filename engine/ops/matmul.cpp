// Matrix products. `Product` says how one gemm serves an operand's stacked matrices, forward and in both vjps.

#include <xtape/engine/kernels/norm.hpp>
#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>
#include <xtape/engine/ops/product.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

using kernels::Gemm;

/// y = op(a) op(b) for matrices of m x k and k x n, `count` of them one behind the other. A 2-D b serves them all: then
/// an a that is not transposed is one tall matrix.
struct Product {
    bool transpose_a, transpose_b;
    Index count = 1, m = 1, n, k;
    bool one_b;
    Precision precision;

    Product(MatmulOptions options, Precision precision, const Shape& a, const Shape& b)
        : transpose_a(options.transpose_a),
          transpose_b(options.transpose_b),
          one_b(b.rank() == 2),
          precision(precision) {
        n = b[transpose_b ? -2 : -1];
        k = b[transpose_b ? -1 : -2];
        if (one_b && !transpose_a) {
            m = a.rows();
        } else {
            m = a[transpose_a ? -1 : -2];
            for (int axis = 0; axis < a.rank() - 2; ++axis) count *= a[axis];
        }
    }

    /// z_i (+)= x_i' y_i' for each matrix of the stacks, whose steps are 0 where one matrix serves all. A single z
    /// sums.
    template <class T>
    void run(Gemm shape, const T* x, Index x_step, const T* y, Index y_step, T* z, Index z_step,
             const T* bias = nullptr) const {
        if (count == 1) return multiply(shape, precision, x, y, z, bias);
        const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        const bool threaded =
            z_step != 0 && !kernels::worth_threads(flops) && kernels::worth_threads(flops * static_cast<double>(count));
        const bool sums = z_step == 0 && !shape.accumulate;
        kernels::parallel_for(count, 1, threaded, [&](Index i, Index) {
            Gemm one = shape;
            one.accumulate = shape.accumulate || (sums && i > 0);
            kernels::gemm(one, x + i * x_step, y + i * y_step, z + i * z_step, bias);
        });
        if (sums && count == 0) std::fill_n(z, shape.m * shape.n, T(0));
    }

    Index a_row() const { return transpose_a ? m : k; }
    Index b_row() const { return transpose_b ? k : n; }
    Index b_step() const { return one_b ? 0 : k * n; }

    template <class T> void forward(const T* a, const T* b, T* y, const T* bias = nullptr) const {
        const Gemm gemm{.transpose_a = transpose_a,
                        .transpose_b = transpose_b,
                        .m = m,
                        .n = n,
                        .k = k,
                        .lda = a_row(),
                        .ldb = b_row(),
                        .ldc = n};
        run(gemm, a, m * k, b, b_step(), y, m * n, bias);
    }

    template <class T> void backward_a(const detail::Destination<T>& da, const T* b, const T* dy) const {
        if (transpose_a) {  // daᵀ = dy op(b)ᵀ
            const Gemm gemm{.transpose_a = transpose_b,
                            .transpose_b = true,
                            .m = k,
                            .n = m,
                            .k = n,
                            .lda = b_row(),
                            .ldb = n,
                            .ldc = m,
                            .accumulate = da.accumulate};
            run(gemm, b, b_step(), dy, m * n, da.data, m * k);
        } else {  // da = dy op(b)ᵀ
            const Gemm gemm{.transpose_b = !transpose_b,
                            .m = m,
                            .n = k,
                            .k = n,
                            .lda = n,
                            .ldb = b_row(),
                            .ldc = k,
                            .accumulate = da.accumulate};
            run(gemm, dy, m * n, b, b_step(), da.data, m * k);
        }
    }

    template <class T> void backward_b(const detail::Destination<T>& db, const T* a, const T* dy) const {
        if (transpose_b) {  // dbᵀ = op(a)ᵀ dy
            const Gemm gemm{.transpose_a = true,
                            .transpose_b = transpose_a,
                            .m = n,
                            .n = k,
                            .k = m,
                            .lda = n,
                            .ldb = a_row(),
                            .ldc = k,
                            .accumulate = db.accumulate};
            run(gemm, dy, m * n, a, m * k, db.data, b_step());
        } else {  // db = op(a)ᵀ dy
            const Gemm gemm{.transpose_a = !transpose_a,
                            .m = k,
                            .n = n,
                            .k = m,
                            .lda = a_row(),
                            .ldb = n,
                            .ldc = n,
                            .accumulate = db.accumulate};
            run(gemm, a, m * k, dy, m * n, db.data, b_step());
        }
    }
};

/// The leading axes of a stack of matrices.
Shape leading(const Shape& shape) {
    return Shape(std::span(shape.begin(), static_cast<std::size_t>(std::max(0, shape.rank() - 2))));
}

/// How an op calls its operands, in the text of an error.
struct Names {
    const char *op, *a, *b, *rest;
};

/// Throws for two shapes, and says which operand would fit the other way round.
[[noreturn]] void fail(const Names& names, MatmulOptions options, const Shape& a, const Shape& b,
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

/// The shape of op(a) op(b).
Shape product_shape(const Names& names, MatmulOptions options, const Shape& a, const Shape& b) {
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

template <class T> struct Linear {
    static constexpr std::string_view name = "linear";
    MatmulOptions options;
    Precision precision = product_precision();

    Shape shape(const Shape& x, const Shape& weight, const Shape& bias) const {
        if (weight.rank() != 2)
            throw ShapeError(fmt::format("linear: the weight must be a matrix: weight is {}", to_string(weight)));
        const Shape y = product_shape({"linear", "x", "weight", ", bias"}, options, x, weight);
        if (bias.rank() != 1 || bias[0] != y.columns())
            throw ShapeError(
                fmt::format("linear: the bias does not fit the result's columns: bias is {}, the result is {}",
                            to_string(bias), to_string(y)));
        return y;
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
    void vjp(Grad<2, T> dbias, Cotangent<T> dy) const {  // dbias = Σ over rows of dy
        kernels::add_rows(dy.shape.rows(), dbias.shape.size(), dy.data, dbias.data, dbias.accumulate);
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

template <Real T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, MatmulOptions options,
                 Where where) {
    if (!bias) return matmul(x, weight, options, where);
    return apply<T>(Linear<T>{options}, where, x, weight, bias);
}

template Tensor<float> matmul(const Tensor<float>&, const Tensor<float>&, MatmulOptions, Where);
template Tensor<double> matmul(const Tensor<double>&, const Tensor<double>&, MatmulOptions, Where);
template Tensor<float> linear(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&, MatmulOptions, Where);
template Tensor<double> linear(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&, MatmulOptions,
                               Where);

}  // namespace xtape
