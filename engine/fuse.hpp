#pragma once
// fuse: one lambda, one loop. The forward is the lambda on SIMD batches; the backward is the same lambda on dual
// numbers (dual.hpp), which gives its derivatives by all operands at once.

#include <xtape/engine/dual.hpp>
#include <xtape/engine/elementwise.hpp>

namespace xtape {
namespace detail {

/// X, once for each K.
template <std::size_t K, class X> using Each = X;

template <class T, class F, class Operands> struct Fused;

template <class T, class F, std::size_t... K> struct Fused<T, F, std::index_sequence<K...>> {
    using V = kernels::Batch<T>;
    static_assert(sizeof...(K) + 2 <= kernels::most_operands, "fuse takes at most 6 tensors");
    static constexpr std::string_view name = "fuse";
    static constexpr bool recomputable = true;

    [[no_unique_address]] F f;

    Shape shape(const Each<K, Shape>&... x) const {
        Shape all;
        ((all = broadcast(name, all, x)), ...);
        return all;
    }

    void forward(Each<K, View<T>>... x, Out<T> y) const {
        const auto value = [this](const Each<K, V>&... v) { return value_of(f(seed<0>(v)...)); };
        map_forward(y, value, x...);
    }

    void vjp(Grad<K, T>... dx, Input<K, T>... x, Cotangent<T> dy) const {
        std::array<Tensor<T>, sizeof...(K)> apart;      // gradients yet to be added, or summed over what was broadcast
        write(dy, {place(dx, dy, apart[K])...}, x...);  // dx_k = dy ∂f/∂x_k
        ((apart[K] ? reduce_into(dx, View<T>{apart[K].body()->data, dy.shape}) : void()), ...);
    }

private:
    /// Where dy ∂f/∂x goes, if it is wanted: into dx itself, where that is a fresh array of dy's extents.
    static T* place(const Destination<T>& dx, const View<T>& dy, Tensor<T>& apart) {
        if (!dx || (!dx.accumulate && dx.shape.size() == dy.size())) return dx.data;
        apart = Tensor<T>::unwritten(dy.shape);
        return apart.body()->data;
    }

    template <unsigned By> static Dual<V, By> seed(const V& v) {
        Dual<V, By> x{v};
        x.d.fill(V(1));
        return x;
    }
    template <class Y> static V value_of(const Y& y) {
        if constexpr (Dually<Y>)
            return y.value;
        else
            return V(static_cast<T>(y));
    }
    template <unsigned I, class Y> static V partial_of(const Y& y) {
        if constexpr (Dually<Y>)
            return y.template partial<I>();
        else
            return V(0);
    }

    /// The gradients that `to` has a place for, in one loop.
    void write(const View<T>& dy, const std::array<T*, sizeof...(K)>& to, const Each<K, View<T>>&... x) const {
        if (dy.size() == 0) return;
        const bool along = (... && (x.shape == dy.shape));
        const kernels::Plan plan =
            along ? plan_along(dy.size(), sizeof...(K) + 2) : plan_over(dy.shape, dy.shape, x.shape..., dy.shape);
        const std::array<const T*, sizeof...(K) + 1> data{x.data..., dy.data};
        kernels::for_rows<T>(plan, data.data(), [&](Index n, Index offset, const T* const* at) {
            write_run(n, at[sizeof...(K)], to, offset, kernels::RunOrOne<T>(at[K], plan.step[K + 1])...);
        });
    }
    void write_run(Index n, const T* dy, const std::array<T*, sizeof...(K)>& to, Index offset,
                   const Each<K, kernels::RunOrOne<T>>&... x) const {
        kernels::for_batches<T>(n, [&](Index i, auto count) {
            const V g = kernels::load(dy + i, count);
            const auto y = f(seed<(1u << K)>(x.at(i, count))...);
            const auto put = [&](T* target, const V& dx) {
                if (target != nullptr) kernels::store(target + offset + i, dx, count);
            };
            (put(to[K], V(g * partial_of<K>(y))), ...);
        });
    }
};

}  // namespace detail

/// y = f(x, ...) element by element, for tensors that broadcast against each other, in one loop; one more loop gives
/// all gradients, of which one that is added or summed over a broadcast passes through memory once more. f is a generic
/// lambda of arithmetic, exp, log, sqrt, tanh, sigmoid, abs, max, min, and pow with a fixed exponent: `fuse([](auto x,
/// auto y) { return x * sigmoid(x) * y; }, gate, up)`. What it captures it must own.
template <class F, Real T, std::derived_from<Tensor<T>>... Rest>
Tensor<T> fuse(const F& f, const Tensor<T>& x, const Rest&... rest) {
    using Op = detail::Fused<T, F, std::make_index_sequence<sizeof...(Rest) + 1>>;
    return apply<T>(Op{f}, Where{}, x, static_cast<const Tensor<T>&>(rest)...);
}

}  // namespace xtape
