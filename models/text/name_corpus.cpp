#include <xtape/engine/error.hpp>
#include <xtape/models/text/name_corpus.hpp>
#include <xtape/nn/init.hpp>
#include <xtape/nn/json.hpp>

#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>

namespace xtape::models {
namespace {

/// Calls visit(character) for each UTF-8 character of a text.
template <class Visit> void for_each_character(std::string_view text, Visit&& visit) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        const std::size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        const bool whole = i + length <= text.size() && (lead < 0x80 || (lead >= 0xc2 && lead < 0xf5)) &&
                           std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                       text.begin() + static_cast<std::ptrdiff_t>(i + length),
                                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; });
        if (!whole) throw FileError(fmt::format("byte {} is not UTF-8", i + 1));
        visit(text.substr(i, length));
        i += length;
    }
}

/// What is wrong with a line is said with its number.
template <class Visit> void for_each_line(std::string_view text, std::string_view source, Visit&& visit) {
    for (Index number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        const auto first = line.find_first_not_of(" \t\r");
        const auto last = line.find_last_not_of(" \t\r");
        try {
            if (first != std::string_view::npos) visit(line.substr(first, last - first + 1));
        } catch (const FileError& error) {
            throw FileError(fmt::format("{}: line {}: {}", source, number, error.what()));
        }
    }
}

}  // namespace

NameTokenizer NameTokenizer::letters() {
    NameTokenizer tokenizer;
    tokenizer.letters_only_ = true;
    for (char c = 'a'; c <= 'z'; ++c) tokenizer.symbols_.emplace_back(1, c);
    return tokenizer;
}

NameTokenizer NameTokenizer::from_text(std::string_view text, std::string_view source) {
    std::set<std::string_view> characters;
    for_each_line(text, source, [&](std::string_view line) {
        for_each_character(line, [&](std::string_view character) { characters.insert(character); });
    });
    NameTokenizer tokenizer;
    tokenizer.symbols_.assign(characters.begin(), characters.end());
    return tokenizer;
}

NameTokenizer NameTokenizer::from_json(std::string_view text, std::string_view source) {
    try {
        const nn::Json all = nn::parse_json(text);
        const nn::Members json(all);
        if (const std::string type = json.at("type"); type != "names")
            throw FileError(fmt::format("its type is {}, not names", type));
        NameTokenizer tokenizer;
        tokenizer.letters_only_ = json.at("letters_only");
        tokenizer.symbols_ = json.at("symbols").get<std::vector<std::string>>();
        return tokenizer;
    } catch (const FileError& error) {
        throw FileError(fmt::format("{}: {}", source, error.what()));
    }
}

std::string NameTokenizer::to_json() const {
    return nn::print_json({{"type", "names"}, {"letters_only", letters_only_}, {"symbols", symbols_}}, 1);
}

std::vector<std::int32_t> NameTokenizer::encode(std::string_view name) const {
    try {
        return encode(name, [&](std::string_view character) {
            throw ValueError(fmt::format("names: `{}` of `{}` is not a character of the tokenizer", character, name));
        });
    } catch (const FileError& error) {
        throw ValueError(fmt::format("names: `{}`: {}", name, error.what()));
    }
}

std::vector<std::int32_t> NameTokenizer::encode(std::string_view name,
                                                const std::function<void(std::string_view character)>& unknown) const {
    std::vector<std::int32_t> tokens{0};
    for_each_character(name, [&](std::string_view character) {
        std::string symbol(character);
        if (letters_only_ && symbol[0] >= 'A' && symbol[0] <= 'Z') symbol[0] = static_cast<char>(symbol[0] - 'A' + 'a');
        const auto known = std::find(symbols_.begin(), symbols_.end(), symbol);
        if (known == symbols_.end())
            unknown(character);
        else
            tokens.push_back(static_cast<std::int32_t>(known - symbols_.begin()) + 1);
    });
    tokens.push_back(0);
    return tokens;
}

std::string NameTokenizer::decode(std::span<const std::int32_t> tokens) const {
    std::string text;
    for (const std::int32_t token : tokens) {
        if (token == 0) break;
        text += symbols_.at(static_cast<std::size_t>(token) - 1);
    }
    return text;
}

NameCorpus read_names(std::string_view text, const NameTokenizer& tokenizer, int block, std::string_view source) {
    if (block < 2)
        throw ValueError(fmt::format(
            "names: a context of {} is too small: a name takes a position for its start and one for each letter",
            block));
    NameCorpus corpus;
    for_each_line(text, source, [&](std::string_view line) {
        std::vector<std::int32_t> tokens = tokenizer.encode(line, [&](std::string_view) { ++corpus.unknown; });
        if (tokens.size() == 2) return;
        if (tokens.size() - 1 > static_cast<std::size_t>(block))
            ++corpus.too_long;
        else
            corpus.names.push_back(std::move(tokens));
    });
    if (corpus.names.empty())
        throw FileError(
            fmt::format("{}: no usable name: one name of 1 to {} characters a line is wanted", source, block - 1));
    return corpus;
}

Index EpochOrder::operator[](Index k) {
    if (const Index epoch = k / n_; epoch != epoch_) {
        epoch_ = epoch;
        order_.resize(static_cast<std::size_t>(n_));
        std::iota(order_.begin(), order_.end(), Index{0});
        nn::Rng rng(seed_ + 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(epoch + 1));
        rng.shuffle(order_);
    }
    return order_[static_cast<std::size_t>(k % n_)];
}

}  // namespace xtape::models
