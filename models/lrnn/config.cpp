#include <xtape/engine/error.hpp>
#include <xtape/models/lrnn/config.hpp>

#include <algorithm>
#include <limits>

#include <fmt/format.h>

namespace xtape::models {

LrnnConfig LrnnConfig::checked() const {
    const auto check = [](const char* name, int size, int most) {
        if (size < 1 || size > most)
            throw ValueError(fmt::format("lrnn: {} must be from 1 to {}: it is {}", name, most, size));
    };
    check("vocab", vocab, 1 << 24);
    check("layers", layers, 1 << 12);
    check("dim", dim, 1 << 16);
    check("heads", heads, 1 << 16);
    check("context", context, 1 << 24);
    check("decay_rank", decay_rank, 1 << 16);
    check("slots", slots, 1 << 12);
    if (!(ffn_multiplier > 0 && ffn_multiplier <= 1024))
        throw ValueError(
            fmt::format("lrnn: ffn_multiplier must be above 0 and at most 1024: it is {}", ffn_multiplier));
    check("the width of the FFN, dim × ffn_multiplier,", ffn(), 1 << 24);
    if (dim % heads != 0)
        throw ValueError(fmt::format("lrnn: heads must divide dim: heads is {}, dim is {}", heads, dim));
    if (!(label_smoothing >= 0 && label_smoothing < 1))
        throw ValueError(
            fmt::format("lrnn: label_smoothing must be at least 0 and below 1: it is {}", label_smoothing));
    return *this;
}

LrnnConfig automatic_sizes(double effective_bytes) {
    struct Row {
        double below;
        int layers, dim, context, decay_rank;
        float ffn_multiplier;
        int slots;
    };
    constexpr Row rows[] = {{5e3, 2, 64, 64, 4, 1.5f, 2},
                            {5e4, 4, 128, 128, 8, 2, 4},
                            {5e5, 6, 256, 256, 16, 2.5f, 4},
                            {std::numeric_limits<double>::infinity(), 8, 384, 512, 32, 3, 8}};
    const Row& row = *std::ranges::find_if(rows, [&](const Row& r) { return effective_bytes < r.below; });
    return {.layers = row.layers,
            .dim = row.dim,
            .heads = std::max(2, row.dim / 32),
            .context = row.context,
            .decay_rank = row.decay_rank,
            .ffn_multiplier = row.ffn_multiplier,
            .slots = row.slots};
}

Index parameter_count(const LrnnConfig& c) {
    const Index d = c.dim;
    const Index layer = d * (Index{4} * c.dim + Index{3} * c.ffn() + Index{2} * (c.decay_rank + c.slots) + 13);
    return Index{2} * c.vocab * d + c.layers * layer + 4 * d;
}

}  // namespace xtape::models
