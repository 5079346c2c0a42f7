#pragma once
// Dual numbers: a value with its partial derivatives, carried through arithmetic. They are how `fuse` differentiates a
// lambda. The type of a Dual says which operands it depends on, so that nothing is spent on derivatives that are always
// zero, and no 0 · ∞ makes a NaN of them.

#include <xtape/engine/kernels/functions.hpp>

#include <array>
#include <bit>

namespace xtape {

/// A value of type V (a scalar or a SIMD batch) and its derivatives by the operands whose bits are set in `By`.
template <class V, unsigned By> struct Dual {
    using Value = V;
    static constexpr unsigned by = By;

    V value;
    std::array<V, std::popcount(By)> d{};

    /// The derivative by an operand.
    template <unsigned Operand> V partial() const {
        if constexpr (((By >> Operand) & 1u) != 0)
            return d[std::popcount(By & ((1u << Operand) - 1u))];
        else
            return V(0);
    }
};

namespace detail {

template <class X> inline constexpr bool is_dual = false;
template <class V, unsigned By> inline constexpr bool is_dual<Dual<V, By>> = true;

template <class X>
concept Dually = is_dual<X>;
template <class X>
concept Number = std::is_arithmetic_v<X>;
/// What may stand on the two sides of an operator.
template <class A, class B>
concept DualPair = (Dually<A> && (Dually<B> || Number<B>)) || (Number<A> && Dually<B>);

/// The dual numbers of two sides: a plain number depends on nothing.
template <class A, class B, class F> auto lifted(const A& a, const B& b, const F& f) {
    if constexpr (Number<A>)
        return f(Dual<typename B::Value, 0>{kernels::constant<typename B::Value>(static_cast<double>(a))}, b);
    else if constexpr (Number<B>)
        return f(a, Dual<typename A::Value, 0>{kernels::constant<typename A::Value>(static_cast<double>(b))});
    else
        return f(a, b);
}

/// A Dual of the given value, whose derivative by operand I is of.operator()<I>().
template <unsigned By, class V, class Of> Dual<V, By> dual_of(const V& value, const Of& of) {
    Dual<V, By> y{value};
    std::size_t next = 0;
    const auto fill = [&]<unsigned I>() {
        if constexpr (((By >> I) & 1u) != 0) y.d[next++] = of.template operator()<I>();
    };
    [&]<unsigned... I>(std::integer_sequence<unsigned, I...>) { (fill.template operator()<I>(), ...); }
    (std::make_integer_sequence<unsigned, static_cast<unsigned>(std::bit_width(By))>());
    return y;
}

/// y(x), given dy/dx.
template <class V, unsigned By> Dual<V, By> chain(const V& y, const Dual<V, By>& x, const V& slope) {
    return dual_of<By>(y, [&]<unsigned I>() -> V { return slope * x.template partial<I>(); });
}

/// y(a, b), given ∂y/∂a and ∂y/∂b.
template <class V, unsigned A, unsigned B>
Dual<V, (A | B)> chain(const V& y, const Dual<V, A>& a, const V& slope_a, const Dual<V, B>& b, const V& slope_b) {
    return dual_of<(A | B)>(y, [&]<unsigned I>() -> V {
        constexpr unsigned bit = 1u << I;
        if constexpr ((A & B & bit) != 0)
            return slope_a * a.template partial<I>() + slope_b * b.template partial<I>();
        else if constexpr ((A & bit) != 0)
            return slope_a * a.template partial<I>();
        else
            return slope_b * b.template partial<I>();
    });
}

/// y = a where a > b, b where a < b; between equal ones the derivative is shared.
template <class V, unsigned A, unsigned B>
Dual<V, (A | B)> greater_of(const V& y, const V& va, const V& vb, const Dual<V, A>& a, const Dual<V, B>& b) {
    using kernels::select;
    return dual_of<(A | B)>(y, [&]<unsigned I>() -> V {
        const V da = a.template partial<I>();
        const V db = b.template partial<I>();
        return select(va > vb, da, select(va < vb, db, kernels::constant<V>(0.5) * (da + db)));
    });
}

}  // namespace detail

template <class A, class B>
requires detail::DualPair<A, B>
auto operator+(const A& a, const B& b) {
    return detail::lifted(a, b, []<class V, unsigned P, unsigned Q>(const Dual<V, P>& x, const Dual<V, Q>& y) {
        return detail::chain(V(x.value + y.value), x, V(1), y, V(1));
    });
}
template <class A, class B>
requires detail::DualPair<A, B>
auto operator-(const A& a, const B& b) {
    return detail::lifted(a, b, []<class V, unsigned P, unsigned Q>(const Dual<V, P>& x, const Dual<V, Q>& y) {
        return detail::chain(V(x.value - y.value), x, V(1), y, V(-1));
    });
}
template <class A, class B>
requires detail::DualPair<A, B>
auto operator*(const A& a, const B& b) {
    return detail::lifted(a, b, []<class V, unsigned P, unsigned Q>(const Dual<V, P>& x, const Dual<V, Q>& y) {
        return detail::chain(V(x.value * y.value), x, y.value, y, x.value);
    });
}
template <class A, class B>
requires detail::DualPair<A, B>
auto operator/(const A& a, const B& b) {
    return detail::lifted(a, b, []<class V, unsigned P, unsigned Q>(const Dual<V, P>& x, const Dual<V, Q>& y) {
        const V inverse = V(1) / y.value;
        const V ratio = x.value / y.value;
        return detail::chain(ratio, x, inverse, y, V(-(ratio * inverse)));
    });
}
template <class A, class B>
requires detail::DualPair<A, B>
auto max(const A& a, const B& b) {
    return detail::lifted(a, b, []<class V, unsigned P, unsigned Q>(const Dual<V, P>& x, const Dual<V, Q>& y) {
        return detail::greater_of(kernels::larger(x.value, y.value), x.value, y.value, x, y);
    });
}
template <class A, class B>
requires detail::DualPair<A, B>
auto min(const A& a, const B& b) {
    return detail::lifted(a, b, []<class V, unsigned P, unsigned Q>(const Dual<V, P>& x, const Dual<V, Q>& y) {
        return detail::greater_of(kernels::smaller(x.value, y.value), y.value, x.value, x, y);
    });
}

template <class V, unsigned By> Dual<V, By> operator-(const Dual<V, By>& x) {
    return detail::chain(V(-x.value), x, V(-1));
}
template <class V, unsigned By> Dual<V, By> exp(const Dual<V, By>& x) {
    using std::exp;
    const V y = exp(x.value);
    return detail::chain(y, x, y);
}
template <class V, unsigned By> Dual<V, By> log(const Dual<V, By>& x) {
    using std::log;
    return detail::chain(V(log(x.value)), x, V(V(1) / x.value));
}
template <class V, unsigned By> Dual<V, By> sqrt(const Dual<V, By>& x) {
    using std::sqrt;
    const V y = sqrt(x.value);
    return detail::chain(y, x, V(kernels::constant<V>(0.5) / y));
}
template <class V, unsigned By> Dual<V, By> tanh(const Dual<V, By>& x) {
    using std::tanh;
    const V y = tanh(x.value);
    return detail::chain(y, x, V(V(1) - y * y));
}
/// 1 / (1 + e^−x): unlike that formula, its derivative is finite for every x.
template <class V, unsigned By> Dual<V, By> sigmoid(const Dual<V, By>& x) {
    const V y = kernels::sigmoid(x.value);
    return detail::chain(y, x, V(y * (V(1) - y)));
}
template <class V, unsigned By> Dual<V, By> abs(const Dual<V, By>& x) {
    using std::abs;
    return detail::chain(V(abs(x.value)), x, kernels::sign(x.value));
}
/// x^p for a fixed exponent.
template <class V, unsigned By, detail::Number P> Dual<V, By> pow(const Dual<V, By>& x, const P& p) {
    const auto exponent = static_cast<kernels::Scalar<V>>(p);
    return detail::chain(kernels::power(x.value, exponent), x, kernels::power_slope(x.value, exponent));
}

}  // namespace xtape
