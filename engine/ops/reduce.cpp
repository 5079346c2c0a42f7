#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>

#include <fmt/format.h>

namespace xtape {

std::uint32_t Axes::mask(std::string_view op, const Shape& shape) const {
    if (all()) return (1u << shape.rank()) - 1u;
    std::uint32_t mask = 0;
    for (const int given : *axes_) {
        const int axis = axis_of(op, given, shape);
        if (((mask >> axis) & 1u) != 0)
            throw ValueError(fmt::format("{}: axis {} is given twice: x is {}", op, axis, to_string(shape)));
        mask |= 1u << axis;
    }
    return mask;
}

namespace {

/// The axes to reduce, and whether they stay with extent 1.
struct Reduction {
    std::uint32_t mask;
    bool keep;

    Shape kept(const Shape& x) const { return reduced(x, true); }
    Shape result(const Shape& x) const { return reduced(x, keep); }

    /// `result`, checked: there must be an element for each of the result's.
    Shape result_of_some(std::string_view op, std::string_view what, const Shape& x) const {
        const Shape y = result(x);
        if (x.size() == 0 && y.size() > 0)
            throw ValueError(fmt::format("{}: there is no {} of nothing: x is {}", op, what, to_string(x)));
        return y;
    }

private:
    Shape reduced(const Shape& x, bool keeps) const {
        std::array<Index, Shape::max_rank> extents{};
        std::size_t rank = 0;
        for (int axis = 0; axis < x.rank(); ++axis) {
            const bool drops = ((mask >> axis) & 1u) != 0;
            if (!drops || keeps) extents[rank++] = drops ? 1 : x[axis];
        }
        return Shape(std::span<const Index>(extents.data(), rank));
    }
};

template <class T> struct Sum {
    static constexpr std::string_view name = "sum";
    Reduction over;

    Shape shape(const Shape& x) const { return over.result(x); }
    void forward(View<T> x, Out<T> y) const {
        if (y.size() == 1)
            *y.data = static_cast<T>(kernels::sum_in_double(x.size(), x.data));
        else
            detail::reduce_into<kernels::Add, T>({y.data, over.kept(x.shape), false}, x);
    }
    void vjp(Grad<0, T> dx, Cotangent<T> dy) const {
        const Shape kept = over.kept(dx.shape);
        detail::map_backward<T>(dx, dx.shape, std::identity(), View<T>{dy.data, kept});  // dx = dy, repeated
    }
};

template <class T> struct Mean {
    static constexpr std::string_view name = "mean";
    Reduction over;

    Shape shape(const Shape& x) const { return over.result_of_some(name, "mean", x); }
    void forward(View<T> x, Out<T> y) const {
        const double n = static_cast<double>(x.size()) / static_cast<double>(y.size());
        if (y.size() == 1) {
            *y.data = static_cast<T>(kernels::sum_in_double(x.size(), x.data) / n);
        } else {
            detail::reduce_into<kernels::Add, T>({y.data, over.kept(x.shape), false}, x);
            for (Index i = 0; i < y.size(); ++i) y.data[i] /= static_cast<T>(n);
        }
    }
    void vjp(Grad<0, T> dx, Cotangent<T> dy) const {
        const Shape kept = over.kept(dx.shape);
        const auto n = static_cast<double>(dx.shape.size()) / static_cast<double>(dy.size());
        const kernels::Batch<T> part(static_cast<T>(1 / n));
        const auto share = [&part](const auto& g) { return g * part; };
        detail::map_backward<T>(dx, dx.shape, share, View<T>{dy.data, kept});  // dx = dy / n, repeated
    }
};

/// The largest or the smallest: Join is kernels::Larger or kernels::Smaller.
template <class T, class Join> struct Extreme {
    using V = kernels::Batch<T>;
    static constexpr bool largest = std::same_as<Join, kernels::Larger>;
    static constexpr std::string_view name = largest ? "max" : "min";
    Reduction over;

    Shape shape(const Shape& x) const { return over.result_of_some(name, largest ? "largest" : "smallest", x); }
    void forward(View<T> x, Out<T> y) const { detail::reduce_into<Join, T>({y.data, over.kept(x.shape), false}, x); }
    void vjp(Grad<0, T> dx, Input<0, T> x, Output<T> y, Cotangent<T> dy) const {
        const Shape kept = over.kept(x.shape);
        const View<T> top{y.data, kept};
        const Tensor<T> count = Tensor<T>::unwritten(kept);
        const auto equal = [](const V& vx, const V& vy) { return select(vx == vy, V(1), V(0)); };
        detail::map_backward<T>({count.body()->data, kept, false}, x.shape, equal, x, top);
        const auto share = [](const V& g, const V& n, const V& vx, const V& vy) {
            return select(vx == vy, g / n, V(0));
        };
        detail::map_backward<T>(dx, x.shape, share, View<T>{dy.data, kept}, detail::view(count), x,
                                top);  // dx = [x = y] dy / n
    }
};

template <class T, template <class> class Op>
Tensor<T> reduce(const Tensor<T>& x, const Axes& axes, bool keep, Where where) {
    const std::uint32_t mask = located(where, [&] { return axes.mask(Op<T>::name, x.shape()); });
    return apply<T>(Op<T>{{mask, keep}}, where, x);
}

template <class T> using Largest = Extreme<T, kernels::Larger>;
template <class T> using Smallest = Extreme<T, kernels::Smaller>;

}  // namespace

template <Real T> Tensor<T> sum(const Tensor<T>& x, const Axes& axes, bool keep, Where where) {
    return reduce<T, Sum>(x, axes, keep, where);
}
template <Real T> Tensor<T> mean(const Tensor<T>& x, const Axes& axes, bool keep, Where where) {
    return reduce<T, Mean>(x, axes, keep, where);
}
template <Real T> Tensor<T> max(const Tensor<T>& x, const Axes& axes, bool keep, Where where) {
    return reduce<T, Largest>(x, axes, keep, where);
}
template <Real T> Tensor<T> min(const Tensor<T>& x, const Axes& axes, bool keep, Where where) {
    return reduce<T, Smallest>(x, axes, keep, where);
}

template Tensor<float> sum(const Tensor<float>&, const Axes&, bool, Where);
template Tensor<double> sum(const Tensor<double>&, const Axes&, bool, Where);
template Tensor<float> mean(const Tensor<float>&, const Axes&, bool, Where);
template Tensor<double> mean(const Tensor<double>&, const Axes&, bool, Where);
template Tensor<float> max(const Tensor<float>&, const Axes&, bool, Where);
template Tensor<double> max(const Tensor<double>&, const Axes&, bool, Where);
template Tensor<float> min(const Tensor<float>&, const Axes&, bool, Where);
template Tensor<double> min(const Tensor<double>&, const Axes&, bool, Where);

}  // namespace xtape
