#pragma once

#include "arrays.hpp"

#include <cstddef>
#include <vector>

namespace xtape::reference {

/// Ragged batch: sequence i is the rows `offsets[i]` up to, not including, `offsets[i + 1]`.
/// Positions restart at 0 in each sequence.
struct Batch {
    std::vector<int> inputs, targets, offsets;
};

/// Position of each row in its own sequence.
inline std::vector<int> positions_of(const std::vector<int>& offsets) {
    std::vector<int> positions;
    for (std::size_t i = 1; i < offsets.size(); ++i)
        for (int t = offsets[i - 1]; t < offsets[i]; ++t) positions.push_back(t - offsets[i - 1]);
    return positions;
}

/// Mean loss over all rows, logits [rows, vocab], and the gradient of every parameter in the order of the parameters.
template <class T> struct Run {
    T loss;
    std::vector<T> logits;
    Arrays<T> gradients;
};

}  // namespace xtape::reference
