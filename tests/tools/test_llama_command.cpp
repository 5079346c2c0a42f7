#include "../catch.hpp"
#include "scratch.hpp"

#include <xtape/models/text/prose_corpus.hpp>

#include <set>

namespace test_llama_command {

namespace {

namespace fs = std::filesystem;
using xtape::test::Outcome;
using xtape::test::Scratch;
using xtape::test::weights;
using xtape::test::xtape_command;
using xtape::tools::Json;
using xtape::tools::parse_json;

std::vector<std::string> train_llama(const std::string& out, std::vector<std::string> more) {
    more.insert(more.begin(), {"train", "llama", "--out", out, "--quiet", "--dim", "32", "--layers", "2", "--heads",
                               "4", "--kv-heads", "2", "--ctx", "16", "--batch", "4", "--tokenizer", "char"});
    return more;
}

std::set<std::string> wrong_parameters(const std::string& fault) {
    const Outcome outcome = xtape_command({"audit", "llama", "--fault", fault, "--json"});
    CHECK(outcome.status == 1);
    std::set<std::string> wrong;
    const Json rows = parse_json(outcome.out).at("parameters");
    for (const Json& row : rows) {
        if (row.at("verdict") != "agree" && row.at("verdict") != "vacuous") wrong.insert(row.at("name"));
    }
    return wrong;
}

}  // namespace

TEST_CASE("train llama: it learns the built-in text, and resumes bit for bit") {
    const Scratch scratch;
    const std::vector<std::string> settings{"--steps",        "40",   "--warmup",     "5",
                                            "--val-fraction", "0.05", "--eval-every", "10"};
    const Outcome whole = xtape_command([&] {
        std::vector<std::string> words = train_llama(scratch / "whole", settings);
        words.emplace_back("--json");
        return words;
    }());
    REQUIRE(whole.status == 0);
    CHECK(parse_json(whole.out).at("val_loss") < 3.3);
    CHECK(fs::exists(scratch.path / "whole" / "best.safetensors"));
    std::vector<std::string> half = settings;
    half.insert(half.end(), {"--stop-after", "20"});
    REQUIRE(xtape_command(train_llama(scratch / "parts", half)).status == 0);
    REQUIRE(xtape_command({"train", "llama", "--out", scratch / "parts", "--resume", "--quiet"}).status == 0);
    CHECK(weights(scratch / "parts") == weights(scratch / "whole"));
}

TEST_CASE("generate llama: beyond the context, with the prompt, by seed") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_llama(scratch / "run", {"--steps", "5"})).status == 0);
    const std::vector<std::string> words{"generate", scratch / "run", "--tokens", "40", "--prompt", "The "};
    const Outcome outcome = xtape_command(words);
    CHECK(outcome.status == 0);
    CHECK(outcome.out.size() == 4 + 40 + 1);
    CHECK(outcome.out.rfind("The ", 0) == 0);
    CHECK(xtape_command(words).out == outcome.out);
}

TEST_CASE("generate llama: a prompt longer than the context is said to be read in part, once") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_llama(scratch / "run", {"--steps", "1"})).status == 0);
    const auto note = [&](const std::string& prompt) {
        const Outcome outcome =
            xtape_command({"generate", scratch / "run", "--tokens", "3", "--samples", "2", "--prompt", prompt});
        CHECK(outcome.status == 0);
        CHECK(outcome.out.rfind(prompt, 0) == 0);
        return outcome.error;
    };
    CHECK(note("a prompt as long").empty());
    CHECK(note("a prompt too long") ==
          "xtape: generate: the prompt has 17 tokens, more than the model's context of 16; only its last half context "
          "is read\n");
}

TEST_CASE("convert llama: to llama2.c and back") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_llama(scratch / "run", {"--steps", "5"})).status == 0);
    const std::string text = scratch.write("text.txt", xtape::models::built_in_text().substr(0, 2000));
    REQUIRE(xtape_command({"train", "llama", "--out", scratch / "bytes", "--quiet", "--steps", "3", "--dim", "32",
                           "--layers", "1", "--ctx", "16", "--tokenizer", "bpe", "--vocab", "300"})
                .status == 0);
    REQUIRE(xtape_command({"convert", scratch / "bytes", scratch / "model.bin"}).status == 0);
    REQUIRE(xtape_command({"convert", scratch / "model.bin", scratch / "back"}).status == 0);
    const auto eval = [&](const std::string& run) {
        return xtape_command({"eval", scratch / run, "--data", text, "--json"}).out;
    };
    CHECK(eval("back") == eval("bytes"));
    CHECK(xtape_command({"convert", scratch / "bytes", scratch / "back"}).status == 2);
    const Outcome taken = xtape_command({"convert", scratch / "run", scratch / "other.bin"});
    CHECK(taken.status == 2);
    CHECK_THAT(taken.error,
               Catch::Matchers::EndsWith("tokenizer.bin holds another model's tokens; name another folder\n"));
    CHECK_FALSE(fs::exists(scratch / "other.bin"));
    CHECK(xtape_command({"convert", scratch / "missing", scratch / "new"}).status == 3);
    CHECK(xtape_command({"convert", text, scratch / "new"}).status == 2);
}

TEST_CASE("train llama: what cannot be is refused in one line") {
    const Scratch scratch;
    const std::string empty = scratch.write("empty.txt", "");
    const auto refused = [&](int status, std::vector<std::string> more) {
        const Outcome outcome = xtape_command(train_llama(scratch / "run", std::move(more)));
        CHECK(outcome.status == status);
        CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
    };
    refused(2, {"--kv-heads", "3"});
    refused(2, {"--precision", "f16"});
    refused(2, {"--rope", "sideways"});
    refused(3, {"--data", empty});
    refused(3, {"--data", scratch / "missing"});
    refused(3, {"--data", scratch.path.string()});
    CHECK_FALSE(fs::exists(scratch.path / "run" / "config.json"));
}

TEST_CASE("audit llama: a fault is reported at exactly its parameters") {
    const std::set<std::string> norms{"layers.0.attention_norm", "layers.0.ffn_norm", "layers.1.attention_norm",
                                      "layers.1.ffn_norm", "final_norm"};
    CHECK(wrong_parameters("llama-frozen-norms") == norms);
    CHECK(wrong_parameters("transposed-weight") == std::set<std::string>{"layers.0.wo"});
    CHECK(wrong_parameters("llama-norm-factor").size() == 19);
}

}  // namespace test_llama_command
