#pragma once
// Byte-pair encoding (Sennrich, Haddow and Birch 2016), on bytes: how a vocabulary is learned, and how text is merged.

#include <xtape/models/text/text.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace xtape::models {

/// Lets a map of strings be asked for a string_view.
struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using TokenIds = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

/// The leading unit of a text that is not empty, within which pairs are merged: a run of letters, of digits, of other
/// marks or of white space; the last space before one of the first three belongs to it. At most 256 bytes.
std::string_view leading_unit(std::string_view text);

/// The same where the vocabulary is SentencePiece's: up to a space behind another byte, where no piece goes on.
std::string_view leading_piece(std::string_view text);

/// How many bytes the leading character of a text has: one, and up to three that go on.
std::size_t character_size(std::string_view text);

inline constexpr int most_bpe_tokens = 1'000'000;

/// The bytes 0 to 255, then the most frequent pairs, each once all earlier ones have been merged; of equally frequent
/// ones that of the smaller ids. Ends at `vocab` tokens, or earlier when no pair occurs twice.
/// Throws ValueError for a vocab below 256 or above the most.
std::vector<std::string> learn_bpe(const Text& corpus, int vocab);

/// A token of a unit: where it ends, and what it would become with its right neighbour.
struct BpePart {
    std::size_t end;
    std::int32_t token;
    std::int32_t merged = -1;
};

/// Merges the neighbours whose union is the token of the highest score, the leftmost of equals first, until none are.
void merge_parts(std::string_view unit, const TokenIds& ids, const std::vector<float>& scores,
                 std::vector<BpePart>& parts);

}  // namespace xtape::models
