#pragma once
// What the briefs of the language models have in common: see Subject::brief.

#include <xtape/models/text/batch.hpp>
#include <xtape/tools/subject.hpp>

#include <string_view>

namespace xtape::tools {

inline constexpr std::string_view ragged_batch = R"(
The batch is ragged: sequence b is the rows `offsets[b]` up to, not including, `offsets[b + 1]`. Positions t start at 0
in each sequence, and attention, shifts and states do not reach over its beginning.
)";

inline constexpr std::string_view language_loss = R"(
## The loss

With N rows in the batch, all of which have a target: `loss = (1/N) Σ_t −log softmax(logits_t)[targets_t]`, the mean over
all rows of all sequences together, not a mean of means.
)";

/// Of a batch of token sequences; `vocab` is the width of its logits.
inline Brief brief_of(const models::Batch& batch, Index vocab, std::string text) {
    // A batch of one sequence does not say where it ends.
    const Indices offsets =
        batch.offsets ? batch.offsets : indices({0, static_cast<std::int32_t>(batch.tokens.size())});
    return {{{"tokens", "what is read at each row", batch.tokens},
             {"targets", "the token that follows it", batch.targets},
             {"offsets", "where the sequences begin, and where the last one ends", offsets}},
            {{"logits", Shape{batch.tokens.size(), vocab}}, {"loss", Shape{}}},
            std::move(text)};
}

}  // namespace xtape::tools
