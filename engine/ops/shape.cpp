#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/kernels/strided.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>

#include <numeric>

#include <fmt/format.h>

namespace xtape {
namespace {

template <class T> struct Reshape {
    static constexpr std::string_view name = "reshape";
    static constexpr bool alias = true;
    Shape to;

    Shape shape(const Shape& x) const {
        if (x.size() != to.size())
            throw ShapeError(fmt::format("reshape: {} elements do not fit {}: x is {}, shape is {}", x.size(),
                                         to.size(), to_string(x), to_string(to)));
        return to;
    }
    Identity vjp(Grad<0, T>) const { return {}; }  // dx = dy
};

template <class T> struct Permute {
    static constexpr std::string_view name = "permute";
    std::array<int, Shape::max_rank> order;

    Shape shape(const Shape& x) const {
        std::array<Index, Shape::max_rank> extents{};
        for (int i = 0; i < x.rank(); ++i) extents[static_cast<std::size_t>(i)] = x[order[static_cast<std::size_t>(i)]];
        return Shape(std::span<const Index>(extents.data(), static_cast<std::size_t>(x.rank())));
    }
    void forward(View<T> x, Out<T> y) const { move(order, x.shape, x.data, y.data, false); }
    void vjp(Grad<0, T> dx, Cotangent<T> dy) const {
        std::array<int, Shape::max_rank> inverse{};
        for (int i = 0; i < dy.shape.rank(); ++i)
            inverse[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = i;
        move(inverse, dy.shape, dy.data, dx.data, dx.accumulate);  // dx = dy, its axes put back
    }

private:
    static void move(const std::array<int, Shape::max_rank>& order, const Shape& from, const T* x, T* y,
                     bool accumulate) {
        if (from.size() == 0) return;
        std::array<Index, Shape::max_rank> stride{};
        Index next = 1;
        for (int axis = from.rank(); axis-- > 0; next *= from[axis]) stride[static_cast<std::size_t>(axis)] = next;
        std::array<kernels::PermutedAxis, Shape::max_rank> axes{};
        const auto rank = static_cast<std::size_t>(from.rank());
        for (std::size_t i = 0; i < rank; ++i) axes[i] = {from[order[i]], stride[static_cast<std::size_t>(order[i])]};
        kernels::permute<T>(std::span(axes.data(), rank), x, y, accumulate);
    }
};

template <class T> struct BroadcastTo {
    static constexpr std::string_view name = "broadcast_to";
    Shape to;

    Shape shape(const Shape& x) const {
        if (x.rank() > to.rank() || broadcast(name, x, to) != to)
            throw ShapeError(fmt::format("broadcast_to: x does not broadcast to the shape: x is {}, shape is {}",
                                         to_string(x), to_string(to)));
        return to;
    }
    void forward(View<T> x, Out<T> y) const { detail::map_forward(y, std::identity(), x); }
    Identity vjp(Grad<0, T>) const { return {}; }  // dx = dy, summed over its copies by the engine
};

}  // namespace

template <Real T> Tensor<T> reshape(const Tensor<T>& x, const Shape& shape, Where where) {
    return apply<T>(Reshape<T>{shape}, where, x);
}

template <Real T> Tensor<T> permute(const Tensor<T>& x, std::span<const int> order, Where where) {
    const auto op = located(where, [&] {
        Permute<T> permute{};
        std::uint32_t seen = 0;
        const Shape& shape = x.shape();
        for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), Shape::max_rank); ++i) {
            permute.order[i] = axis_of("permute", order[i], shape);
            seen |= 1u << permute.order[i];
        }
        if (order.size() != static_cast<std::size_t>(shape.rank()) || seen != (1u << shape.rank()) - 1u)
            throw ValueError(fmt::format("permute: the order must name each axis once: order is {}, x is {}",
                                         list_of(order), to_string(shape)));
        return permute;
    });
    return apply<T>(op, where, x);
}

template <Real T> Tensor<T> transpose(const Tensor<T>& x, Where where) {
    const auto op = located(where, [&] {
        const int rank = x.shape().rank();
        if (rank < 2)
            throw ShapeError(
                fmt::format("transpose: there must be two axes to exchange: x is {}", to_string(x.shape())));
        Permute<T> permute{};
        std::iota(permute.order.begin(), permute.order.end(), 0);
        std::swap(permute.order[static_cast<std::size_t>(rank - 1)], permute.order[static_cast<std::size_t>(rank - 2)]);
        return permute;
    });
    return apply<T>(op, where, x);
}

template <Real T> Tensor<T> broadcast_to(const Tensor<T>& x, const Shape& shape, Where where) {
    return apply<T>(BroadcastTo<T>{shape}, where, x);
}

template Tensor<float> reshape(const Tensor<float>&, const Shape&, Where);
template Tensor<double> reshape(const Tensor<double>&, const Shape&, Where);
template Tensor<float> permute(const Tensor<float>&, std::span<const int>, Where);
template Tensor<double> permute(const Tensor<double>&, std::span<const int>, Where);
template Tensor<float> transpose(const Tensor<float>&, Where);
template Tensor<double> transpose(const Tensor<double>&, Where);
template Tensor<float> broadcast_to(const Tensor<float>&, const Shape&, Where);
template Tensor<double> broadcast_to(const Tensor<double>&, const Shape&, Where);

}  // namespace xtape
