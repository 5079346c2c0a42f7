#pragma once
// Loops that join many elements into one: sums, maxima and minima over any axes of a plan. The order follows from the
// extents alone, and blocks are joined in double, so that rounding errors stay small.

#include <xtape/engine/kernels/elementwise.hpp>
#include <xtape/engine/kernels/functions.hpp>

#include <limits>

namespace xtape::kernels {

/// The ways to join two values, each with the value that changes nothing.
struct Add {
    template <class T> static constexpr T none = T(0);
    template <class V> static V join(const V& a, const V& b) { return a + b; }
};
struct Larger {
    template <class T> static constexpr T none = -std::numeric_limits<T>::infinity();
    template <class V> static V join(const V& a, const V& b) { return larger(a, b); }
};
struct Smaller {
    template <class T> static constexpr T none = std::numeric_limits<T>::infinity();
    template <class V> static V join(const V& a, const V& b) { return smaller(a, b); }
};

/// y = y joined with f(x...) over the axes along which y, operand 0 of the plan, does not run. Without a row function
/// it is x[0] itself that is joined, which must not be broadcast.
template <class Join, class T> void map_reduce(const Plan& plan, T* y, const T* const* x, RowFunction<T> row);

/// The sum of n elements, in double.
template <class T> double sum_in_double(Index n, const T* x);

}  // namespace xtape::kernels
