#pragma once
// Rows: loads of the last, partial batch with a filling of the caller's choice, and reductions along a row.

#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/kernels/simd.hpp>

namespace xtape::kernels {

/// A whole batch; or the first `count` elements, the rest of the batch being `fill`.
template <class T>
Batch<T> load_or(const T* x, std::integral_constant<Index, width<T>>, T) {
    return load(x);
}
template <class T>
Batch<T> load_or(const T* x, Index count, T fill) {
    alignas(64) T part[static_cast<std::size_t>(width<T>)];
    std::fill(std::copy_n(x, count, part), part + width<T>, fill);
    return Batch<T>::load_aligned(part);
}

/// The largest of a batch's elements.
template <class T>
T max_of(const Batch<T>& batch) {
    alignas(64) T part[static_cast<std::size_t>(width<T>)];
    batch.store_aligned(part);
    for (Index n = width<T> / 2; n > 0; n /= 2) {
        for (Index i = 0; i < n; ++i) part[i] = part[i] < part[i + n] ? part[i + n] : part[i];
    }
    return part[0];
}

/// The sum over i < n of f(i, count), f giving a batch whose places beyond count are 0. Long rows are summed in parts,
/// and those in double, so that the error does not grow with n; the order follows from n alone.
template <class T, class F>
double sum_along(Index n, F&& f) {
    constexpr Index part = 64 * width<T>;
    double total = 0;
    for (Index begin = 0; begin < n; begin += part) {
        Batch<T> batch(T(0));
        for_batches<T>(std::min(part, n - begin), [&](Index i, auto count) { batch += f(begin + i, count); });
        total += static_cast<double>(sum(batch));
    }
    return total;
}

/// y[i] = value, or y[i] += value, for the first `count` elements.
template <class T, class Count>
void put(T* y, const Batch<T>& value, Count count, bool accumulate) {
    store(y, accumulate ? value + load(y, count) : value, count);
}

/// Calls body(row) for all rows, on threads where rows of so many elements are worth it.
template <class T, class Body>
void each_row(Index rows, Index columns, Body&& body) {
    const Index tile = std::max<Index>(1, (1 << 14) / std::max<Index>(1, columns));
    const double bytes = 3.0 * sizeof(T) * static_cast<double>(rows) * static_cast<double>(columns);
    parallel_for(rows, tile, worth_threads(0, bytes), [&](Index begin, Index end) {
        for (Index row = begin; row < end; ++row) body(row);
    });
}

}  // namespace xtape::kernels
