#pragma once
// The settings of an lrnn.

#include <xtape/engine/shape.hpp>

namespace xtape::models {

struct LrnnConfig {
    int vocab = 256;
    int layers = 2;
    int dim = 64;
    int heads = 1;  ///< groups of channels, each with its own slowest decay; they divide dim
    int context = 64;
    int decay_rank = 2;
    float ffn_multiplier = 2;
    int slots = 4;
    double label_smoothing = 0;  ///< of `loss`

    /// The width of the FFN: dim × ffn_multiplier, truncated from the float product.
    int ffn() const { return static_cast<int>(static_cast<float>(dim) * ffn_multiplier); }
    /// The same. Throws ValueError for a size out of range, or heads that do not divide dim.
    LrnnConfig checked() const;
    bool operator==(const LrnnConfig&) const = default;
};

/// The sizes for a corpus of so many bytes, or of a fifth of its bytes when tokens are words; vocab is left as it is.
LrnnConfig automatic_sizes(double effective_bytes);

/// The number of trainable elements of a checked configuration.
Index parameter_count(const LrnnConfig& config);

}  // namespace xtape::models
