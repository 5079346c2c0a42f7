#pragma once
// Functions of a scalar or of a SIMD batch that the elementwise ops and the dual numbers share.

#include <xtape/engine/kernels/simd.hpp>

#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>

namespace xtape::kernels {

/// A scalar, or the element of a batch.
template <class V> struct ScalarOf { using type = typename V::value_type; };
template <std::floating_point T> struct ScalarOf<T> { using type = T; };
template <class V> using Scalar = typename ScalarOf<V>::type;

template <class V> V constant(double value) { return V(static_cast<Scalar<V>>(value)); }

template <std::floating_point T> T select(bool condition, T yes, T no) { return condition ? yes : no; }

/// The larger and the smaller of two; a NaN in either comes through.
template <class V> V larger(const V& a, const V& b) { return select(a == a, select(a > b, a, b), a); }
template <class V> V smaller(const V& a, const V& b) { return select(a == a, select(a < b, a, b), a); }

/// 1 where a > b, 1/2 where they are equal, else 0: the part of a in the gradient of their maximum.
template <class V> V larger_share(const V& a, const V& b) {
    return select(a > b, constant<V>(1), select(a == b, constant<V>(0.5), constant<V>(0)));
}

/// 1, 0 or −1.
template <class V> V sign(const V& x) {
    return select(x > V(0), constant<V>(1), select(x < V(0), constant<V>(-1), constant<V>(0)));
}

/// 1 / (1 + e^−x), finite for every x.
template <class V> V sigmoid(const V& x) {
    using std::exp;
    return V(1) / (V(1) + exp(-x));
}

/// x^p. Products (and √x) for multiples of 1/2 up to 32, which are right at 0 and for negative x.
template <class V> V power(const V& x, Scalar<V> p) {
    using std::pow, std::sqrt;
    const Scalar<V> halves = std::abs(2 * p);
    if (halves > 64 || halves != std::trunc(halves)) {
        const V at_zero = p > 0 ? V(0) : V(std::numeric_limits<Scalar<V>>::infinity());
        return select(x == V(0), at_zero, pow(x, V(p)));
    }
    const int n = static_cast<int>(halves);
    V y = n % 2 != 0 ? V(sqrt(x)) : V(1);
    V square = x;
    for (int rest = n / 2; rest > 0; rest /= 2) {
        if (rest % 2 != 0) y = y * square;
        square = square * square;
    }
    return p < 0 ? V(1) / y : y;
}

/// The derivative p x^(p−1).
template <class V> V power_slope(const V& x, Scalar<V> p) { return p == 0 ? V(0) : V(p) * power(x, p - 1); }

/// dy/dx of y = max(x, 0), from y: 1 above 0, else 0.
template <class V> V relu_slope(const V& y) { return select(y > V(0), V(1), V(0)); }

}  // namespace xtape::kernels
