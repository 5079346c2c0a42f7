#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// Rows of logits against a target distribution each: (1 − smoothing) at targets[row] and smoothing / columns
/// everywhere. A row whose target is `ignore` does not count.
struct CrossEntropy {
    Index rows, columns;
    std::int32_t ignore;
    double smoothing;
};

/// The number of rows that count.
Index counted_rows(const CrossEntropy& shape, const std::int32_t* targets);

/// The sum over the rows that count of lse − Σ target ⊙ logits, in double; lse = log Σ e^logits, one element a row.
template <class T>
double cross_entropy(const CrossEntropy& shape, const T* logits, const std::int32_t* targets, T* lse);

/// dlogits (+)= (e^(logits − lse) − target) d.
template <class T>
void cross_entropy_backward(const CrossEntropy& shape, const T* logits, const std::int32_t* targets, const T* lse, T d,
                            T* dlogits, bool accumulate);

}  // namespace xtape::kernels
