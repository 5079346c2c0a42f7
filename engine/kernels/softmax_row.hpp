#pragma once
// One row of a softmax: its maximum and the sum of its exponentials.

#include <xtape/engine/kernels/rows.hpp>

#include <cmath>
#include <limits>

namespace xtape::kernels {

/// What is subtracted from a row before its exponentials are taken: its largest element, or 0 where all are −∞.
/// (A NaN need not come out: it does in the sum.)
template <class T>
T softmax_shift(Index n, const T* x) {
    constexpr T lowest = -std::numeric_limits<T>::infinity();
    Batch<T> largest(lowest);
    for_batches<T>(n, [&](Index i, auto count) { largest = xsimd::max(largest, get(x + i, count, lowest)); });
    const T shift = max_of(largest);
    return shift == lowest ? T(0) : shift;
}

/// Σ e^(x − shift); `each(i, count, e)` sees the exponentials, which are 0 beyond count.
template <class T, class Each>
double sum_exponentials(Index n, const T* x, T shift, Each&& each) {
    constexpr T lowest = -std::numeric_limits<T>::infinity();
    const Batch<T> subtract(shift);
    return sum_along<T>(n, [&](Index i, auto count) {
        const Batch<T> e = exp(get(x + i, count, lowest) - subtract);
        each(i, count, e);
        return e;
    });
}

/// log Σ e^x.
template <class T>
double logsumexp_row(Index n, const T* x) {
    const T shift = softmax_shift(n, x);
    const double total = sum_exponentials(n, x, shift, [](Index, auto, const Batch<T>&) {});
    return static_cast<double>(shift) + std::log(total);
}

}  // namespace xtape::kernels
