#include <xtape/models/lrnn/checkpoint.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/nn/module.hpp>

#include <bit>
#include <cstring>
#include <fstream>
#include <optional>

#include <fmt/format.h>

namespace xtape::models {

namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian");

constexpr std::string_view magic = "lrnnC0";  ///< then the version and a zero byte
constexpr std::int32_t most_words = 32767;
constexpr std::int32_t longest_word = 1 << 16;
constexpr std::int32_t char_tokenizer = 0, word_tokenizer = 1;

/// The tensors that stand before the layers: emb and ln0. The number of layers is written behind them.
constexpr std::size_t before_layers = 3;

class Reader {
public:
    explicit Reader(const std::filesystem::path& path) : path_(path.string()), bytes_(nn::read_file(path)) {}

    std::size_t remaining() const { return bytes_.size() - at_; }

    template <class Number> Number number(std::string_view what) {
        Number value;
        std::memcpy(&value, take(sizeof(value), what).data(), sizeof(value));
        return value;
    }
    /// A whole number in [least, most].
    std::int32_t number_from(std::int32_t least, std::int32_t most, std::string_view what) {
        const auto value = number<std::int32_t>(what);
        if (value < least || value > most) fail(fmt::format("{} is {}, outside {} to {}", what, value, least, most));
        return value;
    }
    std::string_view take(std::size_t size, std::string_view what) {
        if (size > remaining()) fail(fmt::format("it ends in the midst of {}, after {} bytes", what, bytes_.size()));
        at_ += size;
        return std::string_view(bytes_).substr(at_ - size, size);
    }
    [[noreturn]] void fail(std::string_view why) const {
        throw FileError(fmt::format("{} is not a checkpoint of lrnn: {}", path_, why));
    }

private:
    std::string path_;
    std::string bytes_;
    std::size_t at_ = 0;
};

int read_version(Reader& file) {
    const std::string_view start = file.take(magic.size() + 2, "the magic bytes");
    const char version = start[magic.size()];
    if (!start.starts_with(magic) || (version != '1' && version != '2') || start.back() != '\0')
        file.fail("it begins neither with lrnnC01 nor with lrnnC02");
    return version - '0';
}

LrnnConfig read_config(Reader& file) {
    LrnnConfig config;
    config.vocab = file.number<std::int32_t>("vocab");
    config.layers = file.number<std::int32_t>("layers");
    config.dim = file.number<std::int32_t>("dim");
    config.heads = file.number<std::int32_t>("heads");
    config.context = file.number<std::int32_t>("ctx");
    config.decay_rank = file.number<std::int32_t>("rank");
    config.ffn_multiplier = file.number<float>("ffn_multiplier");
    config.slots = file.number<std::int32_t>("slots");
    try {
        return config.checked();
    } catch (const ValueError& error) {
        file.fail(error.what());
    }
}

Vocabulary read_characters(Reader& file, LrnnCheckpointForm& form) {
    const std::int32_t size = file.number_from(1, 256, "the size of the vocabulary");
    Vocabulary vocabulary{.kind = TokenizerKind::character};
    std::array<std::int32_t, 256> index_of{};
    index_of.fill(-1);
    for (const char c : file.take(static_cast<std::size_t>(size), "the vocabulary")) {
        index_of[static_cast<unsigned char>(c)] = static_cast<std::int32_t>(vocabulary.tokens.size());
        vocabulary.tokens.emplace_back(1, c);
    }
    std::optional<std::int32_t> unknown;
    for (std::size_t byte = 0; byte < 256; ++byte) {
        const auto index = file.number<std::int32_t>("the table of bytes");
        if (index_of[byte] >= 0 ? index == index_of[byte]
                                : (index == 0 || index == -1) && unknown.value_or(index) == index) {
            if (index_of[byte] < 0) unknown = index;
            continue;
        }
        file.fail(fmt::format("the table of bytes has {} for byte {}, which does not fit the vocabulary", index, byte));
    }
    form.unknown_byte = unknown.value_or(0);
    return vocabulary;
}

Vocabulary read_words(Reader& file) {
    const std::int32_t size = file.number_from(1, most_words, "the size of the vocabulary");
    Vocabulary vocabulary{.kind = TokenizerKind::word};
    vocabulary.unknown = file.number_from(0, size - 1, "the token of unknown words");
    vocabulary.padding = file.number_from(0, size - 1, "the token of padding");
    vocabulary.space = file.number_from(-1, size - 1, "the token of a space");
    vocabulary.newline = file.number_from(-1, size - 1, "the token of a line break");
    for (std::int32_t i = 0; i < size; ++i) {
        const std::int32_t length = file.number_from(1, longest_word, "the length of a word");
        vocabulary.tokens.emplace_back(file.take(static_cast<std::size_t>(length), "a word"));
    }
    return vocabulary;
}

Tokenizer read_tokenizer(Reader& file, LrnnCheckpointForm& form) {
    const std::int32_t type =
        form.version == 1 ? char_tokenizer : file.number_from(char_tokenizer, word_tokenizer, "the tokenizer");
    Vocabulary vocabulary = type == char_tokenizer ? read_characters(file, form) : read_words(file);
    try {
        return Tokenizer(std::move(vocabulary));
    } catch (const FileError& error) {
        file.fail(error.what());
    }
}

/// Rows and columns as they stand in the file: a vector is one column.
std::pair<Index, Index> extents_of(const Shape& shape) { return {shape[0], shape.rank() == 1 ? 1 : shape[1]}; }

void read_parameters(Reader& file, Lrnn<float>& model) {
    const auto parameters = nn::parameters(model);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const auto& [name, parameter] = parameters[i];
        if (i == before_layers)
            file.number_from(model.config().layers, model.config().layers, "the number of layers before the first");
        const auto rows = file.number<std::int32_t>(name), columns = file.number<std::int32_t>(name);
        if (std::pair<Index, Index>(rows, columns) != extents_of(parameter->shape()))
            file.fail(
                fmt::format("{} is [{}, {}], its sizes want {}", name, rows, columns, to_string(parameter->shape())));
        const std::span<float> values = parameter->write();
        std::memcpy(values.data(), file.take(values.size_bytes(), name).data(), values.size_bytes());
    }
}

class Writer {
public:
    template <class Number> void number(Number value) { raw(&value, sizeof(value)); }
    void whole(Index value) { number(static_cast<std::int32_t>(value)); }
    void text(std::string_view bytes) { bytes_ += bytes; }
    void raw(const void* data, std::size_t size) { bytes_.append(static_cast<const char*>(data), size); }
    const std::string& bytes() const { return bytes_; }

private:
    std::string bytes_;
};

void write_characters(Writer& file, const Vocabulary& vocabulary, std::int32_t unknown) {
    std::array<std::int32_t, 256> index_of{};
    index_of.fill(unknown);
    file.whole(std::ssize(vocabulary.tokens));
    for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
        file.text(vocabulary.tokens[i]);
        index_of[static_cast<unsigned char>(vocabulary.tokens[i][0])] = static_cast<std::int32_t>(i);
    }
    for (const std::int32_t index : index_of) file.number(index);
}

void write_words(Writer& file, const Vocabulary& vocabulary) {
    file.whole(std::ssize(vocabulary.tokens));
    for (const std::int32_t token : {vocabulary.unknown, vocabulary.padding, vocabulary.space, vocabulary.newline})
        file.number(token);
    for (const std::string& word : vocabulary.tokens) {
        file.whole(std::ssize(word));
        file.text(word);
    }
}

void write_config(Writer& file, const LrnnConfig& config) {
    for (const int size : {config.vocab, config.layers, config.dim, config.heads, config.context, config.decay_rank})
        file.whole(size);
    file.number(config.ffn_multiplier);
    file.whole(config.slots);
}

void write_parameters(Writer& file, const Lrnn<float>& model) {
    const auto parameters = nn::parameters(model);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (i == before_layers) file.whole(model.config().layers);
        const auto [rows, columns] = extents_of(parameters[i].parameter->shape());
        file.whole(rows);
        file.whole(columns);
        const std::span<const float> values = parameters[i].parameter->values();
        file.raw(values.data(), values.size_bytes());
    }
}

}  // namespace

bool is_lrnn_checkpoint(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::array<char, magic.size()> start{};
    return file.read(start.data(), start.size()) && std::string_view(start.data(), start.size()) == magic;
}

LrnnCheckpoint read_lrnn_checkpoint(const std::filesystem::path& path) {
    Reader file(path);
    LrnnCheckpointForm form{.version = read_version(file)};
    const LrnnConfig config = read_config(file);
    Tokenizer tokenizer = read_tokenizer(file, form);
    if (tokenizer.vocab() != config.vocab)
        file.fail(fmt::format("the vocabulary has {} tokens, the model {}", tokenizer.vocab(), config.vocab));
    if (static_cast<std::size_t>(parameter_count(config)) > file.remaining() / sizeof(float))
        file.fail(fmt::format("{} weights do not fit the {} bytes behind the vocabulary", parameter_count(config),
                              file.remaining()));
    LrnnCheckpoint checkpoint{nn::build<Lrnn<float>>(config, 0), std::move(tokenizer), form};
    read_parameters(file, checkpoint.model);
    if (file.remaining() > 0) file.fail(fmt::format("{} bytes follow the last tensor", file.remaining()));
    return checkpoint;
}

void write_lrnn_checkpoint(const std::filesystem::path& path, const Lrnn<float>& model, const Tokenizer& tokenizer,
                           const LrnnCheckpointForm& form) {
    const Vocabulary& vocabulary = tokenizer.vocabulary();
    const bool words = vocabulary.kind == TokenizerKind::word;
    if ((!words && vocabulary.kind != TokenizerKind::character) || (words && form.version == 1))
        throw ValueError(
            fmt::format("lrnn: a checkpoint lrnnC0{} has no form for a {} tokenizer", form.version, tokenizer.kind()));
    if (tokenizer.vocab() != model.config().vocab)
        throw ValueError(
            fmt::format("lrnn: the tokenizer has {} tokens, the model {}", tokenizer.vocab(), model.config().vocab));
    Writer file;
    file.text(magic);
    file.number(static_cast<char>('0' + form.version));
    file.number('\0');
    write_config(file, model.config());
    if (form.version > 1) file.number(words ? word_tokenizer : char_tokenizer);
    if (words)
        write_words(file, vocabulary);
    else
        write_characters(file, vocabulary, form.unknown_byte);
    write_parameters(file, model);
    nn::atomic_write(path, file.bytes());
}

}  // namespace xtape::models
