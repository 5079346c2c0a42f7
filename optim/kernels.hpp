#pragma once
// The loops of the optimizers: one pass over values w, gradients g and state, in place. Elements do not depend on each
// other, so that the bits do not depend on the split among threads.

#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/kernels/simd.hpp>

#include <limits>
#include <type_traits>

namespace xtape::kernels {

/// The factors of one step of Adam, the bias corrections c₁ = 1 − β₁ⁿ and c₂ = 1 − β₂ⁿ folded in:
/// lr m̂ / (√v̂ + eps) = rate m / (√v + eps √c₂), rate = lr √c₂ / c₁.
template <class T> struct AdamFactors {
    T beta1, one_minus_beta1;
    T beta2, one_minus_beta2;
    T rate;
    T eps;  ///< eps √c₂
    T grad_scale;
    T l2;      ///< grad_scale g + l2 w is the gradient
    T shrink;  ///< 1 − lr weight_decay, of the value before the step
};

/// m / (√v + eps), which is most of the time of Adam. AVX-512 estimates 1/x to 14 bits, and one step of Newton's method
/// takes that to the last bit or two of a float: the root keeps the divider busy, the estimate leaves it alone.
template <class T> Batch<T> over_root(const Batch<T>& m, const Batch<T>& v, T eps) {
    using B = Batch<T>;
    const B root = sqrt(v) + B(eps);
    if constexpr (std::is_same_v<T, float> && std::is_base_of_v<xsimd::avx512f, typename B::arch_type>) {
        const B inverse = reciprocal(root);
        const B refined = inverse * (B(2.0f) - root * inverse);
        return m * select(root < B(std::numeric_limits<T>::infinity()), refined, inverse);
    } else {
        return m / root;
    }
}

template <class T, bool Decays> void adam_loop(Index n, T* w, const T* g, T* m, T* v, const AdamFactors<T>& f) {
    using B = Batch<T>;
    const B beta1(f.beta1), fresh1(f.one_minus_beta1), beta2(f.beta2), fresh2(f.one_minus_beta2);
    const B rate(f.rate), scale(f.grad_scale), l2(f.l2), shrink(f.shrink);
    const T eps = f.eps;
    const auto update = [=](Index i, auto count) {
        const B value = load(w + i, count);
        const B scaled = scale * load(g + i, count), grad = Decays ? scaled + l2 * value : scaled;
        const B first = beta1 * load(m + i, count) + fresh1 * grad;
        const B second = beta2 * load(v + i, count) + fresh2 * grad * grad;
        store(m + i, first, count);
        store(v + i, second, count);
        store(w + i, (Decays ? shrink * value : value) - rate * over_root(first, second, eps), count);
    };
    // Not for_batches: GCC does not inline that here, and then reads the factors again for every batch.
    Index i = 0;
    for (; i + width<T> <= n; i += width<T>) update(i, std::integral_constant<Index, width<T>>());
    if (i < n) update(i, n - i);
}

template <class T> void adam(Index n, T* w, const T* g, T* m, T* v, const AdamFactors<T>& f) {
    f.l2 == 0 && f.shrink == 1 ? adam_loop<T, false>(n, w, g, m, v, f) : adam_loop<T, true>(n, w, g, m, v, f);
}

/// w −= lr u for g = scale g + l2 w: u = b = momentum b + g, or u = g + momentum b with nesterov; u = g where b is
/// null.
template <class T> void sgd(Index n, T* w, const T* g, T* b, T grad_scale, T lr, T momentum, T l2, bool nesterov) {
    using B = Batch<T>;
    const B scale(grad_scale), rate(lr), inertia(momentum), decay(l2);
    for_batches<T>(n, [&](Index i, auto count) {
        const B value = load(w + i, count);
        B step = scale * load(g + i, count) + decay * value;
        if (b != nullptr) {
            const B speed = inertia * load(b + i, count) + step;
            store(b + i, speed, count);
            step = nesterov ? step + inertia * speed : speed;
        }
        store(w + i, value - rate * step, count);
    });
}

/// Σ x² in double, in an order that follows from n alone.
template <class T> double sum_of_squares(Index n, const T* x) {
    constexpr Index lanes = 16;
    double sums[lanes] = {};
    Index i = 0;
    for (; i + lanes <= n; i += lanes)
        for (Index lane = 0; lane < lanes; ++lane) {
            const auto value = static_cast<double>(x[i + lane]);
            sums[lane] += value * value;
        }
    double total = 0;
    for (const double sum : sums) total += sum;
    for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return total;
}

}  // namespace xtape::kernels
