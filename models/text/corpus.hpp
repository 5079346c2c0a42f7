#pragma once
// A text as tokens, and the windows of it that training and validation see.

#include <xtape/models/text/batch.hpp>
#include <xtape/models/text/text.hpp>
#include <xtape/models/text/tokenizer.hpp>

#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace xtape::models {

/// The tokens begin ... end − 1 of a corpus.
struct TokenRange {
    Index begin = 0, end = 0;
    Index size() const { return end - begin; }
};

/// A window reads `positions` tokens from `begin` on and predicts the one behind each.
struct Window {
    Index begin = 0, positions = 0;
    bool operator==(const Window&) const = default;
};

/// A tokenised text: its last part is held out for validation, what is before is trained on. It keeps the tokens (two
/// bytes each for a vocabulary to 65,536) and not the text, of which it holds one piece at a time in memory.
class TextCorpus {
public:
    /// Validation gets `val_fraction` of the tokens. Throws ValueError for one outside [0, 1), FileError, calling the
    /// text `source`, when a part that is wanted has fewer than two tokens.
    TextCorpus(const Text& text, const Tokenizer& tokenizer, double val_fraction, std::string_view source);

    Index size() const;
    TokenRange training() const { return {0, training_end_}; }
    TokenRange validation() const { return {training_end_, size()}; }
    /// The windows as a batch, one sequence each. Throws ValueError for one that reaches outside the corpus.
    Batch batch(std::span<const Window> windows) const;

private:
    std::variant<std::deque<std::uint16_t>, std::deque<std::int32_t>> tokens_;  ///< grows without a copy
    Index training_end_ = 0;
};

/// `count` windows, each beginning anywhere in the range with equal probability, of `context` positions (of fewer when
/// the range is shorter). They follow from the seed and the number of the draw alone. Throws ValueError for a range of
/// fewer than two tokens, or a context or count below 1.
std::vector<Window> random_windows(TokenRange range, Index context, Index count, std::uint64_t seed, Index draw);

/// The windows of `context` positions side by side from `offset` tokens into the range to its end, the last one perhaps
/// shorter: every token but the first is predicted once. Throws ValueError for a context below 1 or a negative offset.
std::vector<Window> side_by_side_windows(TokenRange range, Index context, Index offset = 0);

}  // namespace xtape::models
