#pragma once
// What linear recurrences share: where sequences begin, which states are kept, and the columns that a thread takes.

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// The sequences that the steps of a ragged batch are made of: they begin at offsets[0], offsets[1], ...; one, where
/// offsets is null.
struct Sequences {
    const std::int32_t* offsets = nullptr;
    Index count = 1;

    bool begin_at(Index t) const { return begin_within(t, t + 1); }
    /// Whether one begins at any of the steps from `first` up to `end`.
    bool begin_within(Index first, Index end) const {
        if (first <= 0 && end > 0) return true;
        if (offsets == nullptr) return false;
        const std::int32_t* begin = std::lower_bound(offsets, offsets + count, first);
        return begin != offsets + count && *begin < end;
    }
};

/// How far apart states are kept that others are computed again from: the root of the number of steps, rounded up.
inline Index checkpoint_interval(Index steps) {
    return std::max<Index>(1, static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(steps)))));
}
inline Index checkpoints(Index steps) {
    const Index interval = checkpoint_interval(steps);
    return (steps + interval - 1) / interval;
}

/// Steps from `begin` up to `end`.
struct Span {
    Index begin, end;
};

/// Some columns of rows that are `stride` elements long. What is computed of them reads no others.
struct Columns {
    Index first, count, stride;
};

template <class T> void clear(Columns columns, Index rows, T* x) {
    for (Index row = 0; row < rows; ++row) std::fill_n(x + row * columns.stride + columns.first, columns.count, T(0));
}

template <class T> void copy(Columns columns, Index rows, const T* from, T* to) {
    for (Index at = columns.first; at < rows * columns.stride; at += columns.stride)
        std::copy_n(from + at, columns.count, to + at);
}

/// Where to add the gradient of some columns of the rows that begin at element `at` of x: nowhere (null) where x is,
/// else to what is there or (not `add`) to zeros.
template <class T> T* gradient_of(Columns columns, Index rows, T* x, Index at, bool add) {
    if (x == nullptr) return nullptr;
    if (!add) clear(columns, rows, x + at);
    return x + at + columns.first;
}

}  // namespace xtape::kernels
