#pragma once
// One row of a softmax: its maximum and the sum of its exponentials, each in all lanes of a batch.

#include <xtape/engine/kernels/rows.hpp>

#include <limits>

namespace xtape::kernels {

template <class T> inline constexpr T minus_infinity = -std::numeric_limits<T>::infinity();

/// x, but 0 for −∞: what is subtracted before exponentials are taken, so that a row of −∞ gives zeros and no NaN.
template <class T> Batch<T> finite_shift(const Batch<T>& x) {
    return select(x == Batch<T>(minus_infinity<T>), Batch<T>(T(0)), x);
}

/// The largest element of a row, as a shift. (A NaN need not come out: it does in the sum.)
template <class T> Batch<T> softmax_shift(Index n, const T* x) {
    Batch<T> largest(minus_infinity<T>);
    for_batches<T>(n,
                   [&](Index i, auto count) { largest = xsimd::max(largest, get(x + i, count, minus_infinity<T>)); });
    return finite_shift(max_of_lanes(largest));
}

/// Σ e^(x − shift); `each(i, count, e)` sees the exponentials, which are 0 beyond count.
template <class T, class Each> Batch<T> sum_exponentials(Index n, const T* x, const Batch<T>& shift, Each&& each) {
    return sum_along<T>(n, [&](Index i, auto count) {
        const Batch<T> e = exp(get(x + i, count, minus_infinity<T>) - shift);
        each(i, count, e);
        return e;
    });
}

/// log Σ e^x of each row of a block.
template <class T> void logsumexp_block(Index rows, Index columns, const T* x, T* lse) {
    Local<T, rows_of_block> shifts, totals;
    for (Index row = 0; row < rows; ++row) {
        const T* from = x + row * columns;
        const Batch<T> shift = softmax_shift(columns, from);
        const Batch<T> total = sum_exponentials(columns, from, shift, [](Index, auto, const Batch<T>&) {});
        shifts[row] = first_lane(shift);
        totals[row] = first_lane(total);
    }
    for_batches<T>(rows, [&](Index i, auto count) {
        put(lse + i, get(shifts.data() + i, count) + log(get(totals.data() + i, count, T(1))), count);
    });
}

}  // namespace xtape::kernels
