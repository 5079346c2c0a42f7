#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/ops.hpp>

namespace xtape {
namespace {

template <class T> struct Add {
    static constexpr std::string_view name = "add";

    Shape shape(const Shape& a, const Shape& b) const { return broadcast(name, a, b); }
    void forward(View<T> a, View<T> b, Out<T> y) const { detail::map_forward(y, std::plus<>(), a, b); }
    Identity vjp(Grad<0, T>) const { return {}; }  // da = dy
    Identity vjp(Grad<1, T>) const { return {}; }  // db = dy
};

template <class T> struct Sub {
    static constexpr std::string_view name = "sub";

    Shape shape(const Shape& a, const Shape& b) const { return broadcast(name, a, b); }
    void forward(View<T> a, View<T> b, Out<T> y) const { detail::map_forward(y, std::minus<>(), a, b); }
    Identity vjp(Grad<0, T>) const { return {}; }  // da = dy
    void vjp(Grad<1, T> db, Cotangent<T> dy) const {
        detail::map_backward<T>(db, dy.shape, std::negate<>(), dy);  // db = −dy
    }
};

struct Mul {
    static constexpr std::string_view name = "mul";
    template <class V> V f(const V& a, const V& b) const { return a * b; }
    template <class V> V da_b(const V& b) const { return b; }  // ∂y/∂a = b
    template <class V> V db_a(const V& a) const { return a; }  // ∂y/∂b = a
};

struct Div {
    static constexpr std::string_view name = "div";
    template <class V> V f(const V& a, const V& b) const { return a / b; }
    template <class V> V da_b(const V& b) const { return V(1) / b; }               // ∂y/∂a = 1 / b
    template <class V> V db_by(const V& b, const V& y) const { return -(y / b); }  // ∂y/∂b = −a / b² = −y / b
};

struct Maximum {
    static constexpr std::string_view name = "maximum";
    template <class V> V f(const V& a, const V& b) const { return kernels::larger(a, b); }
    template <class V> V da_ab(const V& a, const V& b) const {
        return kernels::larger_share(a, b);  // [a > b] + [a = b] / 2
    }
    template <class V> V db_ab(const V& a, const V& b) const {
        return kernels::larger_share(b, a);  // [b > a] + [a = b] / 2
    }
};

struct Minimum {
    static constexpr std::string_view name = "minimum";
    template <class V> V f(const V& a, const V& b) const { return kernels::smaller(a, b); }
    template <class V> V da_ab(const V& a, const V& b) const {
        return kernels::larger_share(b, a);  // [a < b] + [a = b] / 2
    }
    template <class V> V db_ab(const V& a, const V& b) const {
        return kernels::larger_share(a, b);  // [b < a] + [a = b] / 2
    }
};

template <class T> struct Choice {
    using V = kernels::Batch<T>;
    static constexpr std::string_view name = "where";

    Shape shape(const Shape& condition, const Shape& a, const Shape& b) const {
        return broadcast(name, condition, broadcast(name, a, b));
    }
    void forward(View<T> condition, View<T> a, View<T> b, Out<T> y) const {
        const auto choose = [](const V& c, const V& va, const V& vb) { return select(c == V(0), vb, va); };
        detail::map_forward(y, choose, condition, a, b);
    }
    void vjp(Grad<0, T> dc) const {
        if (!dc.accumulate) std::fill_n(dc.data, dc.shape.size(), T(0));  // dc = 0: a choice has no slope
    }
    void vjp(Grad<1, T> da, Input<0, T> condition, Cotangent<T> dy) const {
        const auto chosen = [](const V& g, const V& c) { return select(c == V(0), V(0), g); };  // da = [c ≠ 0] dy
        detail::map_backward<T>(da, dy.shape, chosen, dy, condition);
    }
    void vjp(Grad<2, T> db, Input<0, T> condition, Cotangent<T> dy) const {
        const auto chosen = [](const V& g, const V& c) { return select(c == V(0), g, V(0)); };  // db = [c = 0] dy
        detail::map_backward<T>(db, dy.shape, chosen, dy, condition);
    }
};

template <class T> struct Scale {
    static constexpr std::string_view name = "scale";
    T c;
    template <class V> V f(const V& x) const { return V(c) * x; }
    template <class V> V dx() const { return V(c); }  // ∂y/∂x = c
};

template <class T> struct Offset {
    static constexpr std::string_view name = "offset";
    T c;

    Shape shape(const Shape& x) const { return x; }
    void forward(View<T> x, Out<T> y) const {
        const auto f = [this](const auto& v) { return v + kernels::Batch<T>(c); };
        detail::map_forward(y, f, x);
    }
    Identity vjp(Grad<0, T>) const { return {}; }  // dx = dy
};

struct Neg {
    static constexpr std::string_view name = "neg";
    template <class V> V f(const V& x) const { return -x; }
    template <class V> V dx() const { return V(-1); }  // ∂y/∂x = −1
};

template <class T> struct Reciprocal {
    static constexpr std::string_view name = "reciprocal";
    T c;
    template <class V> V f(const V& x) const { return V(c) / x; }
    template <class V> V dx_x(const V& x) const { return -(V(c) / x / x); }  // ∂y/∂x = −c / x²
};

}  // namespace

template <Real T> Tensor<T> add(const Tensor<T>& a, const Tensor<T>& b, Where where) {
    return apply<T>(Add<T>{}, where, a, b);
}
template <Real T> Tensor<T> sub(const Tensor<T>& a, const Tensor<T>& b, Where where) {
    return apply<T>(Sub<T>{}, where, a, b);
}
template <Real T> Tensor<T> mul(const Tensor<T>& a, const Tensor<T>& b, Where where) {
    return elementwise(Mul{}, where, a, b);
}
template <Real T> Tensor<T> div(const Tensor<T>& a, const Tensor<T>& b, Where where) {
    return elementwise(Div{}, where, a, b);
}
template <Real T> Tensor<T> maximum(const Tensor<T>& a, const Tensor<T>& b, Where where) {
    return elementwise(Maximum{}, where, a, b);
}
template <Real T> Tensor<T> minimum(const Tensor<T>& a, const Tensor<T>& b, Where where) {
    return elementwise(Minimum{}, where, a, b);
}
template <Real T> Tensor<T> where(const Tensor<T>& condition, const Tensor<T>& a, const Tensor<T>& b, Where where) {
    return apply<T>(Choice<T>{}, where, condition, a, b);
}
template <Real T> Tensor<T> scale(const Tensor<T>& x, std::type_identity_t<T> c, Where where) {
    return elementwise(Scale<T>{c}, where, x);
}
template <Real T> Tensor<T> offset(const Tensor<T>& x, std::type_identity_t<T> c, Where where) {
    return apply<T>(Offset<T>{c}, where, x);
}
template <Real T> Tensor<T> neg(const Tensor<T>& x, Where where) { return elementwise(Neg{}, where, x); }
template <Real T> Tensor<T> reciprocal(const Tensor<T>& x, std::type_identity_t<T> c, Where where) {
    return elementwise(Reciprocal<T>{c}, where, x);
}

template Tensor<float> add(const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> add(const Tensor<double>&, const Tensor<double>&, Where);
template Tensor<float> sub(const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> sub(const Tensor<double>&, const Tensor<double>&, Where);
template Tensor<float> mul(const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> mul(const Tensor<double>&, const Tensor<double>&, Where);
template Tensor<float> div(const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> div(const Tensor<double>&, const Tensor<double>&, Where);
template Tensor<float> maximum(const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> maximum(const Tensor<double>&, const Tensor<double>&, Where);
template Tensor<float> minimum(const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> minimum(const Tensor<double>&, const Tensor<double>&, Where);
template Tensor<float> where(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&, Where);
template Tensor<double> where(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&, Where);
template Tensor<float> scale(const Tensor<float>&, float, Where);
template Tensor<double> scale(const Tensor<double>&, double, Where);
template Tensor<float> offset(const Tensor<float>&, float, Where);
template Tensor<double> offset(const Tensor<double>&, double, Where);
template Tensor<float> neg(const Tensor<float>&, Where);
template Tensor<double> neg(const Tensor<double>&, Where);
template Tensor<float> reciprocal(const Tensor<float>&, float, Where);
template Tensor<double> reciprocal(const Tensor<double>&, double, Where);

}  // namespace xtape
