#include "../catch.hpp"

#include <xtape/engine/error.hpp>
#include <xtape/models/text/name_corpus.hpp>
#include <xtape/models/text/names.hpp>
#include <xtape/models/text/sampler.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace test_text {

using namespace xtape;
using models::NameTokenizer;
using Tokens = std::vector<std::int32_t>;

TEST_CASE("names: emma is framed, lower-cased, and loses what is not a letter") {
    const NameTokenizer letters = NameTokenizer::letters();
    CHECK(letters.vocab() == 27);
    CHECK(letters.encode("emma") == Tokens{0, 5, 13, 13, 1, 0});
    std::string unknown;
    const auto left_out = [&](std::string_view character) { unknown += character; };
    CHECK(letters.encode("Em-ma2", left_out) == Tokens{0, 5, 13, 13, 1, 0});
    CHECK(unknown == "-2");
    CHECK(letters.decode(Tokens{5, 13, 13, 1, 0, 7}) == "emma");
}

TEST_CASE("names: a tokenizer from a text knows its characters, whatever the alphabet") {
    const NameTokenizer tokenizer = NameTokenizer::from_text("Zoé\r\n\nЮлия\n");
    CHECK(tokenizer.vocab() == 8);
    const Tokens tokens = tokenizer.encode("Юлия");
    CHECK(tokens.size() == 6);
    CHECK(tokenizer.decode(std::span(tokens).subspan(1)) == "Юлия");
    CHECK_THROWS_WITH(tokenizer.encode("Zoë"), "names: `ë` of `Zoë` is not a character of the tokenizer");
    CHECK_THROWS_WITH(NameTokenizer::from_text("ann\na\xff", "list.txt"), "list.txt: line 2: byte 2 is not UTF-8");
    CHECK_THROWS_AS(tokenizer.encode("a\xff"), ValueError);
}

TEST_CASE("names: a tokenizer survives its file, and nothing else does") {
    const NameTokenizer tokenizer = NameTokenizer::from_text("éa");
    CHECK(NameTokenizer::from_json(tokenizer.to_json()).encode("aé") == tokenizer.encode("aé"));
    for (const char* broken : {"", "{", "[]", R"({"type": "bpe"})", R"({"type": "names"})"})
        CHECK_THROWS_AS(NameTokenizer::from_json(broken), FileError);
}

TEST_CASE("names: blank lines are passed over, long names counted, and no name at all is an error") {
    const NameTokenizer letters = NameTokenizer::letters();
    const auto corpus = models::read_names("ann\n\n  \nbartholomew\n123\nbo", letters, 4, "list.txt");
    CHECK(corpus.names.size() == 2);
    CHECK(corpus.too_long == 1);
    CHECK_THROWS_WITH(models::read_names("1\n2\n", letters, 16, "list.txt"),
                      "list.txt: no usable name: one name of 1 to 15 characters a line is wanted");
}

TEST_CASE("names: a context that no name fits is said, not blamed on the names") {
    CHECK_THROWS_WITH(models::read_names("ann\n", NameTokenizer::letters(), 1, "list.txt"),
                      "names: a context of 1 is too small: a name takes a position for its start and one for each "
                      "letter");
    CHECK(models::read_names("a\n", NameTokenizer::letters(), 2, "list.txt").names.size() == 1);
}

TEST_CASE("names: the built-in list has at least 2,000 different names of letters") {
    const auto corpus = models::read_names(models::built_in_names(), NameTokenizer::letters(), 16, "built in");
    CHECK(corpus.names.size() >= 2000);
    CHECK(std::set<Tokens>(corpus.names.begin(), corpus.names.end()).size() == corpus.names.size());
}

TEST_CASE("epoch order: every epoch visits all once, in its own order, reproducibly") {
    models::EpochOrder order(10, 3), again(10, 3);
    std::vector<Index> first, second;
    for (Index k = 0; k < 10; ++k) first.push_back(order[k]);
    for (Index k = 10; k < 20; ++k) second.push_back(order[k]);
    CHECK(first != second);
    CHECK(again[17] == second[7]);
    std::ranges::sort(first);
    std::ranges::sort(second);
    CHECK(first == second);
    CHECK(std::set<Index>(first.begin(), first.end()).size() == 10);
}

TEST_CASE("sampler: temperature 0 and top-k 1 take the likeliest") {
    nn::Rng rng(1);
    const std::vector<float> logits{1, 4, 2, 4};
    for (int i = 0; i < 20; ++i) {
        CHECK(models::sample(logits, {.temperature = 0}, rng) == 1);
        CHECK(models::sample(logits, {.top_k = 1}, rng) == 1);
    }
}

TEST_CASE("sampler: frequencies follow the softmax") {
    nn::Rng rng(1);
    const std::vector<float> logits{0, std::log(3.0f)};
    int ones = 0;
    for (int i = 0; i < 10000; ++i) ones += models::sample(logits, {}, rng);
    CHECK(std::abs(ones - 7500) < 200);
}

TEST_CASE("sampler: top-p keeps the fewest that reach the mass") {
    nn::Rng rng(1);
    const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.2f)};
    for (int i = 0; i < 200; ++i) CHECK(models::sample(logits, {.top_p = 0.7}, rng) < 2);
}

TEST_CASE("sampler: top-p however small keeps the likeliest, top-p 1 and top-k beyond the vocabulary keep all") {
    nn::Rng rng(1);
    const std::vector<float> logits{0, 0.5f, 0.25f};
    std::set<std::int32_t> seen;
    for (int i = 0; i < 300; ++i) {
        CHECK(models::sample(logits, {.top_p = 1e-300}, rng) == 1);
        seen.insert(models::sample(logits, {.top_k = 100}, rng));
    }
    CHECK(seen.size() == 3);
}

TEST_CASE("sampler: top-p is a share of what top-k left") {
    nn::Rng rng(1);
    const std::vector<float> logits{std::log(0.4f), std::log(0.3f), std::log(0.3f)};
    for (int i = 0; i < 200; ++i) CHECK(models::sample(logits, {.top_k = 2, .top_p = 0.55}, rng) == 0);
}

TEST_CASE("sampler: the frequencies within the kept tokens follow the softmax at the temperature") {
    nn::Rng rng(2);
    std::vector<float> logits(1000, -20.0f);  // weighs nothing, and much of it is never sorted
    logits[700] = 0;
    logits[3] = std::log(2.0f);
    logits[999] = std::log(3.0f);
    int drawn[1000] = {};
    for (int i = 0; i < 14000; ++i)
        ++drawn[models::sample(logits, {.temperature = 0.5, .top_k = 50, .top_p = 0.999}, rng)];
    CHECK(std::abs(drawn[700] - 1000) < 150);
    CHECK(std::abs(drawn[3] - 4000) < 250);
    CHECK(std::abs(drawn[999] - 9000) < 300);
}

TEST_CASE("sampler: a seed gives the same tokens again") {
    const std::vector<float> logits{0.1f, 0.7f, 0.2f, 0.5f};
    nn::Rng a(9), b(9);
    for (int i = 0; i < 50; ++i)
        CHECK(models::sample(logits, {.top_p = 0.9}, a) == models::sample(logits, {.top_p = 0.9}, b));
}

TEST_CASE("sampler: extreme logits and temperatures are no trouble") {
    nn::Rng rng(1);
    const float most = std::numeric_limits<float>::max();
    const std::vector<float> logits{-most, most, 0};
    for (const double temperature : {0.0, 1e-300, 1.0, 1e30})
        CHECK(models::sample(logits, {.temperature = temperature, .top_k = 1}, rng) == 1);
    CHECK(models::sample(logits, {.temperature = 1e-300}, rng) == 1);
}

TEST_CASE("sampler: options out of range and broken logits are refused") {
    nn::Rng rng(1);
    const std::vector<float> logits{0, 1};
    CHECK_THROWS_AS(models::sample(logits, {.temperature = -1}, rng), ValueError);
    CHECK_THROWS_AS(models::sample(logits, {.temperature = std::nan("")}, rng), ValueError);
    CHECK_THROWS_AS(models::sample(logits, {.top_p = 0}, rng), ValueError);
    CHECK_THROWS_AS(models::sample({}, {}, rng), ValueError);
    const std::vector<float> broken{0, std::numeric_limits<float>::quiet_NaN()};
    CHECK_THROWS_WITH(models::sample(broken, {}, rng), "sample: the logits are not finite; the model is broken");
}

}  // namespace test_text
