#include <xtape/models/gate/batch.hpp>

#include <cmath>

#include <fmt/format.h>

namespace xtape::models {

GateBatch pack(std::span<const GateExample> examples) {
    if (examples.empty()) throw ValueError("gate: a batch needs at least one example");
    GateBatch batch;
    std::vector<std::int32_t> tokens, positions, offsets{0}, last, next, decisions;
    for (std::size_t i = 0; i < examples.size(); ++i) {
        const GateExample& example = examples[i];
        if (example.tokens.empty()) throw ValueError(fmt::format("gate: example {} has no tokens", i));
        if (!std::isfinite(example.label) || !std::isfinite(example.weight))
            throw ValueError(fmt::format("gate: label and weight must be finite: those of example {} are {} and {}", i,
                                         example.label, example.weight));
        tokens.insert(tokens.end(), example.tokens.begin(), example.tokens.end());
        for (std::size_t t = 0; t < example.tokens.size(); ++t) positions.push_back(static_cast<std::int32_t>(t));
        offsets.push_back(static_cast<std::int32_t>(tokens.size()));
        if (example.next) {
            last.push_back(offsets.back() - 1);
            next.push_back(*example.next);
            batch.next_weights.push_back(example.weight);
        } else {
            decisions.push_back(static_cast<std::int32_t>(i));
            batch.labels.push_back(example.label);
            batch.decision_weights.push_back(example.weight);
        }
    }
    batch.tokens = indices(tokens);
    batch.positions = indices(positions);
    batch.offsets = indices(offsets);
    batch.last = indices(last);
    batch.next = indices(next);
    batch.decisions = indices(decisions);
    return batch;
}

}  // namespace xtape::models
