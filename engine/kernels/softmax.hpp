#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// y = e^(x − max) / Σ e^(x − max), row by row; a row of −∞ gives zeros.
template <class T> void softmax(Index rows, Index columns, const T* x, T* y);

/// dx (+)= y (dy − Σ dy y).
template <class T> void softmax_backward(Index rows, Index columns, const T* y, const T* dy, T* dx, bool accumulate);

/// lse = log Σ e^x, one element a row; a row of −∞ gives −∞.
template <class T> void logsumexp(Index rows, Index columns, const T* x, T* lse);

/// dx (+)= e^(x − lse) d, with one lse and one d a row.
template <class T>
void logsumexp_backward(Index rows, Index columns, const T* x, const T* lse, const T* d, T* dx, bool accumulate);

/// y = x − log Σ e^x; a row of −∞ stays one.
template <class T> void log_softmax(Index rows, Index columns, const T* x, T* y);

/// dx (+)= dy − e^y Σ dy.
template <class T>
void log_softmax_backward(Index rows, Index columns, const T* y, const T* dy, T* dx, bool accumulate);

}  // namespace xtape::kernels
