#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// Extents of C (m x n) = op(A) (m x k) op(B) (k x n), all row-major; op is the transpose where the flag is set.
/// lda, ldb, ldc: elements from one stored row to the next (A is stored m x k, or k x m when transposed).
/// accumulate: C += op(A) op(B). relu: what is negative in the end becomes 0; NaN stays.
struct Gemm {
    bool transpose_a = false, transpose_b = false;
    Index m = 0, n = 0, k = 0;
    Index lda = 0, ldb = 0, ldc = 0;
    bool accumulate = false;
    bool relu = false;
};

/// C = op(A) op(B), with bias[j] (n elements, or null) added to column j; bias and accumulate exclude each other.
/// C overlaps neither A nor B. k = 0 is a sum of nothing. The bits follow from the shape and the values alone:
/// neither the number of threads nor the addresses change them.
template <class T> void gemm(const Gemm& g, const T* a, const T* b, T* c, const T* bias = nullptr);

}  // namespace xtape::kernels
