#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// Rows of `heads` heads of 2 × pairs channels, to be rotated by positions[row] × frequencies[i] in the plane of pair
/// i: channels 2i and 2i + 1 of a head where interleaved, else i and i + pairs.
struct Rope {
    Index rows, heads, pairs;
    bool interleaved;
    const std::int32_t* positions;
    const double* frequencies;
};

/// y[i] = θ^(−i / pairs).
void rope_frequencies(Index pairs, double theta, double* y);

/// y (+)= x rotated, by the opposite angles where `back`: that is the adjoint.
template <class T> void rope(const Rope& shape, bool back, const T* x, T* y, bool accumulate);

}  // namespace xtape::kernels
