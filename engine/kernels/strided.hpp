#pragma once
// Copies between arrays whose elements lie in another order or another place.

#include <xtape/engine/kernels/elementwise.hpp>

namespace xtape::kernels {

/// A run of `count` slices along one axis of two arrays: [outer, from_extent, inner] from slice `from` on, to
/// [outer, to_extent, inner] from slice `to` on.
struct Window {
    Index outer = 1, inner = 1;
    Index from_extent = 0, to_extent = 0;
    Index from = 0, to = 0;
    Index count = 0;
};

/// What a copy does with its target: write it and put zeros around the window, write the window alone, add to it.
enum class Write { with_zeros, alone, add };

/// y's window = x's window.
template <class T> void copy_window(const Window& window, const T* x, T* y, Write write);

/// An axis of y, and what one step along it means in x.
struct PermutedAxis {
    Index extent;
    Index stride;
};

/// y (+)= x, for axes of y from the outermost to the innermost; both are dense.
template <class T> void permute(std::span<const PermutedAxis> axes, const T* x, T* y, bool accumulate);

}  // namespace xtape::kernels
