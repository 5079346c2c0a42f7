#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>

#include <numbers>

#include <fmt/format.h>

namespace xtape {
namespace {

using kernels::constant;

template <class T> struct Pow {
    static constexpr std::string_view name = "pow";
    T p;
    template <class V> V f(const V& x) const { return kernels::power(x, p); }
    template <class V> V dx_x(const V& x) const { return kernels::power_slope(x, p); }  // dy/dx = p x^(p−1)
};

struct Exp {
    static constexpr std::string_view name = "exp";
    template <class V> V f(const V& x) const { return exp(x); }
    template <class V> V dx_y(const V& y) const { return y; }  // dy/dx = e^x = y
};

struct Log {
    static constexpr std::string_view name = "log";
    template <class V> V f(const V& x) const { return log(x); }
    template <class V> V dx_x(const V& x) const { return V(1) / x; }  // dy/dx = 1 / x
};

struct Sqrt {
    static constexpr std::string_view name = "sqrt";
    template <class V> V f(const V& x) const { return sqrt(x); }
    template <class V> V dx_y(const V& y) const { return constant<V>(0.5) / y; }  // dy/dx = 1 / (2 √x) = 1 / (2 y)
};

struct Rsqrt {
    static constexpr std::string_view name = "rsqrt";
    template <class V> V f(const V& x) const { return V(1) / sqrt(x); }
    template <class V> V dx_y(const V& y) const {
        return constant<V>(-0.5) * y * y * y;
    }  // dy/dx = −x^(−3/2) / 2 = −y³ / 2
};

struct Tanh {
    static constexpr std::string_view name = "tanh";
    template <class V> V f(const V& x) const { return tanh(x); }
    template <class V> V dx_y(const V& y) const { return V(1) - y * y; }  // dy/dx = 1 − y²
};

struct Sigmoid {
    static constexpr std::string_view name = "sigmoid";
    template <class V> V f(const V& x) const { return kernels::sigmoid(x); }
    template <class V> V dx_y(const V& y) const { return y * (V(1) - y); }  // dy/dx = y (1 − y)
};

struct Silu {
    static constexpr std::string_view name = "silu";
    template <class V> V f(const V& x) const { return x / (V(1) + exp(-x)); }
    template <class V> V dx_x(const V& x) const {
        const V s = kernels::sigmoid(x);
        return s + s * x * (V(1) - s);  // dy/dx = σ + x σ (1 − σ)
    }
};

/// x/2 (1 + tanh u) = x σ(2u) with u = √(2/π) (x + 0.044715 x³).
struct GeluTanh {
    static constexpr std::string_view name = "gelu";
    static constexpr double c = 1.5957691216057307118;  // 2 √(2/π)
    template <class V> static V twice_u(const V& x) { return x * (constant<V>(c) + constant<V>(c * 0.044715) * x * x); }
    template <class V> V f(const V& x) const { return x / (V(1) + exp(-twice_u(x))); }
    template <class V> V dx_x(const V& x) const {
        const V s = kernels::sigmoid(twice_u(x));
        const V slope = constant<V>(c) + constant<V>(3 * c * 0.044715) * x * x;
        return s + s * x * slope * (V(1) - s);  // dy/dx = σ + x σ (1 − σ) d(2u)/dx
    }
};

struct GeluExact {
    static constexpr std::string_view name = "gelu";
    template <class V> static V phi(const V& x) {
        return constant<V>(0.5) + constant<V>(0.5) * erf(x * constant<V>(std::numbers::sqrt2 / 2));
    }
    template <class V> V f(const V& x) const { return x * phi(x); }
    template <class V> V dx_x(const V& x) const {
        const V density = constant<V>(std::numbers::inv_sqrtpi / std::numbers::sqrt2) * exp(constant<V>(-0.5) * x * x);
        return phi(x) + x * density;  // dy/dx = Φ(x) + x e^(−x²/2) / √(2π)
    }
};

struct Relu {
    static constexpr std::string_view name = "relu";
    template <class V> V f(const V& x) const { return select(x <= V(0), V(0), x); }
    template <class V> V dx_y(const V& y) const { return kernels::relu_slope(y); }  // dy/dx = [x > 0] = [y > 0]
};

struct ReluSquared {
    static constexpr std::string_view name = "relu_squared";
    template <class V> V f(const V& x) const { return select(x <= V(0), V(0), x * x); }
    template <class V> V dx_x(const V& x) const { return select(x <= V(0), V(0), x + x); }  // dy/dx = 2 max(x, 0)
};

struct Abs {
    static constexpr std::string_view name = "abs";
    template <class V> V f(const V& x) const { return abs(x); }
    template <class V> V dx_x(const V& x) const { return kernels::sign(x); }  // dy/dx = sign x
};

template <class T> struct Clamp {
    static constexpr std::string_view name = "clamp";
    T low, high;
    template <class V> V f(const V& x) const { return select(x < V(low), V(low), select(x > V(high), V(high), x)); }
    template <class V> V dx_x(const V& x) const {
        return select(x < V(low) || x > V(high), V(0), V(1));  // dy/dx = [low ≤ x ≤ high]
    }
};

}  // namespace

template <Real T> Tensor<T> pow(const Tensor<T>& x, std::type_identity_t<T> p, Where where) {
    return elementwise(Pow<T>{p}, where, x);
}
template <Real T> Tensor<T> exp(const Tensor<T>& x, Where where) { return elementwise(Exp{}, where, x); }
template <Real T> Tensor<T> log(const Tensor<T>& x, Where where) { return elementwise(Log{}, where, x); }
template <Real T> Tensor<T> sqrt(const Tensor<T>& x, Where where) { return elementwise(Sqrt{}, where, x); }
template <Real T> Tensor<T> rsqrt(const Tensor<T>& x, Where where) { return elementwise(Rsqrt{}, where, x); }
template <Real T> Tensor<T> tanh(const Tensor<T>& x, Where where) { return elementwise(Tanh{}, where, x); }
template <Real T> Tensor<T> sigmoid(const Tensor<T>& x, Where where) { return elementwise(Sigmoid{}, where, x); }
template <Real T> Tensor<T> silu(const Tensor<T>& x, Where where) { return elementwise(Silu{}, where, x); }
template <Real T> Tensor<T> gelu(const Tensor<T>& x, Gelu form, Where where) {
    return form == Gelu::tanh ? elementwise(GeluTanh{}, where, x) : elementwise(GeluExact{}, where, x);
}
template <Real T> Tensor<T> relu(const Tensor<T>& x, Where where) { return elementwise(Relu{}, where, x); }
template <Real T> Tensor<T> relu_squared(const Tensor<T>& x, Where where) {
    return elementwise(ReluSquared{}, where, x);
}
template <Real T> Tensor<T> abs(const Tensor<T>& x, Where where) { return elementwise(Abs{}, where, x); }
template <Real T>
Tensor<T> clamp(const Tensor<T>& x, std::type_identity_t<T> low, std::type_identity_t<T> high, Where where) {
    const auto functor = located(where, [&] {
        if (!(low <= high)) throw ValueError(fmt::format("clamp: low is above high: low is {}, high is {}", low, high));
        return Clamp<T>{low, high};
    });
    return elementwise(functor, where, x);
}

template Tensor<float> pow(const Tensor<float>&, float, Where);
template Tensor<double> pow(const Tensor<double>&, double, Where);
template Tensor<float> exp(const Tensor<float>&, Where);
template Tensor<double> exp(const Tensor<double>&, Where);
template Tensor<float> log(const Tensor<float>&, Where);
template Tensor<double> log(const Tensor<double>&, Where);
template Tensor<float> sqrt(const Tensor<float>&, Where);
template Tensor<double> sqrt(const Tensor<double>&, Where);
template Tensor<float> rsqrt(const Tensor<float>&, Where);
template Tensor<double> rsqrt(const Tensor<double>&, Where);
template Tensor<float> tanh(const Tensor<float>&, Where);
template Tensor<double> tanh(const Tensor<double>&, Where);
template Tensor<float> sigmoid(const Tensor<float>&, Where);
template Tensor<double> sigmoid(const Tensor<double>&, Where);
template Tensor<float> silu(const Tensor<float>&, Where);
template Tensor<double> silu(const Tensor<double>&, Where);
template Tensor<float> gelu(const Tensor<float>&, Gelu, Where);
template Tensor<double> gelu(const Tensor<double>&, Gelu, Where);
template Tensor<float> relu(const Tensor<float>&, Where);
template Tensor<double> relu(const Tensor<double>&, Where);
template Tensor<float> relu_squared(const Tensor<float>&, Where);
template Tensor<double> relu_squared(const Tensor<double>&, Where);
template Tensor<float> abs(const Tensor<float>&, Where);
template Tensor<double> abs(const Tensor<double>&, Where);
template Tensor<float> clamp(const Tensor<float>&, float, float, Where);
template Tensor<double> clamp(const Tensor<double>&, double, double, Where);

}  // namespace xtape
