#pragma once
// Names, one a line: how they become tokens, and the order in which training sees them.

#include <xtape/engine/shape.hpp>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xtape::models {

/// Tokens of names. Token 0 begins and ends a name; the others are characters.
class NameTokenizer {
public:
    /// The letters a to z: a name is lower-cased.
    static NameTokenizer letters();
    /// Every character (UTF-8) that occurs in a text, sorted; line breaks aside. Throws FileError, calling the text
    /// `source`, for one that is not UTF-8.
    static NameTokenizer from_text(std::string_view text, std::string_view source = "names");
    /// As `to_json` wrote it. Throws FileError, calling the text `source`, for anything else.
    static NameTokenizer from_json(std::string_view text, std::string_view source = "tokenizer.json");
    std::string to_json() const;

    int vocab() const { return static_cast<int>(symbols_.size()) + 1; }
    /// `emma` → 0 5 13 13 1 0. Throws ValueError for a character it does not know, and for what is not UTF-8.
    std::vector<std::int32_t> encode(std::string_view name) const;
    /// The same, with characters that it does not know left out and given to `unknown`. Throws FileError for what is
    /// not UTF-8.
    std::vector<std::int32_t> encode(std::string_view name,
                                     const std::function<void(std::string_view character)>& unknown) const;
    /// The characters of tokens, up to the first 0.
    std::string decode(std::span<const std::int32_t> tokens) const;

private:
    bool letters_only_ = false;
    std::vector<std::string> symbols_;  ///< of tokens 1, 2, ...
};

/// The names of a text as token sequences.
struct NameCorpus {
    std::vector<std::vector<std::int32_t>> names;
    Index too_long = 0;  ///< left out, for more than `block` inputs
    Index unknown = 0;   ///< characters that the tokenizer does not know, left out
};

/// Reads names, one a line, without the characters that the tokenizer does not know; blank lines, and names without a
/// usable character, are passed over.
/// Throws ValueError for a `block` below 2, which no name fits; FileError, calling the text `source`, when no name is
/// left.
NameCorpus read_names(std::string_view text, const NameTokenizer& tokenizer, int block, std::string_view source);

/// An endless order of n things: each epoch another permutation, which follows from the seed and the epoch alone.
class EpochOrder {
public:
    EpochOrder(Index n, std::uint64_t seed) : n_(n), seed_(seed) {}
    /// The k-th of all draws.
    Index operator[](Index k);

private:
    Index n_;
    std::uint64_t seed_;
    Index epoch_ = -1;
    std::vector<Index> order_;
};

}  // namespace xtape::models
