#pragma once
// Rows: loads and stores of the last, partial batch with a filling of the caller's choice, and reductions along a row.

#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/kernels/simd.hpp>

#include <bit>
#include <utility>

namespace xtape::kernels {

/// An array whose places are counted in Index, as those of rows are.
template <class T, Index N> struct Local {
    alignas(64) T elements[N];

    constexpr T& operator[](Index i) { return elements[i]; }
    constexpr const T& operator[](Index i) const { return elements[i]; }
    constexpr T* data() { return elements; }
    constexpr const T* data() const { return elements; }
    constexpr T* begin() { return elements; }
    constexpr T* end() { return elements + N; }
};

/// A whole batch; or the first `count` elements, the rest of the batch being `fill`.
template <class T> Batch<T> get(const T* x, std::integral_constant<Index, width<T>>, T = T(0)) { return load(x); }
template <class T> Batch<T> get(const T* x, Index count, T fill = T(0)) {
#ifdef __AVX512F__
    if constexpr (sizeof(Batch<T>) == 64) {
        const auto mask = (1u << count) - 1;
        if constexpr (std::is_same_v<T, float>)
            return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), static_cast<__mmask16>(mask), x);
        else
            return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), static_cast<__mmask8>(mask), x);
    }
#endif
    alignas(64) T part[static_cast<std::size_t>(width<T>)];
    std::fill(std::copy_n(x, count, part), part + width<T>, fill);
    return Batch<T>::load_aligned(part);
}

/// The first `count` elements.
template <class T> void put_part(T* y, const Batch<T>& value, Index count) {
#ifdef __AVX512F__
    if constexpr (sizeof(Batch<T>) == 64) {
        const auto mask = (1u << count) - 1;
        if constexpr (std::is_same_v<T, float>)
            return _mm512_mask_storeu_ps(y, static_cast<__mmask16>(mask), value);
        else
            return _mm512_mask_storeu_pd(y, static_cast<__mmask8>(mask), value);
    }
#endif
    store_part(y, value, count);
}

/// y[i] = value, or y[i] += value, for the first `count` elements. Whether to add is a constant: GCC 12 at -O3 turns a
/// condition inside a loop of batches of double into a mask of one lane.
template <class T, class Count, bool Add = false>
void put(T* y, const Batch<T>& value, Count count, std::bool_constant<Add> = {}) {
    if constexpr (Add)
        put(y, value + get(y, count), count);
    else if constexpr (!std::is_same_v<Count, Index>)
        store(y, value);
    else
        put_part(y, value, count);
}

/// f(std::true_type()) or f(std::false_type()).
template <class F> void with_constant(bool condition, F&& f) { condition ? f(std::true_type()) : f(std::false_type()); }

/// f with the number of batches that n elements fill, as a constant, where these are at most four; else with 0.
template <class T, class F> void with_batches(Index n, F&& f) {
    switch ((n + width<T> - 1) / width<T>) {
        case 1:
            return f(std::integral_constant<Index, 1>());
        case 2:
            return f(std::integral_constant<Index, 2>());
        case 3:
            return f(std::integral_constant<Index, 3>());
        case 4:
            return f(std::integral_constant<Index, 4>());
        default:
            return f(std::integral_constant<Index, 0>());
    }
}

/// A lane of a, or of b (counted on from the width), for each lane of the result: at(i) for lane i.
template <class T, class At, int... I>
Batch<T> shuffle(const Batch<T>& a, const Batch<T>& b, At, std::integer_sequence<int, I...>) {
    using V __attribute__((vector_size(sizeof(Batch<T>)))) = T;
    return std::bit_cast<Batch<T>>(__builtin_shufflevector(std::bit_cast<V>(a), std::bit_cast<V>(b), At{}(I)...));
}
template <class T, class At> Batch<T> shuffle(const Batch<T>& a, const Batch<T>& b, At at) {
    return shuffle(a, b, at, std::make_integer_sequence<int, static_cast<int>(width<T>)>());
}

/// Joins all lanes of a batch: every lane of the result is f of them all.
template <class T, class F, int Distance = static_cast<int>(width<T>) / 2>
Batch<T> join_lanes(const Batch<T>& x, const F& f) {
    if constexpr (Distance == 0)
        return x;
    else
        return join_lanes<T, F, Distance / 2>(f(x, shuffle(x, x, [](int i) { return i ^ Distance; })), f);
}
template <class T> Batch<T> sum_of_lanes(const Batch<T>& x) {
    return join_lanes(x, [](const Batch<T>& a, const Batch<T>& b) { return a + b; });
}
template <class T> Batch<T> max_of_lanes(const Batch<T>& x) {
    return join_lanes(x, [](const Batch<T>& a, const Batch<T>& b) { return xsimd::max(a, b); });
}
template <class T> T first_lane(const Batch<T>& x) {
    using V __attribute__((vector_size(sizeof(Batch<T>)))) = T;
    return std::bit_cast<V>(x)[0];
}

/// The sum over i < n of f(i, count), in all lanes; f gives a batch whose places beyond count are 0. The order follows
/// from n alone. Long rows are summed in parts, so that the error hardly grows with n.
template <class T, class F> Batch<T> sum_along(Index n, F&& f) {
    constexpr Index part = 64 * width<T>;
    Batch<T> total(T(0));
    for (Index begin = 0; begin < n; begin += part) {
        Batch<T> batch(T(0));
        for_batches<T>(std::min(part, n - begin), [&](Index i, auto count) { batch += f(begin + i, count); });
        total += batch;
    }
    return sum_of_lanes(total);
}

/// Calls body(begin, rows) for blocks of at most `rows_of_block` rows, on threads where their elements are worth it.
inline constexpr Index rows_of_block = 64;
template <class T, class Body> void each_block(Index rows, Index columns, Body&& body) {
    const double bytes = 3.0 * sizeof(T) * static_cast<double>(rows) * static_cast<double>(columns);
    parallel_for(rows, rows_of_block, worth_threads(0, bytes),
                 [&](Index begin, Index end) { body(begin, end - begin); });
}

/// Calls body(row) for all rows, in such blocks.
template <class T, class Body> void each_row(Index rows, Index columns, Body&& body) {
    each_block<T>(rows, columns, [&](Index begin, Index count) {
        for (Index row = begin; row < begin + count; ++row) body(row);
    });
}

}  // namespace xtape::kernels
