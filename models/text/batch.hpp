#pragma once
// A ragged batch: sequences of any lengths end to end.

#include <xtape/engine/tensor.hpp>

#include <span>
#include <vector>

namespace xtape::models {

/// N positions of B sequences: what is read, what comes next, where each is in its sequence, and where sequences begin.
struct Batch {
    Indices tokens;     ///< [N]
    Indices targets;    ///< [N]
    Indices positions;  ///< [N], from 0 in each sequence
    Indices offsets;    ///< [B + 1]; empty for one sequence
};

/// Packs token sequences: of each, all but the last token are read, and all but the first are targets.
/// Throws ValueError for a sequence of fewer than two tokens.
Batch pack(std::span<const std::vector<std::int32_t>> sequences);

}  // namespace xtape::models
