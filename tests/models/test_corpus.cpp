#include "../catch.hpp"
#include "../nn/temporary_folder.hpp"

#include <xtape/engine/error.hpp>
#include <xtape/models/text/corpus.hpp>
#include <xtape/models/text/prose_corpus.hpp>

#include <algorithm>
#include <numeric>
#include <set>

namespace test_corpus {

using namespace xtape;
using models::Text;
using models::TextCorpus;
using models::Tokenizer;
using models::Window;
using Tokens = std::vector<std::int32_t>;

namespace {

Tokens values(const Indices& indices) { return {indices.values().begin(), indices.values().end()}; }

}  // namespace

TEST_CASE("text: a file is read in pieces that end before a space behind a word") {
    const TemporaryFolder folder;
    std::string whole;
    for (int i = 0; i < 3000; ++i) whole.append("word").append(std::to_string(i)).append(i % 7 == 0 ? "  \n" : " ");
    const Text text = Text::open(folder.file("text.txt", whole));
    std::string joined;
    int pieces = 0;
    text.for_each_piece(
        [&](std::string_view piece) {
            if (!joined.empty()) {
                CHECK(piece[0] == ' ');
                CHECK(joined.back() != ' ');
            }
            joined += piece;
            ++pieces;
        },
        5000);
    CHECK(joined == whole);
    CHECK(pieces > 4);
    CHECK(text.size() == whole.size());
}

TEST_CASE("text: a missing or empty file, a folder and a pipe are refused with a sentence") {
    const TemporaryFolder folder;
    const std::string path = (folder / "it").string();
    CHECK_THROWS_WITH(Text::open(path), "read: " + path + ": No such file or directory");
    folder.file("it", "");
    CHECK_THROWS_WITH(Text::open(path), "read: " + path + " is empty");
    CHECK_THROWS_WITH(Text::open(folder.path()), "read: " + folder.path().string() + ": Is a directory");
    CHECK_THROWS_WITH(Text::open("/dev/null"), "read: /dev/null is not a regular file");
}

TEST_CASE("corpus: the last part of the tokens is held out") {
    const TextCorpus corpus("0123456789", Tokenizer::bytes(), 0.25, "digits");
    CHECK(corpus.size() == 10);
    CHECK(corpus.training().end == 8);
    CHECK(corpus.validation().begin == 8);
    CHECK(corpus.validation().size() == 2);
    CHECK(TextCorpus("0123456789", Tokenizer::bytes(), 0, "digits").validation().size() == 0);
}

TEST_CASE("corpus: a text too short for its parts, or a fraction out of range, is refused") {
    CHECK_THROWS_WITH(TextCorpus("a", Tokenizer::bytes(), 0, "short.txt"),
                      "short.txt: too short: 1 tokens to train on and 0 to validate; a part needs at least 2");
    CHECK_THROWS_AS(TextCorpus("0123456789", Tokenizer::bytes(), 0.1, "short.txt"), FileError);
    CHECK_THROWS_WITH(TextCorpus("0123456789", Tokenizer::bytes(), 1, "digits"),
                      "corpus: the validation fraction is at least 0 and below 1: it is 1");
}

TEST_CASE("corpus: a batch reads each window and predicts what is behind each token") {
    const TextCorpus corpus("abcdefghij", Tokenizer::bytes(), 0, "letters");
    const auto batch = corpus.batch(std::vector<Window>{{1, 3}, {7, 2}});
    CHECK(values(batch.tokens) == Tokens{'b', 'c', 'd', 'h', 'i'});
    CHECK(values(batch.targets) == Tokens{'c', 'd', 'e', 'i', 'j'});
    CHECK(values(batch.positions) == Tokens{0, 1, 2, 0, 1});
    CHECK(values(batch.offsets) == Tokens{0, 3, 5});
    CHECK_FALSE(corpus.batch(std::vector<Window>{{1, 3}}).offsets);
    for (const Window outside : {Window{-1, 2}, Window{0, 10}, Window{8, 2}, Window{3, 0}})
        CHECK_THROWS_AS(corpus.batch(std::vector<Window>{outside}), ValueError);
}

TEST_CASE("corpus: tokens beyond 65,535 are kept whole") {
    models::Vocabulary vocabulary{.kind = models::TokenizerKind::word, .tokens = {"<unk>", "<pad>", " ", "\n"}};
    for (int i = 0; i < 70000; ++i) vocabulary.tokens.push_back(std::to_string(i));
    const TextCorpus corpus("69999 3", Tokenizer(std::move(vocabulary)), 0, "words");
    CHECK(values(corpus.batch(std::vector<Window>{{0, 2}}).tokens) == Tokens{70003, 2});
}

TEST_CASE("random windows: they follow from seed and draw, and stay within the range") {
    const auto windows = models::random_windows({100, 140}, 8, 500, 3, 7);
    CHECK(windows == models::random_windows({100, 140}, 8, 500, 3, 7));
    CHECK(windows != models::random_windows({100, 140}, 8, 500, 3, 8));
    CHECK(windows != models::random_windows({100, 140}, 8, 500, 4, 7));
    std::set<Index> begins;
    for (const Window& window : windows) {
        CHECK(window.positions == 8);
        begins.insert(window.begin);
    }
    CHECK(begins.size() == 32);
    CHECK(*begins.begin() == 100);
    CHECK(*begins.rbegin() == 131);
}

TEST_CASE("random windows: a range shorter than the context is one window") {
    CHECK(models::random_windows({5, 9}, 64, 2, 1, 0) == std::vector<Window>{{5, 3}, {5, 3}});
    CHECK_THROWS_WITH(models::random_windows({5, 6}, 64, 2, 1, 0),
                      "windows: 2 windows of 64 positions cannot be drawn from 1 tokens");
}

TEST_CASE("windows side by side: every token but the first is predicted once") {
    CHECK(models::side_by_side_windows({10, 20}, 4) == std::vector<Window>{{10, 4}, {14, 4}, {18, 1}});
    CHECK(models::side_by_side_windows({10, 19}, 4) == std::vector<Window>{{10, 4}, {14, 4}});
    CHECK(models::side_by_side_windows({10, 19}, 4, 3) == std::vector<Window>{{13, 4}, {17, 1}});
    CHECK(models::side_by_side_windows({10, 11}, 4).empty());
    CHECK(models::side_by_side_windows({0, 0}, 4).empty());
}

TEST_CASE("built-in prose: at least 60 kB of lines that do not repeat, in printable ASCII") {
    const std::string_view text = models::built_in_text();
    CHECK(text.size() >= 60000);
    CHECK(std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }));
    std::set<std::string_view> lines;
    std::size_t count = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        if (end - begin > 40) {
            ++count;
            lines.insert(text.substr(begin, end - begin));
        }
        begin = end + 1;
    }
    CHECK(count > 100);
    CHECK(lines.size() == count);
}

TEST_CASE("built-in prose: it has more than 1,500 different words") {
    CHECK(Tokenizer::words(models::built_in_text()).vocab() > 1500);
}

}  // namespace test_corpus
