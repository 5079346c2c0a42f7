#pragma once
// Shape: the extents of a tensor, and the broadcasting rule. Start reading the engine here.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace xtape {

/// Extents, offsets and axes are signed, so that differences of them are safe.
using Index = std::int64_t;

/// Extents of a row-major array, of rank 0 (a scalar) to 6. A value type of one cache line; its size is known at once.
class Shape {
public:
    static constexpr int max_rank = 6;

    constexpr Shape() = default;
    /// Throws ShapeError for a negative extent, a rank above 6, or a size that overflows.
    Shape(std::initializer_list<Index> extents) : Shape(std::span<const Index>(extents.begin(), extents.size())) {}
    explicit Shape(std::span<const Index> extents);

    int rank() const { return rank_; }
    /// Number of elements; 1 for a scalar.
    Index size() const { return size_; }
    /// Extent of an axis; a negative axis counts from the end. The axis must exist: see `axis_of`.
    Index operator[](int axis) const { return extents_[static_cast<std::size_t>(axis < 0 ? axis + rank_ : axis)]; }
    /// Extent of the last axis (1 for a scalar), and the product of the others.
    Index columns() const { return rank_ == 0 ? 1 : extents_[static_cast<std::size_t>(rank_ - 1)]; }
    Index rows() const;

    const Index* begin() const { return extents_.data(); }
    const Index* end() const { return extents_.data() + rank_; }

    /// The same shape with one axis changed, removed or inserted.
    Shape with(int axis, Index extent) const;
    Shape without(int axis) const;
    Shape inserted(int axis, Index extent) const;

    /// Extents beyond the rank are 0, so that this is one branch: it runs several times in each op.
    bool operator==(const Shape& other) const {
        Index differs = rank_ ^ other.rank_;
        for (std::size_t i = 0; i < max_rank; ++i) differs |= extents_[i] ^ other.extents_[i];
        return differs == 0;
    }

private:
    std::array<Index, max_rank> extents_{};
    Index size_ = 1;
    int rank_ = 0;
};

/// `[8, 16]`; a scalar is `[]`.
std::string to_string(const Shape& shape);

/// The axis counted from the front. Throws ValueError, naming `op`, when `shape` has no such axis.
int axis_of(std::string_view op, int axis, const Shape& shape);

/// NumPy's rule. Throws ShapeError with the axis at fault, naming the operands a and b.
Shape broadcast(std::string_view op, const Shape& a, const Shape& b);

}  // namespace xtape
