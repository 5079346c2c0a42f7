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

/// The largest element of a row, as a shift, and Σ e^(x − shift). A row of few batches is read once and stays in
/// registers, so that the next row begins before this one is done.
template <class T> struct RowSum { T shift, total; };

template <class T, Index N> RowSum<T> sum_row(Index n, const T* x, std::integral_constant<Index, N>) {
    constexpr Index last = (N - 1) * width<T>;
    Local<Batch<T>, N> row;
    for (Index i = 0; i < N - 1; ++i) row[i] = load(x + i * width<T>);
    row[N - 1] = get(x + last, n - last, minus_infinity<T>);
    Batch<T> largest = row[0];
    for (Index i = 1; i < N; ++i) largest = xsimd::max(largest, row[i]);
    const Batch<T> shift = finite_shift(max_of_lanes(largest));
    Batch<T> total = exp(row[0] - shift);
    for (Index i = 1; i < N; ++i) total += exp(row[i] - shift);
    return {first_lane(shift), first_lane(sum_of_lanes(total))};
}

template <class T> RowSum<T> sum_row(Index n, const T* x, std::integral_constant<Index, 0>) {
    const Batch<T> shift = softmax_shift(n, x);
    return {first_lane(shift), first_lane(sum_exponentials(n, x, shift, [](Index, auto, const Batch<T>&) {}))};
}

/// log Σ e^x of each row of a block.
template <class T> void logsumexp_block(Index rows, Index columns, const T* x, T* lse) {
    Local<T, rows_of_block> shifts, totals;
    with_batches<T>(columns, [&](auto batches) {
        for (Index row = 0; row < rows; ++row) {
            const RowSum<T> sum = sum_row(columns, x + row * columns, batches);
            shifts[row] = sum.shift;
            totals[row] = sum.total;
        }
    });
    for_batches<T>(rows, [&](Index i, auto count) {
        put(lse + i, get(shifts.data() + i, count) + log(get(totals.data() + i, count, T(1))), count);
    });
}

}  // namespace xtape::kernels
