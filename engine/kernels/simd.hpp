#pragma once
// The one header that includes xsimd: batches, and loads and stores of part of one.

#include <xsimd/xsimd.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace xtape::kernels {

using Index = std::int64_t;

template <class T> using Batch = xsimd::batch<T>;

template <class T> inline constexpr Index width = static_cast<Index>(Batch<T>::size);

template <class T> Batch<T> load(const T* x) { return Batch<T>::load_unaligned(x); }

template <class T> void store(T* y, const Batch<T>& value) { value.store_unaligned(y); }

/// The sum of a batch's elements (xsimd 8 calls it hadd, later ones reduce_add).
template <class B> auto sum(const B& batch) {
    if constexpr (requires { reduce_add(batch); })
        return reduce_add(batch);
    else
        return hadd(batch);
}

/// The first n < width elements; the rest of the batch repeats the last, so that no function of it traps or slows.
template <class T> Batch<T> load_part(const T* x, Index n) {
    alignas(64) T part[static_cast<std::size_t>(width<T>)];
    std::fill(std::copy_n(x, n, part), part + width<T>, x[n - 1]);
    return Batch<T>::load_aligned(part);
}

template <class T> void store_part(T* y, const Batch<T>& value, Index n) {
    alignas(64) T part[static_cast<std::size_t>(width<T>)];
    value.store_aligned(part);
    std::copy_n(part, n, y);
}

/// Calls body(i, count) for the batches of [0, n): count is width, and less for the last.
/// Inlined, because what body captures would else be loaded again for every batch.
template <class T, class Body> [[gnu::always_inline]] inline void for_batches(Index n, Body&& body) {
    Index i = 0;
    for (; i + width<T> <= n; i += width<T>) body(i, std::integral_constant<Index, width<T>>());
    if (i < n) body(i, n - i);
}

/// load or load_part, by the type of count (see for_batches).
template <class T> Batch<T> load(const T* x, std::integral_constant<Index, width<T>>) { return load(x); }
template <class T> Batch<T> load(const T* x, Index count) { return load_part(x, count); }
template <class T> void store(T* y, const Batch<T>& value, std::integral_constant<Index, width<T>>) { store(y, value); }
template <class T> void store(T* y, const Batch<T>& value, Index count) { store_part(y, value, count); }

}  // namespace xtape::kernels
