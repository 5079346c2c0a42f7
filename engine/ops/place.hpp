#pragma once

#include <xtape/engine/shape.hpp>

namespace xtape {

/// The coordinates of an element counted in row-major order, for an error's text: `[0, 5]`.
inline std::string place(const Shape& shape, Index element) {
    std::string text = "]";
    for (int axis = shape.rank(); axis-- > 0;) {
        text = std::to_string(element % shape[axis]) + text;
        if (axis > 0) text = ", " + text;
        element /= shape[axis];
    }
    return "[" + text;
}

}  // namespace xtape
