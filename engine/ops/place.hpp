#pragma once

#include <xtape/engine/ops/located.hpp>
#include <xtape/engine/shape.hpp>

#include <array>

namespace xtape {

/// The coordinates of an element counted in row-major order, for an error's text: `[0, 5]`.
inline std::string place(const Shape& shape, Index element) {
    const auto rank = static_cast<std::size_t>(shape.rank());
    std::array<Index, Shape::max_rank> at{};
    for (std::size_t axis = rank; axis-- > 0; element /= shape[static_cast<int>(axis)])
        at[axis] = element % shape[static_cast<int>(axis)];
    return list_of(std::span<const Index>(at.data(), rank));
}

}  // namespace xtape
