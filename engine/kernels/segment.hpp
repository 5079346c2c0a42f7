#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// Row s of y = the mean of the rows offsets[s] up to offsets[s + 1] of x, in order.
template <class T> void segment_mean(Index segments, Index columns, const std::int32_t* offsets, const T* x, T* y);

/// The adjoint: each of those rows of dx (+)= row s of dy over their number.
template <class T>
void segment_mean_backward(Index segments, Index columns, const std::int32_t* offsets, const T* dy, T* dx,
                           bool accumulate);

}  // namespace xtape::kernels
