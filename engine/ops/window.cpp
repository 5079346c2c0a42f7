#include <xtape/engine/kernels/strided.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace xtape {
namespace {

using kernels::Window;
using kernels::Write;

/// The window over all that lies around an axis of two shapes that differ along it alone.
Window window_of(const Shape& from, const Shape& to, int axis, Index from_slice, Index to_slice, Index count) {
    Window window{.from_extent = from[axis], .to_extent = to[axis], .from = from_slice, .to = to_slice, .count = count};
    for (int i = 0; i < axis; ++i) window.outer *= from[i];
    for (int i = axis + 1; i < from.rank(); ++i) window.inner *= from[i];
    return window;
}

/// y[t − to + from] = x[t] for `count` places along an axis, and zeros elsewhere; its adjoint is the same, backwards.
/// Slice, pad and shift are this.
template <class T, const char* Name> struct Move {
    static constexpr std::string_view name = Name;
    int axis;
    Index extent;  ///< of y
    Index from, to, count;

    Shape shape(const Shape& x) const { return x.with(axis, extent); }
    void forward(View<T> x, Out<T> y) const {
        kernels::copy_window(window_of(x.shape, y.shape, axis, from, to, count), x.data, y.data, Write::with_zeros);
    }
    void vjp(Grad<0, T> dx, Cotangent<T> dy) const {
        kernels::copy_window(window_of(dy.shape, dx.shape, axis, to, from, count), dy.data, dx.data,
                             dx.accumulate ? Write::add : Write::with_zeros);  // dx = dy, moved back
    }
};

constexpr char slice_name[] = "slice";
constexpr char pad_name[] = "pad";
constexpr char shift_name[] = "shift";

/// Two parts side by side; more of them are a tree of these.
template <class T> struct Concat {
    static constexpr std::string_view name = "concat";
    int axis;

    Shape shape(const Shape& a, const Shape& b) const { return a.with(axis, a[axis] + b[axis]); }
    void forward(View<T> a, View<T> b, Out<T> y) const {
        kernels::copy_window(window_of(a.shape, y.shape, axis, 0, 0, a.shape[axis]), a.data, y.data, Write::alone);
        kernels::copy_window(window_of(b.shape, y.shape, axis, 0, a.shape[axis], b.shape[axis]), b.data, y.data,
                             Write::alone);
    }
    void vjp(Grad<0, T> da, Cotangent<T> dy) const { take(da, dy, 0); }  // da = the first part of dy
    void vjp(Grad<1, T> db, Cotangent<T> dy) const { take(db, dy, dy.shape[axis] - db.shape[axis]); }  // db = the other

private:
    void take(const detail::Destination<T>& dx, const View<T>& dy, Index from) const {
        kernels::copy_window(window_of(dy.shape, dx.shape, axis, from, 0, dx.shape[axis]), dy.data, dx.data,
                             dx.accumulate ? Write::add : Write::alone);
    }
};

/// Throws ShapeError unless all parts have the first one's shape, except along `axis` (-1: there too).
template <class T> void check_parts(std::string_view op, std::span<const Tensor<T>> parts, int axis) {
    for (std::size_t i = 1; i < parts.size(); ++i) {
        const Shape& first = parts[0].shape();
        const Shape& other = parts[i].shape();
        if (first.rank() != other.rank() || (axis < 0 ? other : other.with(axis, first[axis])) != first)
            throw ShapeError(fmt::format("{}: parts do not fit{}: part 0 is {}, part {} is {}", op,
                                         axis < 0 ? std::string() : fmt::format(" beside axis {}", axis),
                                         to_string(first), i, to_string(other)));
    }
}

template <class T> Tensor<T> concat_tree(std::span<const Tensor<T>> parts, int axis) {
    if (parts.size() == 1) return parts[0];
    const std::size_t half = (parts.size() + 1) / 2;
    return apply<T>(Concat<T>{axis}, {}, concat_tree(parts.first(half), axis), concat_tree(parts.subspan(half), axis));
}

}  // namespace

template <Real T> Tensor<T> slice(const Tensor<T>& x, int axis, Index begin, Index end, Where where) {
    const auto op = located(where, [&] {
        const int along = axis_of("slice", axis, x.shape());
        const Index n = x.shape()[along];
        const Index first = begin < 0 ? begin + n : begin;
        const Index last = end < 0 ? end + n : end;
        if (first < 0 || last > n || first > last)
            throw ValueError(fmt::format("slice: [{}, {}) is not inside axis {} of {}: x is {}", begin, end, along, n,
                                         to_string(x.shape())));
        return Move<T, slice_name>{along, last - first, first, 0, last - first};
    });
    return apply<T>(op, where, x);
}

template <Real T> Tensor<T> pad(const Tensor<T>& x, int axis, Index before, Index after, Where where) {
    const auto op = located(where, [&] {
        const int along = axis_of("pad", axis, x.shape());
        if (before < 0 || after < 0)
            throw ValueError(fmt::format("pad: a width is negative: before is {}, after is {}, x is {}", before, after,
                                         to_string(x.shape())));
        const Index n = x.shape()[along];
        return Move<T, pad_name>{along, before + n + after, 0, before, n};
    });
    return apply<T>(op, where, x);
}

template <Real T> Tensor<T> shift(const Tensor<T>& x, int axis, Index by, Where where) {
    const auto op = located(where, [&] {
        const int along = axis_of("shift", axis, x.shape());
        const Index n = x.shape()[along];
        const Index moved = std::clamp(by, -n, n);
        const Index left = std::max<Index>(0, -moved);
        const Index right = std::max<Index>(0, moved);
        return Move<T, shift_name>{along, n, left, right, n - left - right};
    });
    return apply<T>(op, where, x);
}

template <Real T> Tensor<T> concat(std::span<const Tensor<T>> parts, int axis, Where where) {
    const int along = located(where, [&] {
        if (parts.empty()) throw ValueError("concat: there are no parts");
        const int found = axis_of("concat", axis, parts[0].shape());
        check_parts("concat", parts, found);
        return found;
    });
    return concat_tree(parts, along);
}

template <Real T> Tensor<T> stack(std::span<const Tensor<T>> parts, int axis, Where where) {
    const Shape one = located(where, [&] {
        if (parts.empty()) throw ValueError("stack: there are no parts");
        check_parts("stack", parts, -1);
        const Shape& shape = parts[0].shape();
        const Shape longer = shape.inserted(0, 1);
        return shape.inserted(axis_of("stack", axis, longer), 1);
    });
    std::vector<Tensor<T>> slices;
    for (const Tensor<T>& part : parts) slices.push_back(reshape(part, one, where));
    return concat(std::span<const Tensor<T>>(slices), axis, where);
}

template <Real T>
std::vector<Tensor<T>> split(const Tensor<T>& x, std::span<const Index> extents, int axis, Where where) {
    const int along = located(where, [&] {
        const int found = axis_of("split", axis, x.shape());
        const Index total = std::accumulate(extents.begin(), extents.end(), Index{0});
        if (total != x.shape()[found] || std::ranges::any_of(extents, [](Index extent) { return extent < 0; }))
            throw ShapeError(fmt::format("split: the pieces do not add up to axis {}: pieces are {}, x is {}", found,
                                         list_of(extents), to_string(x.shape())));
        return found;
    });
    std::vector<Tensor<T>> pieces;
    Index begin = 0;
    for (const Index extent : extents) {
        pieces.push_back(slice(x, along, begin, begin + extent, where));
        begin += extent;
    }
    return pieces;
}

template Tensor<float> slice(const Tensor<float>&, int, Index, Index, Where);
template Tensor<double> slice(const Tensor<double>&, int, Index, Index, Where);
template Tensor<float> pad(const Tensor<float>&, int, Index, Index, Where);
template Tensor<double> pad(const Tensor<double>&, int, Index, Index, Where);
template Tensor<float> shift(const Tensor<float>&, int, Index, Where);
template Tensor<double> shift(const Tensor<double>&, int, Index, Where);
template Tensor<float> concat(std::span<const Tensor<float>>, int, Where);
template Tensor<double> concat(std::span<const Tensor<double>>, int, Where);
template Tensor<float> stack(std::span<const Tensor<float>>, int, Where);
template Tensor<double> stack(std::span<const Tensor<double>>, int, Where);
template std::vector<Tensor<float>> split(const Tensor<float>&, std::span<const Index>, int, Where);
template std::vector<Tensor<double>> split(const Tensor<double>&, std::span<const Index>, int, Where);

}  // namespace xtape
