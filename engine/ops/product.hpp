#pragma once
// Matrix products as ops use them. `Product` says how one gemm serves an operand's stacked matrices, forward and in
// both vjps.

#include <xtape/engine/kernels/gemm.hpp>
#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/precision.hpp>
#include <xtape/engine/tape.hpp>

#include <algorithm>
#include <concepts>
#include <cstdint>

namespace xtape {

/// One gemm, in bf16 where that is wanted and pays.
template <class T>
void multiply(const kernels::Gemm& g, Precision precision, const T* a, const T* b, T* c, const T* bias = nullptr) {
    if constexpr (std::same_as<T, float>) {
        if (precision == Precision::bf16 && kernels::worth_bf16(g)) {
            const auto scratch = Tensor<float>::unwritten({kernels::bf16_scratch(g)});
            return kernels::gemm_bf16(g, a, b, c, bias, reinterpret_cast<std::uint32_t*>(scratch.body()->data));
        }
    }
    kernels::gemm(g, a, b, c, bias);
}

/// y = op(a) op(b) for matrices of m x k and k x n, `count` of them one behind the other. A 2-D b serves them all: then
/// an a that is not transposed is one tall matrix.
struct Product {
    bool transpose_a, transpose_b, relu;
    Index count = 1, m = 1, n, k;
    bool one_b;
    Precision precision;

    Product(MatmulOptions options, Precision precision, const Shape& a, const Shape& b)
        : transpose_a(options.transpose_a),
          transpose_b(options.transpose_b),
          relu(options.relu),
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
    void run(kernels::Gemm shape, const T* x, Index x_step, const T* y, Index y_step, T* z, Index z_step,
             const T* bias = nullptr) const {
        if (count == 1) return multiply(shape, precision, x, y, z, bias);
        const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        const bool threaded =
            z_step != 0 && !kernels::worth_threads(flops) && kernels::worth_threads(flops * static_cast<double>(count));
        const bool sums = z_step == 0 && !shape.accumulate;
        kernels::parallel_for(count, 1, threaded, [&](Index i, Index) {
            kernels::Gemm one = shape;
            one.accumulate = shape.accumulate || (sums && i > 0);
            kernels::gemm(one, x + i * x_step, y + i * y_step, z + i * z_step, bias);
        });
        if (sums && count == 0) std::fill_n(z, shape.m * shape.n, T(0));
    }

    Index a_row() const { return transpose_a ? m : k; }
    Index b_row() const { return transpose_b ? k : n; }
    Index b_step() const { return one_b ? 0 : k * n; }

    template <class T> void forward(const T* a, const T* b, T* y, const T* bias = nullptr) const {
        const kernels::Gemm gemm{.transpose_a = transpose_a,
                                 .transpose_b = transpose_b,
                                 .m = m,
                                 .n = n,
                                 .k = k,
                                 .lda = a_row(),
                                 .ldb = b_row(),
                                 .ldc = n,
                                 .relu = relu};
        run(gemm, a, m * k, b, b_step(), y, m * n, bias);
    }

    template <class T> void backward_a(const detail::Destination<T>& da, const T* b, const T* dy) const {
        if (transpose_a) {  // daᵀ = dy op(b)ᵀ
            const kernels::Gemm gemm{.transpose_a = transpose_b,
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
            const kernels::Gemm gemm{.transpose_b = !transpose_b,
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
            const kernels::Gemm gemm{.transpose_a = true,
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
            const kernels::Gemm gemm{.transpose_a = !transpose_a,
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

/// How an op calls the operands of a product, in the text of an error.
struct OperandNames {
    const char *op, *a, *b, *rest;
};

/// The leading axes of a stack of matrices.
Shape leading(const Shape& shape);

/// The shape of op(a) op(b). Throws ShapeError, and says which operand would fit the other way round.
Shape product_shape(const OperandNames& names, MatmulOptions options, const Shape& a, const Shape& b);

}  // namespace xtape
