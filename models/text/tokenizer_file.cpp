// The files of a tokenizer: tokenizer.json, and llama2.c's tokenizer.bin.

#include <xtape/engine/error.hpp>
#include <xtape/models/text/tokenizer.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/nn/json.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

namespace xtape::models {
namespace {

static_assert(std::endian::native == std::endian::little, "tokenizer.bin is little-endian");

using nn::Json;

constexpr std::size_t most_tokens = 1 << 20;
constexpr std::uint64_t file_limit = std::uint64_t{1} << 28;

[[noreturn]] void refuse(std::string_view why) { throw FileError(std::string(why)); }

/// A token as a string where it is UTF-8, else as the numbers of its bytes.
Json to_json_token(const std::string& token) {
    try {
        (void)nn::print_json(token);
        return token;
    } catch (const Json::exception&) {
        return Json(std::vector<unsigned char>(token.begin(), token.end()));
    }
}

std::string token_from(const Json& json) {
    if (json.is_string()) return json.get<std::string>();
    const auto is_byte = [](const Json& value) {
        return value.is_number_unsigned() && value.get<std::uint64_t>() < 256;
    };
    if (!json.is_array() || !std::ranges::all_of(json, is_byte)) refuse("a token is neither a string nor bytes");
    std::string token;
    for (const Json& value : json) token += static_cast<char>(value.get<unsigned char>());
    return token;
}

float score_from(const Json& json) {
    if (!json.is_number()) refuse("a score is not a number");
    const auto score = json.get<double>();
    if (std::abs(score) > static_cast<double>(std::numeric_limits<float>::max())) refuse("a score is not finite");
    return static_cast<float>(score);
}

std::int32_t id_from(std::int32_t id) {
    if (id < -1 || id >= static_cast<std::int32_t>(most_tokens)) refuse("the id of a token is out of range");
    return id;
}

template <class Read> auto list_from(const Json& json, Read read) {
    if (!json.is_array() || json.size() > most_tokens) refuse("its tokens or scores are not a list of bearable length");
    std::vector<decltype(read(json))> items;
    for (const Json& item : json) items.push_back(read(item));
    return items;
}

Json parse(std::string_view text) {
    const auto check = [](int depth, Json::parse_event_t, const Json&) {
        if (depth > 3) refuse("it is nested too deeply");
        return true;
    };
    return nn::parse_json(text, check);
}

/// Reads a tokenizer.bin from front to back.
class BinReader {
public:
    BinReader(const std::filesystem::path& path) : path_(path.string()), bytes_(nn::read_file(path, file_limit)) {}

    bool at_end() const { return at_ == bytes_.size(); }

    template <class Number> Number number() {
        Number value;
        std::memcpy(&value, take(sizeof(value)).data(), sizeof(value));
        return value;
    }

    std::string_view take(std::size_t size) {
        if (size > bytes_.size() - at_) fail(fmt::format("it ends in the midst of a token, after {} bytes", at_));
        at_ += size;
        return std::string_view(bytes_).substr(at_ - size, size);
    }

    [[noreturn]] void fail(std::string_view why) const {
        throw FileError(fmt::format("{} is not a tokenizer.bin: {}", path_, why));
    }

private:
    std::string path_;
    std::string bytes_;
    std::size_t at_ = 0;
};

/// What a tokenizer of these tokens is: all single bytes do not merge.
TokenizerKind kind_of(const std::vector<std::string>& tokens) {
    const bool single = std::ranges::all_of(tokens, [](const std::string& token) { return token.size() == 1; });
    if (!single) return TokenizerKind::bpe;
    return tokens.size() == 256 && std::ranges::is_sorted(tokens) ? TokenizerKind::byte : TokenizerKind::character;
}

}  // namespace

std::string Tokenizer::to_json() const {
    Json json{{"type", kind()}};
    if (vocabulary_.kind == TokenizerKind::word) {
        json["unknown"] = vocabulary_.unknown;
        json["padding"] = vocabulary_.padding;
        json["space"] = vocabulary_.space;
        json["newline"] = vocabulary_.newline;
    }
    if (vocabulary_.kind == TokenizerKind::bpe) json["scores"] = vocabulary_.scores;
    if (vocabulary_.kind != TokenizerKind::byte) {
        Json& tokens = json["tokens"] = Json::array();
        for (const std::string& token : vocabulary_.tokens) tokens.push_back(to_json_token(token));
    }
    return nn::print_json(json, 1);
}

Tokenizer Tokenizer::from_json(std::string_view text, std::string_view source) {
    try {
        const Json all = parse(text);
        const nn::Members json(all);
        const std::string type = json.at("type");
        if (type == "byte") return bytes();
        Vocabulary vocabulary;
        if (type == "char") {
            vocabulary.kind = TokenizerKind::character;
        } else if (type == "word") {
            vocabulary.kind = TokenizerKind::word;
            vocabulary.unknown = id_from(json.at("unknown"));
            vocabulary.padding = id_from(json.at("padding"));
            vocabulary.space = id_from(json.at("space"));
            vocabulary.newline = id_from(json.at("newline"));
        } else if (type == "bpe") {
            vocabulary.kind = TokenizerKind::bpe;
            vocabulary.scores = list_from(json.at("scores").json(), score_from);
        } else {
            refuse(fmt::format("its type is {}; byte, char, word and bpe are known", type));
        }
        vocabulary.tokens = list_from(json.at("tokens").json(), token_from);
        return Tokenizer(std::move(vocabulary));
    } catch (const FileError& error) {
        throw FileError(fmt::format("{}: {}", source, error.what()));
    }
}

std::string Tokenizer::to_llama2c() const {
    if (vocabulary_.kind == TokenizerKind::word)
        throw ValueError("tokenizer: a word tokenizer has no form as tokenizer.bin; byte, char and bpe have");
    std::string bytes;
    const auto put = [&](auto number) { bytes.append(reinterpret_cast<const char*>(&number), sizeof(number)); };
    put(static_cast<std::int32_t>(std::ranges::max(vocabulary_.tokens, {}, &std::string::size).size()));
    for (std::size_t i = 0; i < vocabulary_.tokens.size(); ++i) {
        put(vocabulary_.kind == TokenizerKind::bpe ? vocabulary_.scores[i] : 0.0f);
        put(static_cast<std::int32_t>(vocabulary_.tokens[i].size()));
        bytes += vocabulary_.tokens[i];
    }
    return bytes;
}

void Tokenizer::write_llama2c(const std::filesystem::path& path) const { nn::atomic_write(path, to_llama2c()); }

Tokenizer Tokenizer::read_llama2c(const std::filesystem::path& path) {
    BinReader file(path);
    const auto longest = file.number<std::int32_t>();
    if (longest < 1 || longest > 1 << 16) file.fail(fmt::format("its longest token has {} bytes", longest));
    Vocabulary vocabulary;
    while (!file.at_end()) {
        vocabulary.scores.push_back(file.number<float>());
        const auto length = file.number<std::int32_t>();
        if (length < 1 || length > longest)
            file.fail(fmt::format("token {} has {} bytes, the longest {}", vocabulary.tokens.size(), length, longest));
        vocabulary.tokens.emplace_back(file.take(static_cast<std::size_t>(length)));
        if (vocabulary.tokens.size() > most_tokens) file.fail(fmt::format("it has more than {} tokens", most_tokens));
    }
    vocabulary.kind = kind_of(vocabulary.tokens);
    if (vocabulary.kind != TokenizerKind::bpe) vocabulary.scores.clear();
    try {
        return Tokenizer(std::move(vocabulary));
    } catch (const FileError& error) {
        file.fail(error.what());
    }
}

}  // namespace xtape::models
