// Data: the distinct units of the corpus as sequences of tokens with their counts; for each pair of neighbouring tokens
// its count and the units where it has stood; a heap of pairs by count. A pair's count falls without notice to the
// heap, so what is popped with an old count goes back with the new one. Start reading at learn_bpe.

#include <xtape/engine/error.hpp>
#include <xtape/models/text/bpe.hpp>

#include <algorithm>
#include <queue>
#include <utility>

#include <fmt/format.h>

namespace xtape::models {
namespace {

enum class CharClass { space, letter, digit, mark };

CharClass class_of(char c) {
    if (c == ' ' || (c >= '\t' && c <= '\r')) return CharClass::space;
    if (c >= '0' && c <= '9') return CharClass::digit;
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
    return letter ? CharClass::letter : CharClass::mark;
}

class BpeLearner {
public:
    explicit BpeLearner(const Text& corpus) {
        for (int byte = 0; byte < 256; ++byte) add_token(std::string(1, static_cast<char>(byte)));
        count_units(corpus);
        for (std::uint32_t u = 0; u < units_.size(); ++u) {
            count_pairs(u, 1, [](Pair) { return true; });
        }
        for (const auto& [pair, use] : uses_) heap_.emplace(use.count, ~pair);
    }

    /// Makes one more token, or an old one in another way. False when no pair occurs twice.
    bool step() {
        while (!heap_.empty()) {
            const auto [count, inverse] = heap_.top();
            heap_.pop();
            const std::int64_t now = uses_.at(~inverse).count;
            if (now == count) {
                if (count < 2) return false;
                merge(~inverse);
                return true;
            }
            if (now > 0 && now < count) heap_.emplace(now, inverse);
        }
        return false;
    }

    std::vector<std::string>& tokens() { return tokens_; }

private:
    using Pair = std::uint64_t;  ///< the left token in the upper half, the right one in the lower
    struct Unit {
        std::vector<std::uint32_t> tokens;
        std::int64_t count;
    };
    struct Use {
        std::int64_t count = 0;
        std::vector<std::uint32_t> units;
    };

    static Pair pair_of(std::uint32_t left, std::uint32_t right) { return Pair{left} << 32 | right; }
    static std::uint32_t left_of(Pair pair) { return static_cast<std::uint32_t>(pair >> 32); }
    static std::uint32_t right_of(Pair pair) { return static_cast<std::uint32_t>(pair); }

    std::uint32_t add_token(std::string token) {
        const auto [known, added] = ids_.try_emplace(token, static_cast<std::int32_t>(tokens_.size()));
        if (added) tokens_.push_back(std::move(token));
        return static_cast<std::uint32_t>(known->second);
    }

    void count_units(const Text& corpus) {
        TokenIds known;
        corpus.for_each_piece([&](std::string_view piece) {
            while (!piece.empty()) {
                const std::string_view unit = leading_unit(piece);
                piece.remove_prefix(unit.size());
                auto found = known.find(unit);
                if (found == known.end()) {
                    found = known.emplace(unit, static_cast<std::int32_t>(units_.size())).first;
                    units_.push_back({{}, 0});
                    for (const char c : unit) units_.back().tokens.push_back(static_cast<unsigned char>(c));
                }
                ++units_[static_cast<std::size_t>(found->second)].count;
            }
        });
    }

    /// Adds (sign 1) or takes away (sign -1) the pairs of a unit, and notes the unit with those that `is_new`.
    template <class IsNew> void count_pairs(std::uint32_t u, int sign, IsNew is_new) {
        const Unit& unit = units_[u];
        for (std::size_t i = 0; i + 1 < unit.tokens.size(); ++i) {
            const Pair pair = pair_of(unit.tokens[i], unit.tokens[i + 1]);
            Use& use = uses_[pair];
            use.count += sign * unit.count;
            if (is_new(pair) && (use.units.empty() || use.units.back() != u)) use.units.push_back(u);
        }
    }

    void merge(Pair pair) {
        const std::uint32_t token = add_token(tokens_[left_of(pair)] + tokens_[right_of(pair)]);
        std::vector<Pair> grown;
        const auto is_new = [&](Pair other) {
            const bool with_token = left_of(other) == token || right_of(other) == token;
            if (with_token) grown.push_back(other);
            return with_token;
        };
        for (const std::uint32_t u : std::exchange(uses_[pair].units, {})) {
            count_pairs(u, -1, [](Pair) { return false; });
            std::vector<std::uint32_t>& tokens = units_[u].tokens;
            std::size_t kept = 0;
            for (std::size_t i = 0; i < tokens.size(); ++i) {
                const bool here = i + 1 < tokens.size() && pair_of(tokens[i], tokens[i + 1]) == pair;
                tokens[kept++] = here ? token : tokens[i];
                if (here) ++i;
            }
            tokens.resize(kept);
            count_pairs(u, 1, is_new);
        }
        std::ranges::sort(grown);
        grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
        for (const Pair other : grown) heap_.emplace(uses_[other].count, ~other);
    }

    std::vector<std::string> tokens_;
    TokenIds ids_;
    std::vector<Unit> units_;
    std::unordered_map<Pair, Use> uses_;
    std::priority_queue<std::pair<std::int64_t, Pair>> heap_;  ///< the pair inverted: of equals the smaller comes first
};

}  // namespace

std::string_view leading_unit(std::string_view text) {
    constexpr std::size_t limit = 256;
    const std::size_t size = std::min(text.size(), limit);
    const bool with_space = text[0] == ' ' && size > 1 && class_of(text[1]) != CharClass::space;
    std::size_t end = with_space ? 1 : 0;
    const CharClass wanted = class_of(text[end]);
    while (end < size && class_of(text[end]) == wanted) ++end;
    const bool before_word = wanted == CharClass::space && end > 1 && end < text.size() && text[end - 1] == ' ' &&
                             class_of(text[end]) != CharClass::space;
    return text.substr(0, before_word ? end - 1 : end);
}

std::string_view leading_piece(std::string_view text) {
    std::size_t end = 1;
    while (end < std::min<std::size_t>(text.size(), 256) && (text[end] != ' ' || text[end - 1] == ' ')) ++end;
    return text.substr(0, end);
}

std::size_t character_size(std::string_view text) {
    std::size_t size = 1;
    while (size < std::min<std::size_t>(text.size(), 4) && (text[size] & 0xc0) == 0x80) ++size;
    return size;
}

std::vector<std::string> learn_bpe(const Text& corpus, int vocab) {
    if (vocab < 256 || vocab > most_bpe_tokens)
        throw ValueError(
            fmt::format("tokenizer: a byte-pair vocabulary has 256 to {} tokens: vocab is {}", most_bpe_tokens, vocab));
    BpeLearner learner(corpus);
    while (learner.tokens().size() < static_cast<std::size_t>(vocab) && learner.step()) {}
    return std::move(learner.tokens());
}

void merge_parts(std::string_view unit, const TokenIds& ids, const std::vector<float>& scores,
                 std::vector<BpePart>& parts) {
    const auto look = [&](std::size_t i) {  // what the parts i and i + 1 would become
        const std::size_t begin = i == 0 ? 0 : parts[i - 1].end;
        const auto found = i + 1 < parts.size() ? ids.find(unit.substr(begin, parts[i + 1].end - begin)) : ids.end();
        parts[i].merged = found == ids.end() ? -1 : found->second;
    };
    const auto score = [&](const BpePart& part) { return scores[static_cast<std::size_t>(part.merged)]; };
    for (std::size_t i = 0; i < parts.size(); ++i) look(i);
    while (true) {
        auto best = parts.end();
        for (auto part = parts.begin(); part != parts.end(); ++part) {
            if (part->merged >= 0 && (best == parts.end() || score(*part) > score(*best))) best = part;
        }
        if (best == parts.end()) return;
        *best = {(best + 1)->end, best->merged};
        const auto i = static_cast<std::size_t>(parts.erase(best + 1) - parts.begin()) - 1;
        look(i);
        if (i > 0) look(i - 1);
    }
}

}  // namespace xtape::models
