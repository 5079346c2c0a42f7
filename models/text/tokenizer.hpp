#pragma once
// Tokenizers of running text. A Vocabulary is what a tokenizer is made of, and all that its files hold.

#include <xtape/models/text/bpe.hpp>
#include <xtape/models/text/text.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xtape::models {

enum class TokenizerKind {
    byte,       ///< token b is the byte b
    character,  ///< the bytes that occur; any other becomes token 0
    word,       ///< words, and each space, line break and punctuation mark by itself
    bpe,        ///< byte pairs: neighbours merged by the highest score
};

/// The tokens of a tokenizer in the order of their ids.
struct Vocabulary {
    TokenizerKind kind = TokenizerKind::byte;
    std::vector<std::string> tokens = {};
    /// Of a word vocabulary: the token of an unknown word, one that is never made, and those of space and line break
    /// (-1: they are dropped).
    std::int32_t unknown = 0, padding = 1, space = 2, newline = 3;
    /// Of a bpe vocabulary, one a token. It begins with the bytes 0 to 255, or as SentencePiece writes them: three
    /// special tokens (unknown, begin, end), then <0x00> to <0xFF>.
    std::vector<float> scores = {};
};

/// Text to tokens and back. A value; const calls may come from several threads.
class Tokenizer {
public:
    static Tokenizer bytes();
    /// The bytes of the corpus, sorted.
    static Tokenizer characters(const Text& corpus);
    /// <unk>, <pad>, space, line break, then the words and marks of the corpus in order of appearance, to 32,767 tokens
    /// in all. A word ends at white space and ASCII punctuation (`_` aside) and is cut at 63 bytes; a tab counts as a
    /// space, a carriage return as nothing.
    static Tokenizer words(const Text& corpus);
    /// Learned on the corpus; fewer tokens than `vocab` when it is too small for so many. Throws ValueError for a vocab
    /// below 256 or above a million.
    static Tokenizer bpe(const Text& corpus, int vocab);
    /// By its name: byte, char, word, bpe (with `vocab` tokens), or auto: char for a corpus below 20,000 bytes, else
    /// word. Throws ValueError for another name.
    static Tokenizer learn(std::string_view kind, const Text& corpus, int vocab);
    /// Throws FileError for a vocabulary that its kind does not allow.
    explicit Tokenizer(Vocabulary vocabulary);

    const Vocabulary& vocabulary() const { return vocabulary_; }
    int vocab() const { return static_cast<int>(pieces_.size()); }
    /// byte, char, word or bpe.
    std::string_view kind() const;

    /// Whether a byte has a token; in a char vocabulary one that does not occur has none, and is read as token 0.
    bool knows(char byte) const;
    std::vector<std::int32_t> encode(std::string_view text) const;
    /// The same, one token after the other, without an array of them.
    void encode(std::string_view text, const std::function<void(std::int32_t)>& take) const;
    /// What stands before the first token to generate: the text's tokens; of a SentencePiece vocabulary its begin token
    /// and the text after a space, as such models are trained.
    std::vector<std::int32_t> encode_prompt(std::string_view text) const;

    /// The bytes of a token, which may be part of a character; lives as long as the tokenizer. Throws ValueError for an
    /// id outside the vocabulary.
    std::string_view decode(std::int32_t token) const;
    std::string decode(std::span<const std::int32_t> tokens) const;
    /// Whether a generated token says that the text ends.
    bool ends_text(std::int32_t token) const { return sentencepiece_ && (token == 1 || token == 2); }

    /// The text of tokenizer.json.
    std::string to_json() const;
    /// Throws FileError, calling the text `source`, for what `to_json` does not write.
    static Tokenizer from_json(std::string_view text, std::string_view source = "tokenizer.json");
    /// llama2.c's tokenizer.bin, and its bytes. Throws FileError; ValueError for a word tokenizer, which has no such
    /// form.
    std::string to_llama2c() const;
    void write_llama2c(const std::filesystem::path& path) const;
    static Tokenizer read_llama2c(const std::filesystem::path& path);

private:
    void check_bytes();
    void check_words();
    void check_bpe();
    void add_id(std::size_t token);
    void encode_words(std::string_view text, const std::function<void(std::int32_t)>& take) const;
    void encode_bpe(std::string_view text, const std::function<void(std::int32_t)>& take) const;

    Vocabulary vocabulary_;
    std::vector<std::string> pieces_;           ///< the bytes of each token
    std::array<std::int32_t, 256> byte_ids_{};  ///< of all kinds but word
    TokenIds ids_;                              ///< of word and bpe
    bool sentencepiece_ = false;
};

}  // namespace xtape::models
