#pragma once
// The size of a tensor, as all checks mean it.

#include <algorithm>
#include <cmath>
#include <span>

namespace xtape::check {

/// max|x| of the elements that are finite: one that is not must not excuse the errors of the others.
inline double largest_of(std::span<const double> values) {
    double largest = 0;
    for (const double v : values)
        if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
    return largest;
}

}  // namespace xtape::check
