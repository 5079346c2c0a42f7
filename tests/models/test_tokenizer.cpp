#include "../catch.hpp"
#include "../nn/temporary_folder.hpp"

#include <xtape/engine/error.hpp>
#include <xtape/models/text/prose_corpus.hpp>
#include <xtape/models/text/tokenizer.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/nn/init.hpp>

#include <bit>
#include <limits>
#include <set>

namespace test_tokenizer {

using namespace xtape;
using models::Text;
using models::Tokenizer;
using models::TokenizerKind;
using models::Vocabulary;
using Tokens = std::vector<std::int32_t>;

namespace {

std::string random_bytes(nn::Rng& rng, Index size, Index alphabet = 256) {
    std::string bytes;
    for (Index i = 0; i < size; ++i) bytes += static_cast<char>(rng.below(alphabet));
    return bytes;
}

/// A vocabulary as SentencePiece writes it, of these pieces; those that come first score highest.
Vocabulary sentencepiece(std::initializer_list<const char*> pieces) {
    Vocabulary vocabulary{.kind = TokenizerKind::bpe, .tokens = {"<unk>", "\n<s>\n", "\n</s>\n"}};
    const char* digits = "0123456789ABCDEF";
    for (std::size_t byte = 0; byte < 256; ++byte)
        vocabulary.tokens.push_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
    vocabulary.tokens.insert(vocabulary.tokens.end(), pieces.begin(), pieces.end());
    for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) vocabulary.scores.push_back(-static_cast<float>(i));
    return vocabulary;
}

std::string number_bytes(auto number) { return {reinterpret_cast<const char*>(&number), sizeof(number)}; }

}  // namespace

TEST_CASE("byte tokens: a byte is its own token") {
    const Tokenizer tokenizer = Tokenizer::bytes();
    CHECK(tokenizer.vocab() == 256);
    CHECK(tokenizer.kind() == "byte");
    CHECK(tokenizer.encode("A\xff") == Tokens{65, 255});
    CHECK(tokenizer.decode(Tokens{65, 255}) == "A\xff");
}

TEST_CASE("char tokens: the bytes of the corpus, sorted; an unknown byte is token 0") {
    const Tokenizer tokenizer = Tokenizer::characters("banana\n");
    CHECK(tokenizer.vocab() == 4);
    CHECK(tokenizer.kind() == "char");
    CHECK(tokenizer.encode("\nabnx") == Tokens{0, 1, 2, 3, 0});
    CHECK(tokenizer.decode(2) == "b");
}

TEST_CASE("decode: an id outside the vocabulary is refused") {
    CHECK_THROWS_WITH(Tokenizer::bytes().decode(256), "decode: token 256 is outside the vocabulary of 256");
    CHECK_THROWS_AS(Tokenizer::bytes().decode(-1), ValueError);
}

TEST_CASE("tokenizers: learned by name; auto is char below 20,000 bytes, else word") {
    for (const char* kind : {"byte", "char", "word", "bpe"}) CHECK(Tokenizer::learn(kind, "text", 256).kind() == kind);
    CHECK(Tokenizer::learn("auto", std::string(19999, 'a'), 0).kind() == "char");
    CHECK(Tokenizer::learn("auto", std::string(20000, 'a'), 0).kind() == "word");
    CHECK_THROWS_WITH(Tokenizer::learn("words", "text", 0),
                      "tokenizer: words is not a kind; byte, char, word, bpe and auto are");
}

TEST_CASE("word tokens: words, and each space, line break and mark by itself, behind <unk> and <pad>") {
    const Tokenizer tokenizer = Tokenizer::words("one_two,\tthree\r\nthree!");
    const std::vector<std::string> tokens{"<unk>", "<pad>", " ", "\n", "one_two", ",", "three", "!"};
    CHECK(tokenizer.vocabulary().tokens == tokens);
    CHECK(tokenizer.encode("three,  one_two\n") == Tokens{6, 5, 2, 2, 4, 3});
    CHECK(tokenizer.decode(tokenizer.encode("three,\tone_two\r\n!")) == "three, one_two\n!");
}

TEST_CASE("word tokens: an unknown word is <unk>, an unknown mark is dropped") {
    const Tokenizer tokenizer = Tokenizer::words("a b.");
    CHECK(tokenizer.encode("a? zebra.") == Tokens{4, 2, 0, 6});
    CHECK(tokenizer.encode("<unk>") == Tokens{0});
}

TEST_CASE("word tokens: a word is cut at 63 bytes") {
    const Tokenizer tokenizer = Tokenizer::words(std::string(70, 'x') + " " + std::string(62, 'y'));
    CHECK(tokenizer.decode(4) == std::string(63, 'x'));
    CHECK(tokenizer.decode(5) == std::string(62, 'y'));
    CHECK(tokenizer.encode(std::string(64, 'x')) == Tokens{4});
}

TEST_CASE("word tokens: the vocabulary ends at 32,767") {
    std::string text;
    for (int i = 0; i < 40000; ++i) text.append(std::to_string(i)).append(" ");
    const Tokenizer tokenizer = Tokenizer::words(text);
    CHECK(tokenizer.vocab() == 32767);
    CHECK(tokenizer.encode("0 32762 32763") == Tokens{4, 2, 32766, 2, 0});
}

TEST_CASE("word tokens: an unknown word of a foreign vocabulary is what that says") {
    const Tokenizer tokenizer(Vocabulary{.kind = TokenizerKind::word,
                                         .tokens = {"\n", "a", " ", "?"},
                                         .unknown = 3,
                                         .padding = 3,
                                         .space = 2,
                                         .newline = -1});
    CHECK(tokenizer.encode("a b\na") == Tokens{1, 2, 3, 1});
}

TEST_CASE("bpe: the most frequent pair is merged first; no pair crosses a unit") {
    const Tokenizer tokenizer = Tokenizer::bpe("low lower lowest low, low", 259);
    CHECK(tokenizer.decode(256) == "lo");
    CHECK(tokenizer.decode(257) == "low");
    CHECK(tokenizer.decode(258) == " low");
    CHECK(tokenizer.encode(" low low") == Tokens{258, 258});
    CHECK(tokenizer.encode("slow") == Tokens{'s', 257});
}

TEST_CASE("bpe: learning ends when no pair occurs twice") {
    CHECK(Tokenizer::bpe("abab cd", 1000).vocab() == 257);
    CHECK(Tokenizer::bpe("", 300).vocab() == 256);
    CHECK(Tokenizer::bpe(std::string(1000, 'a'), 300).vocab() > 257);
}

TEST_CASE("bpe: a vocab out of range is refused") {
    CHECK_THROWS_WITH(Tokenizer::bpe("text", 255),
                      "tokenizer: a byte-pair vocabulary has 256 to 1000000 tokens: vocab is 255");
}

TEST_CASE("bpe: built-in prose becomes tokens of three bytes and more, each once in the vocabulary") {
    const Tokenizer tokenizer = Tokenizer::bpe(models::built_in_text(), 2048);
    const Tokens tokens = tokenizer.encode(models::built_in_text());
    CHECK(tokenizer.vocab() == 2048);
    CHECK(tokens.size() * 3 < models::built_in_text().size());
    CHECK(tokenizer.decode(tokens) == models::built_in_text());
    const auto& all = tokenizer.vocabulary().tokens;
    CHECK(std::set<std::string>(all.begin(), all.end()).size() == all.size());
}

TEST_CASE("bpe: learned twice, the same tokens; learned longer, the same beginning") {
    const Text text = models::built_in_text();
    const auto tokens = Tokenizer::bpe(text, 600).vocabulary().tokens;
    CHECK(Tokenizer::bpe(text, 600).vocabulary().tokens == tokens);
    auto longer = Tokenizer::bpe(text, 700).vocabulary().tokens;
    longer.resize(600);
    CHECK(longer == tokens);
}

TEST_CASE("tokenizers: random bytes come back whole from byte, char and bpe") {
    nn::Rng rng(11);
    const Tokenizer bpe = Tokenizer::bpe(random_bytes(rng, 20000, 4) + random_bytes(rng, 5000), 700);
    const Tokenizer characters = Tokenizer::characters(random_bytes(rng, 10000));
    const Tokenizer pieces(sentencepiece({" ", "é", "a", "b", "ab", " ab", "  "}));
    for (int round = 0; round < 50; ++round) {
        const std::string text = random_bytes(rng, rng.below(2000), round % 2 == 0 ? 256 : 4);
        for (const Tokenizer* tokenizer : {&bpe, &characters, &pieces})
            REQUIRE(tokenizer->decode(tokenizer->encode(text)) == text);
    }
}

TEST_CASE("tokenizers: text encoded piece by piece gives the tokens of the whole") {
    const std::string_view text = models::built_in_text().substr(0, 20000);
    const std::string spaced =
        "  two  spaces \n next\tline \r\n" + std::string(500, ' ') + "end" + std::string(600, 'x');
    for (const Tokenizer& tokenizer :
         {Tokenizer::bytes(), Tokenizer::words(text), Tokenizer::bpe(text, 500),
          Tokenizer(sentencepiece({" ", "t", "h", "e", "th", " th", "the", " the", "  "}))}) {
        for (const std::string_view whole : {text, std::string_view(spaced)}) {
            Tokens tokens;
            Text(whole).for_each_piece(
                [&](std::string_view piece) {
                    for (const std::int32_t token : tokenizer.encode(piece)) tokens.push_back(token);
                },
                7);
            CHECK(tokens == tokenizer.encode(whole));
        }
    }
}

TEST_CASE("sentencepiece: the highest score merges first, a character without a piece falls to its bytes") {
    const Tokenizer tokenizer(sentencepiece({" ", "a", "b", "c", "bc", "ab", "é"}));
    CHECK(tokenizer.encode("abc") == Tokens{260, 263});
    CHECK(tokenizer.encode("é") == Tokens{265});
    CHECK(tokenizer.encode("ü") == Tokens{3 + 0xc3, 3 + 0xbc});
    CHECK(tokenizer.encode_prompt("a") == Tokens{1, 259, 260});
    CHECK(tokenizer.encode_prompt("") == Tokens{1});
    CHECK(tokenizer.decode(Tokens{1, 259, 3 + 'x', 2}) == " x");
    CHECK(tokenizer.ends_text(2));
    CHECK_FALSE(Tokenizer::bytes().ends_text(2));
    CHECK(Tokenizer::bytes().encode_prompt("a") == Tokens{'a'});
}

TEST_CASE("tokenizer.json: every kind survives its file") {
    const std::string text = "Zoé's cat, \xff\xfe the cat";
    for (const Tokenizer& tokenizer : {Tokenizer::bytes(), Tokenizer::characters(text), Tokenizer::words(text),
                                       Tokenizer::bpe(text, 300), Tokenizer(sentencepiece({"a", "é"}))}) {
        const Tokenizer again = Tokenizer::from_json(tokenizer.to_json());
        CHECK(again.kind() == tokenizer.kind());
        CHECK(again.vocabulary().tokens == tokenizer.vocabulary().tokens);
        CHECK(again.vocabulary().scores == tokenizer.vocabulary().scores);
        CHECK(again.encode(text) == tokenizer.encode(text));
    }
}

TEST_CASE("tokenizer.json: anything else is refused") {
    for (const char* broken :
         {"",
          "{",
          "[]",
          "1",
          "{}",
          R"({"type": "names"})",
          R"({"type": 1})",
          R"({"type": "char"})",
          R"({"type": "char", "tokens": {}})",
          R"({"type": "char", "tokens": []})",
          R"({"type": "char", "tokens": ["ab"]})",
          R"({"type": "char", "tokens": ["a", "a"]})",
          R"({"type": "char", "tokens": [[256]]})",
          R"({"type": "char", "tokens": [[-1]]})",
          R"({"type": "char", "tokens": [""]})",
          R"({"type": "char", "tokens": [[[[["a"]]]]]})",
          R"({"type": "word", "tokens": ["a"]})",
          R"({"type": "word", "tokens": ["a"], "unknown": 0, "padding": 0, "space": 0, "newline": 1})",
          R"({"type": "word", "tokens": ["a"], "unknown": -1, "padding": 0, "space": 0, "newline": 0})",
          R"({"type": "word", "tokens": ["a"], "unknown": 4294967296, "padding": 0, "space": 0, "newline": 0})",
          R"({"type": "word", "tokens": ["a", "b", "b"], "unknown": 0, "padding": 0, "space": -1, "newline": -1})",
          R"({"type": "bpe", "tokens": ["a"], "scores": [0]})",
          R"({"type": "bpe", "tokens": ["a"], "scores": ["0"]})"}) {
        INFO(broken);
        CHECK_THROWS_AS(Tokenizer::from_json(broken), FileError);
    }
    CHECK_THROWS_WITH(Tokenizer::from_json(R"({"type": "names"})"),
                      "tokenizer.json: its type is names; byte, char, word and bpe are known");
}

TEST_CASE("tokenizer.json: a damaged file is refused or read as a tokenizer, never more") {
    nn::Rng rng(5);
    const std::string whole = Tokenizer::bpe("some text, some text", 262).to_json();
    for (int round = 0; round < 300; ++round) {
        std::string damaged = whole;
        damaged[static_cast<std::size_t>(rng.below(static_cast<Index>(whole.size())))] =
            static_cast<char>(rng.below(256));
        if (round % 3 == 0) damaged.resize(static_cast<std::size_t>(rng.below(static_cast<Index>(whole.size()))));
        try {
            const Tokenizer tokenizer = Tokenizer::from_json(damaged);
            CHECK(tokenizer.decode(tokenizer.encode("some text")) == "some text");
        } catch (const FileError&) {}
    }
}

TEST_CASE("tokenizer.bin: byte, char and bpe survive llama2.c's file; words have none") {
    const TemporaryFolder folder;
    const std::string text = "a cat and a cat";
    for (const Tokenizer& tokenizer : {Tokenizer::bytes(), Tokenizer::characters(text), Tokenizer::bpe(text, 270),
                                       Tokenizer(sentencepiece({" ", "a", "é"}))}) {
        tokenizer.write_llama2c(folder / "tokenizer.bin");
        const Tokenizer again = Tokenizer::read_llama2c(folder / "tokenizer.bin");
        CHECK(again.kind() == tokenizer.kind());
        CHECK(again.vocabulary().tokens == tokenizer.vocabulary().tokens);
        CHECK(again.vocabulary().scores.size() ==
              (tokenizer.kind() == "bpe" ? tokenizer.vocabulary().scores.size() : 0));
        CHECK(again.encode(text) == tokenizer.encode(text));
    }
    CHECK_THROWS_WITH(Tokenizer::words(text).write_llama2c(folder / "tokenizer.bin"),
                      "tokenizer: a word tokenizer has no form as tokenizer.bin; byte, char and bpe have");
}

TEST_CASE("tokenizer.bin: its bytes are the longest length, then score, length and bytes of each") {
    const TemporaryFolder folder;
    Tokenizer::characters("ab").write_llama2c(folder / "tokenizer.bin");
    const std::string zero(4, '\0'), one = number_bytes(std::int32_t{1});
    CHECK(nn::read_file(folder / "tokenizer.bin") == one + zero + one + "a" + zero + one + "b");
}

TEST_CASE("tokenizer.bin: what is cut off, too long or without end is refused") {
    const TemporaryFolder folder;
    Tokenizer::bpe("a cat and a cat", 260).write_llama2c(folder / "whole.bin");
    const std::string whole = nn::read_file(folder / "whole.bin");
    for (std::size_t length = 0; length < whole.size(); length += 7) {
        const auto path = folder.file("cut.bin", std::string_view(whole).substr(0, length));
        const bool between_bytes = length > 4 && (length - 4) % 9 == 0;  // then it is a char tokenizer
        if (length > 4 + 256 * 9 || between_bytes) continue;
        CHECK_THROWS_AS(Tokenizer::read_llama2c(path), FileError);
    }
    const std::string zero(4, '\0');
    for (const std::string& broken : {zero, number_bytes(std::int32_t{-1}), number_bytes(std::int32_t{1}) + zero + zero,
                                      number_bytes(std::int32_t{1}) + zero + number_bytes(std::int32_t{2}) + "ab",
                                      number_bytes(std::int32_t{1}) + zero + number_bytes(std::int32_t{-2}),
                                      number_bytes(std::int32_t{1 << 30}) + zero + number_bytes(std::int32_t{1 << 29})})
        CHECK_THROWS_AS(Tokenizer::read_llama2c(folder.file("broken.bin", broken)), FileError);
    CHECK_THROWS_AS(Tokenizer::read_llama2c(folder / "missing.bin"), FileError);
    std::string not_finite = whole;
    not_finite.replace(4, 4, number_bytes(std::numeric_limits<float>::quiet_NaN()));
    CHECK_THROWS_AS(Tokenizer::read_llama2c(folder.file("nan.bin", not_finite)), FileError);
}

TEST_CASE("tokenizer.bin: a damaged file is refused or read as a tokenizer, never more") {
    const TemporaryFolder folder;
    nn::Rng rng(6);
    const std::string text = "a cat and a cat";
    for (const Tokenizer& tokenizer : {Tokenizer::characters(text), Tokenizer(sentencepiece({" ", "a", "at"}))}) {
        tokenizer.write_llama2c(folder / "whole.bin");
        const std::string whole = nn::read_file(folder / "whole.bin");
        for (int round = 0; round < 200; ++round) {
            std::string damaged = whole;
            for (int i = 0; i < 3; ++i)
                damaged[static_cast<std::size_t>(rng.below(static_cast<Index>(whole.size())))] =
                    static_cast<char>(rng.below(256));
            try {
                const Tokenizer again = Tokenizer::read_llama2c(folder.file("damaged.bin", damaged));
                for (const std::int32_t token : again.encode(text)) CHECK(token < again.vocab());
            } catch (const FileError&) {}
        }
    }
}

}  // namespace test_tokenizer
