#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// y = w ⊙ x rstd with rstd = 1 / √(mean(x²) + eps), row by row; rstd has one element a row, w is null for none.
template <class T> void rms_norm(Index rows, Index columns, double eps, const T* x, const T* w, T* y, T* rstd);

/// dx (+)= rstd (g − x̂ mean(g ⊙ x̂)) with x̂ = x rstd and g = w ⊙ dy.
template <class T>
void rms_norm_backward(Index rows, Index columns, const T* x, const T* w, const T* rstd, const T* dy, T* dx,
                       bool accumulate);

/// dw (+)= the sum over rows of dy ⊙ x rstd, rows in order.
template <class T>
void rms_norm_backward_weight(Index rows, Index columns, const T* x, const T* rstd, const T* dy, T* dw,
                              bool accumulate);

/// y = w ⊙ (x − mean) rstd + b with rstd = 1 / √(mean((x − mean)²) + eps), row by row; mean and rstd have one element a
/// row, w and b are both null for none.
template <class T>
void layer_norm(Index rows, Index columns, double eps, const T* x, const T* w, const T* b, T* y, T* mean, T* rstd);

/// dx (+)= rstd (g − mean(g) − x̂ mean(g ⊙ x̂)) with x̂ = (x − mean) rstd and g = w ⊙ dy.
template <class T>
void layer_norm_backward(Index rows, Index columns, const T* x, const T* w, const T* mean, const T* rstd, const T* dy,
                         T* dx, bool accumulate);

/// dw (+)= the sum over rows of dy ⊙ (x − mean) rstd, rows in order.
template <class T>
void layer_norm_backward_weight(Index rows, Index columns, const T* x, const T* mean, const T* rstd, const T* dy, T* dw,
                                bool accumulate);

/// y (+)= the sum over rows of x, rows in order.
template <class T> void add_rows(Index rows, Index columns, const T* x, T* y, bool accumulate);

}  // namespace xtape::kernels
