#include <xtape/engine/error.hpp>
#include <xtape/models/text/tokenizer.hpp>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <tuple>

#include <fmt/format.h>

namespace xtape::models {
namespace {

constexpr std::size_t most_words = 32767;
constexpr std::size_t longest_word = 63;
constexpr std::size_t byte_tokens = 3;  ///< where those of a SentencePiece vocabulary begin

std::string one_byte(std::size_t byte) { return std::string(1, static_cast<char>(byte)); }
std::size_t index_of(char c) { return static_cast<unsigned char>(c); }

bool is_mark(char c) { return c != '_' && index_of(c) < 0x80 && std::ispunct(index_of(c) & 0x7f) != 0; }
bool is_boundary(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || is_mark(c); }

/// Visits the words of a text, cut at 63 bytes, and each space, line break and mark between them.
template <class Visit> void for_each_word(std::string_view text, Visit&& visit) {
    while (!text.empty()) {
        const auto end = static_cast<std::size_t>(std::ranges::find_if(text, is_boundary) - text.begin());
        if (end > 0) {
            visit(text.substr(0, std::min(end, longest_word)));
            text.remove_prefix(end);
            continue;
        }
        if (text[0] == '\t')
            visit(std::string_view(" "));
        else if (text[0] != '\r')
            visit(text.substr(0, 1));
        text.remove_prefix(1);
    }
}

/// Whether the tokens from `first` on are those of the bytes, as `name` calls them.
bool has_bytes(const std::vector<std::string>& tokens, std::size_t first, std::string (*name)(std::size_t)) {
    if (tokens.size() < first + 256) return false;
    for (std::size_t byte = 0; byte < 256; ++byte) {
        if (tokens[first + byte] != name(byte)) return false;
    }
    return true;
}

std::string printable(std::string_view token) {
    std::string text;
    for (const char c : token)
        text += std::isprint(static_cast<int>(index_of(c))) != 0 ? std::string(1, c)
                                                                 : fmt::format("\\x{:02x}", index_of(c));
    return text;
}

}  // namespace

Tokenizer Tokenizer::bytes() {
    Vocabulary vocabulary;
    for (std::size_t byte = 0; byte < 256; ++byte) vocabulary.tokens.push_back(one_byte(byte));
    return Tokenizer(std::move(vocabulary));
}

Tokenizer Tokenizer::characters(const Text& corpus) {
    std::array<bool, 256> seen{};
    corpus.for_each_piece([&](std::string_view piece) {
        for (const char c : piece) seen[index_of(c)] = true;
    });
    Vocabulary vocabulary{.kind = TokenizerKind::character};
    for (std::size_t byte = 0; byte < 256; ++byte) {
        if (seen[byte]) vocabulary.tokens.push_back(one_byte(byte));
    }
    return Tokenizer(std::move(vocabulary));
}

Tokenizer Tokenizer::words(const Text& corpus) {
    Vocabulary vocabulary{.kind = TokenizerKind::word, .tokens = {"<unk>", "<pad>", " ", "\n"}};
    TokenIds known{{" ", 2}, {"\n", 3}};
    corpus.for_each_piece([&](std::string_view piece) {
        for_each_word(piece, [&](std::string_view word) {
            if (vocabulary.tokens.size() == most_words || known.contains(word)) return;
            known.emplace(word, 0);
            vocabulary.tokens.emplace_back(word);
        });
    });
    return Tokenizer(std::move(vocabulary));
}

Tokenizer Tokenizer::bpe(const Text& corpus, int vocab) {
    Vocabulary vocabulary{.kind = TokenizerKind::bpe, .tokens = learn_bpe(corpus, vocab)};
    for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) vocabulary.scores.push_back(-static_cast<float>(i));
    return Tokenizer(std::move(vocabulary));
}

Tokenizer Tokenizer::learn(std::string_view kind, const Text& corpus, int vocab) {
    if (kind == "auto") return corpus.size() < 20000 ? characters(corpus) : words(corpus);
    if (kind == "byte") return bytes();
    if (kind == "char") return characters(corpus);
    if (kind == "word") return words(corpus);
    if (kind == "bpe") return bpe(corpus, vocab);
    throw ValueError(fmt::format("tokenizer: {} is not a kind; byte, char, word, bpe and auto are", kind));
}

Tokenizer::Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)), pieces_(vocabulary_.tokens) {
    if (pieces_.empty()) throw FileError("tokenizer: the vocabulary is empty");
    if (std::ranges::any_of(pieces_, &std::string::empty)) throw FileError("tokenizer: a token has no bytes");
    switch (vocabulary_.kind) {
        case TokenizerKind::byte:
            if (pieces_.size() != 256 || !has_bytes(pieces_, 0, one_byte))
                throw FileError("tokenizer: the tokens of a byte vocabulary are not the bytes 0 to 255");
            [[fallthrough]];
        case TokenizerKind::character:
            check_bytes();
            break;
        case TokenizerKind::word:
            check_words();
            break;
        case TokenizerKind::bpe:
            check_bpe();
            break;
    }
}

void Tokenizer::check_bytes() {
    std::array<bool, 256> seen{};
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
        const std::size_t byte = index_of(pieces_[i][0]);
        if (pieces_[i].size() != 1 || seen[byte])
            throw FileError(
                fmt::format("tokenizer: token {} of a char vocabulary, `{}`, is not one byte that no other "
                            "token is",
                            i, printable(pieces_[i])));
        seen[byte] = true;
        byte_ids_[byte] = static_cast<std::int32_t>(i);
    }
}

void Tokenizer::check_words() {
    const auto& v = vocabulary_;
    for (const auto& [name, id, least] : {std::tuple("unknown", v.unknown, 0), std::tuple("padding", v.padding, 0),
                                          std::tuple("space", v.space, -1), std::tuple("newline", v.newline, -1)}) {
        if (id < least || id >= vocab())
            throw FileError(
                fmt::format("tokenizer: the {} token is {}, outside the vocabulary of {} words", name, id, vocab()));
    }
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
        const auto id = static_cast<std::int32_t>(i);
        if (id != v.unknown && id != v.padding && id != v.space && id != v.newline) add_id(i);
    }
}

void Tokenizer::check_bpe() {
    sentencepiece_ = has_bytes(pieces_, byte_tokens, [](std::size_t byte) { return fmt::format("<0x{:02X}>", byte); });
    if (!sentencepiece_ && !has_bytes(pieces_, 0, one_byte))
        throw FileError("tokenizer: the byte-pair vocabulary does not begin with the 256 bytes");
    if (vocabulary_.scores.size() != pieces_.size())
        throw FileError(fmt::format("tokenizer: {} scores for {} tokens", vocabulary_.scores.size(), pieces_.size()));
    if (!std::ranges::all_of(vocabulary_.scores, [](float score) { return std::isfinite(score); }))
        throw FileError("tokenizer: a score is not finite");
    const std::size_t first = sentencepiece_ ? byte_tokens : 0;
    for (std::size_t byte = 0; byte < 256; ++byte) {
        pieces_[first + byte] = one_byte(byte);
        byte_ids_[byte] = static_cast<std::int32_t>(first + byte);
    }
    if (sentencepiece_) pieces_[1] = pieces_[2] = "";
    for (std::size_t i = first + 256; i < pieces_.size(); ++i) add_id(i);
}

void Tokenizer::add_id(std::size_t token) {
    if (!ids_.emplace(pieces_[token], static_cast<std::int32_t>(token)).second)
        throw FileError(fmt::format("tokenizer: two tokens are `{}`", printable(pieces_[token])));
}

std::string_view Tokenizer::kind() const {
    constexpr std::string_view names[] = {"byte", "char", "word", "bpe"};
    return names[static_cast<std::size_t>(vocabulary_.kind)];
}

bool Tokenizer::knows(char byte) const {
    return vocabulary_.kind != TokenizerKind::character ||
           pieces_[static_cast<std::size_t>(byte_ids_[index_of(byte)])].front() == byte;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
    std::vector<std::int32_t> tokens;
    encode(text, [&](std::int32_t token) { tokens.push_back(token); });
    return tokens;
}

void Tokenizer::encode(std::string_view text, const std::function<void(std::int32_t)>& take) const {
    switch (vocabulary_.kind) {
        case TokenizerKind::byte:
        case TokenizerKind::character:
            for (const char c : text) take(byte_ids_[index_of(c)]);
            return;
        case TokenizerKind::word:
            return encode_words(text, take);
        case TokenizerKind::bpe:
            return encode_bpe(text, take);
    }
}

void Tokenizer::encode_words(std::string_view text, const std::function<void(std::int32_t)>& take) const {
    for_each_word(text, [&](std::string_view word) {
        const auto token = [&]() -> std::int32_t {
            if (word == " ") return vocabulary_.space;
            if (word == "\n") return vocabulary_.newline;
            if (const auto found = ids_.find(word); found != ids_.end()) return found->second;
            return is_boundary(word.front()) ? -1 : vocabulary_.unknown;
        }();
        if (token >= 0) take(token);
    });
}

void Tokenizer::encode_bpe(std::string_view text, const std::function<void(std::int32_t)>& take) const {
    std::vector<BpePart> parts;
    while (!text.empty()) {
        const std::string_view unit = sentencepiece_ ? leading_piece(text) : leading_unit(text);
        text.remove_prefix(unit.size());
        parts.clear();
        for (std::size_t begin = 0; begin < unit.size();) {
            const std::size_t size = sentencepiece_ ? character_size(unit.substr(begin)) : 1;
            if (const auto found = ids_.find(unit.substr(begin, size)); sentencepiece_ && found != ids_.end()) {
                parts.push_back({begin += size, found->second});
                continue;
            }
            for (const std::size_t end = begin + size; begin < end; ++begin)
                parts.push_back({begin + 1, byte_ids_[index_of(unit[begin])]});
        }
        merge_parts(unit, ids_, vocabulary_.scores, parts);
        for (const BpePart& part : parts) take(part.token);
    }
}

std::vector<std::int32_t> Tokenizer::encode_prompt(std::string_view text) const {
    if (!sentencepiece_) return encode(text);
    std::vector<std::int32_t> tokens{1};
    if (!text.empty()) encode(fmt::format(" {}", text), [&](std::int32_t token) { tokens.push_back(token); });
    return tokens;
}

std::string_view Tokenizer::decode(std::int32_t token) const {
    if (token < 0 || token >= vocab())
        throw ValueError(fmt::format("decode: token {} is outside the vocabulary of {}", token, vocab()));
    return pieces_[static_cast<std::size_t>(token)];
}

std::string Tokenizer::decode(std::span<const std::int32_t> tokens) const {
    std::string text;
    for (const std::int32_t token : tokens) text += decode(token);
    return text;
}

}  // namespace xtape::models
