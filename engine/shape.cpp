#include <xtape/engine/error.hpp>
#include <xtape/engine/shape.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace xtape {
namespace {

std::string text_of(std::span<const Index> extents) {
    std::string text = "[";
    for (const Index extent : extents) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
    return text + "]";
}

}  // namespace

Shape::Shape(std::span<const Index> extents) {
    if (extents.size() > max_rank)
        throw ShapeError(
            fmt::format("shape: rank {} is above {}: shape is {}", extents.size(), max_rank, text_of(extents)));
    rank_ = static_cast<int>(extents.size());
    std::copy(extents.begin(), extents.end(), extents_.begin());
    for (Index extent : extents) {
        if (extent < 0) throw ShapeError(fmt::format("shape: an extent is negative: shape is {}", text_of(extents)));
        if (__builtin_mul_overflow(size_, extent, &size_) || size_ > (Index{1} << 48))
            throw ShapeError(fmt::format("shape: too many elements: shape is {}", text_of(extents)));
    }
}

Index Shape::rows() const {
    Index rows = 1;
    for (int axis = 0; axis + 1 < rank_; ++axis) rows *= (*this)[axis];
    return rows;
}

Shape Shape::with(int axis, Index extent) const {
    std::array<Index, max_rank> extents = extents_;
    extents[static_cast<std::size_t>(axis)] = extent;
    return Shape(std::span<const Index>(extents.data(), static_cast<std::size_t>(rank_)));
}

Shape Shape::without(int axis) const {
    std::array<Index, max_rank> extents = extents_;
    std::copy(begin() + axis + 1, end(), extents.begin() + axis);
    return Shape(std::span<const Index>(extents.data(), static_cast<std::size_t>(rank_ - 1)));
}

Shape Shape::inserted(int axis, Index extent) const {
    std::array<Index, max_rank + 1> extents{};
    std::copy(begin(), begin() + axis, extents.begin());
    extents[static_cast<std::size_t>(axis)] = extent;
    std::copy(begin() + axis, end(), extents.begin() + axis + 1);
    return Shape(std::span<const Index>(extents.data(), static_cast<std::size_t>(rank_ + 1)));
}

std::string to_string(const Shape& shape) { return text_of({shape.begin(), shape.end()}); }

int axis_of(std::string_view op, int axis, const Shape& shape) {
    if (axis < -shape.rank() || axis >= shape.rank())
        throw ValueError(fmt::format("{}: axis {} does not exist: x is {}", op, axis, to_string(shape)));
    return axis < 0 ? axis + shape.rank() : axis;
}

Shape broadcast(std::string_view op, const Shape& a, const Shape& b) {
    if (a == b) return a;
    const int rank = std::max(a.rank(), b.rank());
    std::array<Index, Shape::max_rank> extents{};
    for (int axis = 0; axis < rank; ++axis) {
        const int in_a = axis - (rank - a.rank());
        const int in_b = axis - (rank - b.rank());
        const Index m = in_a < 0 ? 1 : a[in_a];
        const Index n = in_b < 0 ? 1 : b[in_b];
        if (m != n && m != 1 && n != 1)
            throw ShapeError(fmt::format("{}: shapes do not broadcast at axis {} ({} against {}): a is {}, b is {}", op,
                                         axis, m, n, to_string(a), to_string(b)));
        extents[static_cast<std::size_t>(axis)] = m == 1 ? n : m;
    }
    return Shape(std::span<const Index>(extents.data(), static_cast<std::size_t>(rank)));
}

}  // namespace xtape
