#pragma once
// Drawing the next token from logits.

#include <xtape/nn/init.hpp>

#include <span>

namespace xtape::models {

struct SamplerOptions {
    double temperature = 1;  ///< 0 takes the likeliest token
    int top_k = 0;           ///< only so many of the likeliest; 0: all
    double top_p = 1;        ///< only the likeliest that make up this mass
};

/// A token from softmax(logits / temperature), cut to the likeliest as the options say. Throws ValueError for logits
/// that are not finite, or options out of range.
std::int32_t sample(std::span<const float> logits, const SamplerOptions& options, nn::Rng& rng);

}  // namespace xtape::models
