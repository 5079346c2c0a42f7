#pragma once
// The elementwise tier of ops: a functor with the forward `f` and, for each operand, its derivative, on SIMD batches.
// The derivative's name says what it reads, in this order: dx(), dx_x(x), dx_y(y), dx_xy(x, y) of a unary functor;
// da(), da_b(b), da_ab(a, b) and db(), db_a(a), db_ab(a, b), db_by(b, y) of a binary one. Broadcasting is undone by
// map_backward, once.
//
//     struct Exp {
//         static constexpr std::string_view name = "exp";
//         template <class V> V f(const V& x) const { return exp(x); }
//         template <class V> V dx_y(const V& y) const { return y; }  // dy/dx = e^x = y
//     };

#include <xtape/engine/kernels/reduce.hpp>
#include <xtape/engine/op.hpp>

#include <algorithm>
#include <functional>

namespace xtape {
namespace detail {

inline std::span<const Index> extents(const Shape& shape) { return {shape.begin(), shape.end()}; }

/// The plan of some operands over the extents of `over`.
template <class... S> kernels::Plan plan_over(const Shape& over, const S&... operands) {
    const std::array<std::span<const Index>, sizeof...(S)> all{extents(operands)...};
    return kernels::plan_of(extents(over), all);
}

/// The plan of operands that all run through n elements.
inline kernels::Plan plan_along(Index n, std::size_t operands) {
    kernels::Plan plan;
    plan.operands = operands;
    plan.columns = n;
    plan.step = kernels::every_step;
    return plan;
}

/// y (+)= f(x...), with broadcasting.
template <class T, bool Accumulate, class F, class... X>
void map_into(T* y, const Shape& shape, const F& f, const X&... x) {
    constexpr std::size_t operands = sizeof...(X) + 1;
    const Index n = shape.size();
    if (n == 0) return;
    const std::array<const T*, operands - 1> data{x.data...};
    const auto row = kernels::row_function<T, Accumulate>(f, std::index_sequence_for<X...>());
    const bool along = (... && (x.shape == shape));
    if (along && n <= kernels::tile_size)
        row.call(row.f, n, y, data.data(), kernels::every_step.data());
    else
        kernels::map<T>(along ? plan_along(n, operands) : plan_over(shape, shape, x.shape...), y, data.data(), row);
}

/// y = f(x...), with broadcasting.
template <class T, class F, class... X> void map_forward(Out<T> y, const F& f, const X&... x) {
    map_into<T, false>(y.data, y.shape, f, x...);
}

/// to (+)= f(read...) over the extents of `over`, summed along those where `to` was broadcast: there are some.
template <class T, class F, class... X>
void map_summed(const Destination<T>& to, const Shape& over, const F& f, const X&... read) {
    if (!to.accumulate) std::fill_n(to.data, to.shape.size(), T(0));
    if (over.size() == 0) return;
    const std::array<const T*, sizeof...(X)> data{read.data...};
    kernels::map_reduce<kernels::Add, T>(plan_over(over, to.shape, read.shape...), to.data, data.data(),
                                         kernels::row_function<T, false>(f, std::index_sequence_for<X...>()));
}

/// The same, where `to` may have all the extents.
template <class T, class F, class... X>
void map_backward(const Destination<T>& to, const Shape& over, const F& f, const X&... read) {
    if (to.shape.size() != over.size())
        map_summed<T>(to, over, f, read...);
    else if (to.accumulate)
        map_into<T, true>(to.data, over, f, read...);
    else
        map_into<T, false>(to.data, over, f, read...);
}

/// to (+)= x, summed or otherwise joined along the axes where `to` has extent 1.
template <class Join = kernels::Add, class T> void reduce_into(const Destination<T>& to, const View<T>& x) {
    if (to.shape.size() == x.size()) {
        map_backward<T>(to, x.shape, std::identity(), x);
        return;
    }
    if (!to.accumulate) std::fill_n(to.data, to.shape.size(), Join::template none<T>);
    if (x.size() > 0) kernels::map_reduce<Join, T>(plan_over(x.shape, to.shape, x.shape), to.data, &x.data, {});
}

/// dx (+)= dy ⊙ slope(read...), summed over what was broadcast.
template <class T, class Slope, class... X>
void map_slope(const Destination<T>& dx, const View<T>& dy, const Slope& slope, const X&... read) {
    const auto product = [&slope](const kernels::Batch<T>& g, const auto&... x) { return g * slope(x...); };
    map_backward<T>(dx, dy.shape, product, dy, read...);
}

template <bool Read, class P> using If = std::conditional_t<Read, P, Unread>;

template <class T, class F> struct Unary {
    using V = kernels::Batch<T>;
    static constexpr std::string_view name = F::name;
    static constexpr bool recomputable = true;
    static constexpr bool xy = requires(const F& f, V v) { f.dx_xy(v, v); };
    static constexpr bool x = xy || requires(const F& f, V v) { f.dx_x(v); };
    static constexpr bool y = xy || requires(const F& f, V v) { f.dx_y(v); };

    [[no_unique_address]] F functor;

    Shape shape(const Shape& in) const { return in; }

    void forward(View<T> in, Out<T> out) const {
        const auto f = [this](const V& v) { return functor.f(v); };
        map_forward(out, f, in);
    }

    void vjp(Grad<0, T> dx, If<x, Input<0, T>> in, If<y, Output<T>> out, Cotangent<T> dy) const {
        if constexpr (xy) {
            const auto slope = [this](const V& vx, const V& vy) { return functor.dx_xy(vx, vy); };
            map_slope<T>(dx, dy, slope, in, out);
        } else if constexpr (x) {
            const auto slope = [this](const V& vx) { return functor.dx_x(vx); };
            map_slope<T>(dx, dy, slope, in);
        } else if constexpr (y) {
            const auto slope = [this](const V& vy) { return functor.dx_y(vy); };
            map_slope<T>(dx, dy, slope, out);
        } else {
            map_slope<T>(dx, dy, [this] { return functor.template dx<V>(); });
        }
    }
};

template <class T, class F> struct Binary {
    using V = kernels::Batch<T>;
    static constexpr std::string_view name = F::name;
    static constexpr bool recomputable = true;
    static constexpr bool da_ab = requires(const F& f, V v) { f.da_ab(v, v); };
    static constexpr bool da_b = requires(const F& f, V v) { f.da_b(v); };
    static constexpr bool db_ab = requires(const F& f, V v) { f.db_ab(v, v); };
    static constexpr bool db_a = requires(const F& f, V v) { f.db_a(v); };
    static constexpr bool db_by = requires(const F& f, V v) { f.db_by(v, v); };

    [[no_unique_address]] F functor;

    Shape shape(const Shape& a, const Shape& b) const { return broadcast(name, a, b); }

    void forward(View<T> a, View<T> b, Out<T> y) const {
        const auto f = [this](const V& va, const V& vb) { return functor.f(va, vb); };
        map_forward(y, f, a, b);
    }

    void vjp(Grad<0, T> da, If<da_ab, Input<0, T>> a, If<da_ab || da_b, Input<1, T>> b, Cotangent<T> dy) const {
        if constexpr (da_ab) {
            const auto slope = [this](const V& va, const V& vb) { return functor.da_ab(va, vb); };
            map_slope<T>(da, dy, slope, a, b);
        } else if constexpr (da_b) {
            const auto slope = [this](const V& vb) { return functor.da_b(vb); };
            map_slope<T>(da, dy, slope, b);
        } else {
            map_slope<T>(da, dy, [this] { return functor.template da<V>(); });
        }
    }

    void vjp(Grad<1, T> db, If<db_ab || db_a, Input<0, T>> a, If<db_ab || db_by, Input<1, T>> b, If<db_by, Output<T>> y,
             Cotangent<T> dy) const {
        if constexpr (db_ab) {
            const auto slope = [this](const V& va, const V& vb) { return functor.db_ab(va, vb); };
            map_slope<T>(db, dy, slope, a, b);
        } else if constexpr (db_a) {
            const auto slope = [this](const V& va) { return functor.db_a(va); };
            map_slope<T>(db, dy, slope, a);
        } else if constexpr (db_by) {
            const auto slope = [this](const V& vb, const V& vy) { return functor.db_by(vb, vy); };
            map_slope<T>(db, dy, slope, b, y);
        } else {
            map_slope<T>(db, dy, [this] { return functor.template db<V>(); });
        }
    }
};

}  // namespace detail

/// Applies a unary functor elementwise.
template <class F, class T> Tensor<T> elementwise(const F& functor, Where where, const Tensor<T>& x) {
    return apply<T>(detail::Unary<T, F>{functor}, where, x);
}

/// Applies a binary functor elementwise, its operands broadcast against each other.
template <class F, class T>
Tensor<T> elementwise(const F& functor, Where where, const Tensor<T>& a, const Tensor<T>& b) {
    return apply<T>(detail::Binary<T, F>{functor}, where, a, b);
}

}  // namespace xtape
