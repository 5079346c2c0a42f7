#include <xtape/models/text/batch.hpp>

#include <numeric>

#include <fmt/format.h>

namespace xtape::models {

Batch pack(std::span<const std::vector<std::int32_t>> sequences) {
    std::vector<std::int32_t> tokens, targets, positions, offsets{0};
    for (const auto& sequence : sequences) {
        if (sequence.size() < 2)
            throw ValueError(fmt::format("pack: a sequence of {} tokens has nothing to predict", sequence.size()));
        tokens.insert(tokens.end(), sequence.begin(), sequence.end() - 1);
        targets.insert(targets.end(), sequence.begin() + 1, sequence.end());
        const auto first = positions.insert(positions.end(), sequence.size() - 1, 0);
        std::iota(first, positions.end(), 0);
        offsets.push_back(static_cast<std::int32_t>(tokens.size()));
    }
    const bool one = sequences.size() == 1;
    return {indices(tokens), indices(targets), indices(positions), one ? Indices() : indices(offsets)};
}

}  // namespace xtape::models
