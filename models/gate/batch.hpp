#pragma once
// Examples of the gate, and a ragged batch of them.

#include <xtape/engine/tensor.hpp>

#include <optional>
#include <span>
#include <vector>

namespace xtape::models {

/// A token sequence and what it is to be answered by: a next token where there is one, else a decision.
struct GateExample {
    std::vector<std::int32_t> tokens;
    std::optional<std::int32_t> next = {};
    double label = 1;   ///< of a decision, −1 ... 1.5; the loss clamps it to [0, 1], from block to allow
    double weight = 1;  ///< of this example in the loss, whatever the label
};

/// Whether a label says allow.
inline bool allows(double label) { return label >= 0.5; }

/// N positions of B examples of any lengths, end to end, K of them next tokens and M decisions.
struct GateBatch {
    Indices tokens, positions;  ///< [N]
    Indices offsets;            ///< [B + 1], where the examples begin and end
    Indices last, next;         ///< [K], the last position of each next-token example, and the token that follows it
    Indices decisions;          ///< [M], which examples are decisions
    std::vector<double> next_weights, labels, decision_weights;

    Index size() const { return offsets.size() - 1; }
};

/// Throws ValueError for no examples, one without tokens, or a label or weight that is not finite.
GateBatch pack(std::span<const GateExample> examples);

}  // namespace xtape::models
