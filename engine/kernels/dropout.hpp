#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// A mask: element i is kept unless a random number that follows from all of this and i falls below the probability.
struct DropoutMask {
    std::uint64_t seed;
    std::uint32_t step, record;
    double probability;
};

/// y (+)= x / (1 − probability) where kept, and 0 elsewhere: its own adjoint.
template <class T> void dropout(const DropoutMask& mask, Index n, const T* x, T* y, bool accumulate);

}  // namespace xtape::kernels
