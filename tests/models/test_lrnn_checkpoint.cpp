#include <xtape/engine/error.hpp>
#include <xtape/models/lrnn/checkpoint.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/nn/temporary_folder.hpp>

#include <cstring>

namespace test_lrnn_checkpoint {

using namespace xtape;
using Catch::Matchers::Contains;
using models::Lrnn;
using models::LrnnConfig;
using models::Tokenizer;

namespace {

constexpr LrnnConfig tiny{
    .vocab = 3, .layers = 2, .dim = 4, .heads = 2, .context = 32, .decay_rank = 3, .ffn_multiplier = 2.3f, .slots = 2};

/// A checkpoint as the specification writes it, field by field.
class Builder {
public:
    std::string bytes;

    template <class Number> Builder& put(std::initializer_list<Number> numbers) {
        for (const Number number : numbers) bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
        return *this;
    }
    Builder& text(std::string_view text) {
        bytes += text;
        return *this;
    }
    Builder& config(int vocab = tiny.vocab) {
        return put<std::int32_t>({vocab, tiny.layers, tiny.dim, tiny.heads, tiny.context, tiny.decay_rank})
            .put<float>({tiny.ffn_multiplier})
            .put<std::int32_t>({tiny.slots});
    }
    /// The vocabulary "abc", and what stands for the other bytes.
    Builder& characters(std::int32_t other) {
        put<std::int32_t>({3}).text("abc");
        for (int byte = 0; byte < 256; ++byte) put<std::int32_t>({byte >= 'a' && byte <= 'c' ? byte - 'a' : other});
        return *this;
    }
    Builder& words() {
        put<std::int32_t>({4, 0, 0, 2, -1});
        for (const std::string_view word : {"<unk>", "tree", " ", "Ärger"})
            put<std::int32_t>({static_cast<std::int32_t>(word.size())}).text(word);
        return *this;
    }
    Builder& tensor(std::int32_t rows, std::int32_t columns) {
        put<std::int32_t>({rows, columns});
        for (int i = 0; i < rows * columns; ++i) put<float>({0.25f * static_cast<float>(next_++) - 3});
        return *this;
    }
    Builder& tensors(int vocab = tiny.vocab) {
        const int d = tiny.dim, f = 9, r = tiny.decay_rank, m = tiny.slots;
        tensor(vocab, d).tensor(d, 1).tensor(d, 1);
        put<std::int32_t>({tiny.layers});
        for (int layer = 0; layer < tiny.layers; ++layer) {
            for (int i = 0; i < 10; ++i) tensor(d, 1);
            tensor(d, r).tensor(r, d).tensor(d, 1).tensor(d, 1);
            for (int i = 0; i < 4; ++i) tensor(d, d);
            tensor(d, 1).tensor(d, f).tensor(d, f).tensor(f, d).tensor(d, m).tensor(d, m);
        }
        return tensor(d, 1).tensor(d, 1).tensor(d, vocab);
    }

private:
    int next_ = 0;
};

const std::string_view first("lrnnC01\0", 8), second("lrnnC02\0", 8);

std::string version_1() { return Builder().text(first).config().characters(0).tensors().bytes; }
std::string version_2_char() {
    return Builder().text(second).config().put<std::int32_t>({0}).characters(-1).tensors().bytes;
}
std::string version_2_word() {
    return Builder().text(second).config(4).put<std::int32_t>({1}).words().tensors(4).bytes;
}

}  // namespace

TEST_CASE("lrnn checkpoint: what is read comes back byte for byte") {
    const TemporaryFolder folder;
    for (const std::string& bytes : {version_1(), version_2_char(), version_2_word()}) {
        const auto path = folder.file("old.bin", bytes);
        CHECK(models::is_lrnn_checkpoint(path));
        const auto checkpoint = models::read_lrnn_checkpoint(path);
        models::write_lrnn_checkpoint(folder / "new.bin", checkpoint.model, checkpoint.tokenizer, checkpoint.form);
        CHECK(nn::read_file(folder / "new.bin") == bytes);
    }
}

TEST_CASE("lrnn checkpoint: sizes, vocabulary and weights are found in their places") {
    const TemporaryFolder folder;
    const auto [model, tokenizer, form] = models::read_lrnn_checkpoint(folder.file("a", version_2_word()));
    CHECK(form == models::LrnnCheckpointForm{.version = 2});
    CHECK(model.config().ffn() == 9);
    CHECK(model.config().context == 32);
    CHECK(tokenizer.encode("tree Ärger\nfire") == std::vector<std::int32_t>{1, 2, 3, 0});
    const auto parameters = nn::parameters(model);
    CHECK(parameters[0].parameter->values()[1] == -2.75f);
    float expected = -3;
    for (const auto& named : parameters) {
        CHECK(named.parameter->values()[0] == expected);
        expected += 0.25f * static_cast<float>(named.parameter->size());
    }
}

TEST_CASE("lrnn checkpoint: a file that is cut anywhere, or goes on, is refused") {
    const TemporaryFolder folder;
    for (const std::string& bytes : {version_1(), version_2_char(), version_2_word()}) {
        for (std::size_t size = 0; size < bytes.size(); size += 13) {
            const auto path = folder.file("cut", std::string_view(bytes).substr(0, size));
            CHECK_THROWS_WITH(models::read_lrnn_checkpoint(path), Contains("is not a checkpoint of lrnn: "));
        }
        CHECK_THROWS_WITH(models::read_lrnn_checkpoint(folder.file("long", bytes + "x")),
                          Contains("1 bytes follow the last tensor"));
    }
}

TEST_CASE("lrnn checkpoint: a file with any byte changed is read or refused, and nothing else happens") {
    const TemporaryFolder folder;
    nn::Rng rng(1);
    for (const std::string& bytes : {version_1(), version_2_char(), version_2_word()}) {
        for (int i = 0; i < 100; ++i) {
            std::string changed = bytes;
            const auto at = static_cast<std::size_t>(rng.below(i % 2 == 0 ? 150 : std::ssize(bytes)));
            changed[at] = static_cast<char>(rng.below(256));
            const auto path = folder.file("changed", changed);
            try {
                const auto checkpoint = models::read_lrnn_checkpoint(path);
                models::write_lrnn_checkpoint(path, checkpoint.model, checkpoint.tokenizer, checkpoint.form);
                CHECK(nn::read_file(path) == changed);
            } catch (const FileError& refused) {
                CHECK_THAT(refused.what(), Contains("is not a checkpoint of lrnn: "));
            }
        }
    }
}

TEST_CASE("lrnn checkpoint: numbers that cannot be are refused before anything is allocated") {
    const TemporaryFolder folder;
    const auto refused = [&](std::size_t at, std::int32_t number, const std::string& why) {
        std::string bytes = version_2_char();
        std::memcpy(bytes.data() + at, &number, sizeof(number));
        CHECK_THROWS_WITH(models::read_lrnn_checkpoint(folder.file("bad", bytes)), Contains(why));
    };
    refused(0, 0, "it begins neither with lrnnC01 nor with lrnnC02");
    refused(8, 1 << 24, "the vocabulary has 3 tokens, the model 16777216");
    refused(12, 4096, "weights do not fit");
    refused(12, -1, "layers must be from 1 to 4096: it is -1");
    refused(12, 1, "the number of layers before the first is 2, outside 1 to 1");
    refused(16, 1 << 16, "weights do not fit");
    refused(16, 1 << 30, "dim must be from 1 to 65536");
    refused(20, 3, "heads must divide dim");
    refused(32, 0x7fc00000, "ffn_multiplier must be above 0");
    refused(36, 1, "layers.0.mem_gate_write is [4, 2], its sizes want [4, 1]");
    refused(40, 2, "the tokenizer is 2, outside 0 to 1");
    refused(44, 257, "the size of the vocabulary is 257, outside 1 to 256");
    refused(51, 5, "the table of bytes has 5 for byte 0");
    refused(55, 0, "the table of bytes has 0 for byte 1");
    refused(51 + 4 * 'a', 1, "the table of bytes has 1 for byte 97");
    refused(51 + 4 * 256, 4, "emb is [4, 4], its sizes want [3, 4]");
}

TEST_CASE("lrnn checkpoint: what a version has no form for is refused") {
    const TemporaryFolder folder;
    const auto model = nn::build<Lrnn<float>>(tiny, 1);
    CHECK_THROWS_WITH(models::write_lrnn_checkpoint(folder / "a", model, Tokenizer::bytes()),
                      "lrnn: a checkpoint lrnnC02 has no form for a byte tokenizer");
    CHECK_THROWS_WITH(models::write_lrnn_checkpoint(folder / "a", model, Tokenizer::words("a b"), {.version = 1}),
                      "lrnn: a checkpoint lrnnC01 has no form for a word tokenizer");
    CHECK_THROWS_WITH(models::write_lrnn_checkpoint(folder / "a", model, Tokenizer::characters("ab")),
                      "lrnn: the tokenizer has 2 tokens, the model 3");
    CHECK_FALSE(models::is_lrnn_checkpoint(folder / "a"));
    CHECK_THROWS_WITH(models::read_lrnn_checkpoint(folder / "a"), Contains("No such file"));
}

}  // namespace test_lrnn_checkpoint
