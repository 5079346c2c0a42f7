#include "../catch.hpp"
#include "scratch.hpp"

#include <xtape/bench/peers/lrnn.h>
#include <xtape/models/text/prose_corpus.hpp>

#include <memory>
#include <random>
#include <set>

namespace test_lrnn_command {

namespace {

using xtape::test::Outcome;
using xtape::test::Scratch;
using xtape::test::weights;
using xtape::test::xtape_command;
using xtape::tools::Json;
using xtape::tools::parse_json;

std::string read(const std::string& path) { return xtape::nn::read_file(path); }
Json config(const std::string& run) { return parse_json(read(run + "/config.json")); }

/// A small text and the flags of a small model.
struct Small : Scratch {
    std::string text = write("text.txt", xtape::models::built_in_text().substr(0, 3000));

    std::vector<std::string> train(const std::string& out, std::vector<std::string> more) const {
        more.insert(more.begin(), {"train", "lrnn", "--data", text, "--out", *this / out, "--quiet", "--threads", "1"});
        return more;
    }
    std::string trained(const std::string& out, std::vector<std::string> more) const {
        const Outcome outcome = xtape_command(train(out, std::move(more)));
        CAPTURE(outcome.error);
        REQUIRE(outcome.status == 0);
        return *this / out;
    }
};

const std::vector<std::string> tiny{"--dim", "16", "--ctx", "32", "--heads", "2", "--slots", "2", "--batch", "4"};

std::vector<std::string> tiny_and(std::initializer_list<const char*> more) {
    std::vector<std::string> words = tiny;
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

/// The plain-loop C in training on a text, from drawn values: it knows nothing of xtape.
class PlainC {
public:
    explicit PlainC(const std::string& text) {
        const std::set<unsigned char> distinct(text.begin(), text.end());
        characters_.assign(distinct.begin(), distinct.end());
        for (const char c : text)
            tokens_.push_back(static_cast<int>(std::ranges::lower_bound(characters_, static_cast<unsigned char>(c)) -
                                               characters_.begin()));
        const LrnnConfig config{.vocab = static_cast<int>(characters_.size()),
                                .dim = 12,
                                .layers = 2,
                                .heads = 2,
                                .context = context,
                                .rank = 3,
                                .ffn = 20,
                                .slots = 3};
        std::mt19937 random(1);
        std::normal_distribution<float> normal(0, 0.2f);
        std::vector<std::vector<float>> values;
        std::vector<const float*> pointers;
        for (int i = 0; i < lrnn_tensors(config); ++i) {
            values.emplace_back(lrnn_elements(config, i));
            std::ranges::generate(values.back(), [&] { return normal(random); });
        }
        for (const auto& array : values) pointers.push_back(array.data());
        model_.reset(lrnn_create(config, pointers.data()));
    }

    /// The mean loss of an epoch.
    float epoch() {
        int skipped = 0;
        return lrnn_epoch(model_.get(), tokens_.data(), static_cast<int>(tokens_.size()), 0, 0.01f, &skipped);
    }
    /// The loss on the first window of the text.
    float loss() {
        std::vector<int> targets(tokens_.begin() + 1, tokens_.begin() + context);
        targets.push_back(-1);
        return lrnn_step(model_.get(), tokens_.data(), targets.data(), context, 0);
    }
    bool save(const std::string& path) const { return lrnn_save(model_.get(), characters_.data(), path.c_str()) == 0; }

    static constexpr int context = 32;

private:
    std::vector<unsigned char> characters_;
    std::vector<int> tokens_;
    std::unique_ptr<Lrnn, decltype(&lrnn_destroy)> model_{nullptr, lrnn_destroy};
};

}  // namespace

TEST_CASE("train lrnn: by epochs, each with its loss, perplexity and time") {
    const Small small;
    const Outcome outcome = xtape_command({"train", "lrnn", "--data", small.text, "--out", small / "run", "--dim", "16",
                                           "--epochs", "3", "--save-epochs", "1", "--threads", "1"});
    REQUIRE(outcome.status == 0);
    for (const char* line : {"lrnn: ", "epoch    1   loss ", "epoch    3   loss ", "perplexity", "best"})
        CHECK(outcome.out.find(line) != std::string::npos);
    CHECK(outcome.out.find("epoch    4") == std::string::npos);
}

TEST_CASE("train lrnn: it learns, and --json prints one object") {
    const Small small;
    std::vector<std::string> words =
        small.train("run", tiny_and({"--epochs", "6", "--lr", "0.01", "--val-fraction", "0.1"}));
    words.emplace_back("--json");
    const Outcome outcome = xtape_command(words);
    REQUIRE(outcome.status == 0);
    const Json result = parse_json(outcome.out);
    CHECK(result.at("loss_last_100") < 3.2);
    CHECK(result.at("val_loss") < 3);
}

TEST_CASE("train lrnn: stopped in the midst of an epoch and resumed gives the bits of one course") {
    const Small small;
    const auto settings = tiny_and({"--epochs", "3", "--label-smoothing", "0.1", "--accumulate", "2"});
    const std::string whole = small.trained("whole", settings);
    std::vector<std::string> half = settings;
    half.insert(half.end(), {"--stop-after", "20"});
    const std::string parts = small.trained("parts", half);
    CHECK(weights(parts) != weights(whole));
    small.trained("parts", {"--resume"});
    CHECK(weights(parts) == weights(whole));
    CHECK(read(parts + "/metrics.jsonl") == read(whole + "/metrics.jsonl"));
}

TEST_CASE("train lrnn: sizes follow from the data until one is given") {
    const Small small;
    const auto sizes = [&](const std::vector<std::string>& flags) {
        std::vector<std::string> words = flags;
        words.insert(words.end(), {"--steps", "1", "--overwrite"});
        const Json c = config(small.trained("run", words)).at("config");
        return std::vector<double>{c.at("layers"),  c.at("dim"),        c.at("heads"),
                                   c.at("context"), c.at("decay_rank"), c.at("ffn_multiplier"),
                                   c.at("slots")};
    };
    CHECK(sizes({}) == std::vector<double>{2, 64, 2, 64, 4, 1.5, 2});
    CHECK(sizes({"--layers", "1"}) == std::vector<double>{1, 64, 1, 64, 2, 2, 4});
    CHECK(sizes({"--no-auto-config"}) == std::vector<double>{2, 64, 1, 64, 2, 2, 4});
    CHECK(sizes({"--auto-config", "--slots", "3"}) == std::vector<double>{2, 64, 2, 64, 4, 1.5, 3});
}

TEST_CASE("train lrnn: the tokenizer is char for a short text, word when asked") {
    const Small small;
    const auto type = [&](const std::vector<std::string>& flags) {
        std::vector<std::string> words = tiny_and({"--steps", "1", "--overwrite"});
        words.insert(words.end(), flags.begin(), flags.end());
        return parse_json(read(small.trained("run", words) + "/tokenizer.json")).at("type").get<std::string>();
    };
    CHECK(type({}) == "char");
    CHECK(type({"--tokenizer", "word"}) == "word");
    CHECK(type({"--tokenizer", "auto"}) == "char");
}

TEST_CASE("generate lrnn: the prompt and so many tokens, by the seed") {
    const Small small;
    const std::string run = small.trained("run", tiny_and({"--steps", "5"}));
    const std::vector<std::string> words{"generate", run, "--prompt", "The ", "--tokens", "100"};
    const Outcome outcome = xtape_command(words);
    REQUIRE(outcome.status == 0);
    CHECK(outcome.out.size() == 4 + 100 + 1);
    CHECK(outcome.out.rfind("The ", 0) == 0);
    CHECK(xtape_command(words).out == outcome.out);
}

TEST_CASE("generate lrnn: a saved state goes on where the text ended") {
    const Small small;
    const std::string run = small.trained("run", tiny_and({"--epochs", "3", "--lr", "0.01"}));
    const auto generate = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"generate", run, "--temperature", "0"});
        const Outcome outcome = xtape_command(more);
        CAPTURE(outcome.error);
        REQUIRE(outcome.status == 0);
        return outcome.out.substr(0, outcome.out.size() - 1);
    };
    const std::string whole = generate({"--prompt", "and then", "--tokens", "40"});
    const std::string first = generate({"--prompt", "and then", "--tokens", "25", "--save-state", small / "state"});
    CHECK(first + generate({"--tokens", "15", "--load-state", small / "state"}) == whole);
    CHECK(xtape_command({"generate", run, "--load-state", small / "none"}).status == 3);
    CHECK(xtape_command({"generate", run, "--samples", "2", "--save-state", small / "state"}).status == 2);
    REQUIRE(xtape_command({"train", "microgpt", "--out", small / "names", "--steps", "1", "--quiet"}).status == 0);
    CHECK(xtape_command({"generate", small / "names", "--save-state", small / "state"}).error ==
          "xtape: generate: microgpt keeps no state to load or save\n");
}

TEST_CASE("eval and info lrnn: loss without smoothing, settings and weights") {
    const Small small;
    const std::string plain = small.trained("plain", tiny_and({"--steps", "1", "--lr", "0"}));
    const std::string smooth =
        small.trained("smooth", tiny_and({"--steps", "1", "--lr", "0", "--label-smoothing", "0.2"}));
    const Outcome eval = xtape_command({"eval", plain, "--data", small.text, "--json"});
    REQUIRE(eval.status == 0);
    CHECK(xtape_command({"eval", smooth, "--data", small.text, "--json"}).out == eval.out);
    const Outcome info = xtape_command({"info", plain, "--json"});
    REQUIRE(info.status == 0);
    CHECK(parse_json(info.out).at("config").at("slots") == 2);
    CHECK(parse_json(info.out).at("tensors").size() == 3 + 2 * 24 + 3);
}

TEST_CASE("convert lrnn: a run to a checkpoint and back, and the checkpoint byte for byte") {
    const Small small;
    for (const char* tokenizer : {"char", "word"}) {
        const std::string run =
            small.trained("run", tiny_and({"--steps", "3", "--overwrite", "--tokenizer", tokenizer}));
        const std::string checkpoint = small / tokenizer, back = small / (std::string(tokenizer) + "-run");
        REQUIRE(xtape_command({"convert", run, checkpoint}).status == 0);
        REQUIRE(xtape_command({"convert", checkpoint, back}).status == 0);
        CHECK(read(back + "/tokenizer.json") == read(run + "/tokenizer.json"));
        const auto eval = [&](const std::string& folder) {
            return xtape_command({"eval", folder, "--data", small.text, "--json"}).out;
        };
        CHECK(eval(back) == eval(run));
        CHECK(xtape_command({"info", back}).status == 0);
        CHECK(xtape_command({"generate", back, "--tokens", "5"}).status == 0);
        REQUIRE(xtape_command({"convert", back, checkpoint + "-again"}).status == 0);
        CHECK(read(checkpoint + "-again") == read(checkpoint));
    }
}

TEST_CASE("convert lrnn: the first version stays the first version, and its name does not matter") {
    const Small small;
    const std::string run = small.trained("run", tiny_and({"--steps", "1"}));
    REQUIRE(xtape_command({"convert", run, small / "new.bin"}).status == 0);
    std::string bytes = read(small / "new.bin");
    bytes[6] = '1';
    bytes.erase(40, 4);
    const std::string old = small.write("old.bin", bytes);
    REQUIRE(xtape_command({"convert", old, small / "old"}).status == 0);
    REQUIRE(xtape_command({"convert", small / "old", small / "back.bin"}).status == 0);
    CHECK(read(small / "back.bin") == bytes);
    const std::string cut = small.write("cut.bin", std::string_view(bytes).substr(0, bytes.size() / 2));
    CHECK(xtape_command({"convert", cut, small / "cut"}).status == 3);
    CHECK(xtape_command({"convert", small.text, small / "text"}).status == 2);
}

TEST_CASE("convert lrnn: a checkpoint of the plain-loop C loads, generates and converts back byte for byte") {
    const Small small;
    const std::string text = read(small.text), old = small / "old.bin", run = small / "run";
    PlainC plain(text);
    const float first = plain.epoch();
    CHECK(plain.epoch() < first);
    REQUIRE(plain.save(old));
    REQUIRE(xtape_command({"convert", old, run}).status == 0);
    const std::string window = small.write("window.txt", text.substr(0, PlainC::context));
    const Outcome eval = xtape_command({"eval", run, "--data", window, "--json"});
    REQUIRE(eval.status == 0);
    CHECK(parse_json(eval.out).at("loss").get<double>() == Approx(plain.loss()).epsilon(1e-5));
    const Outcome generated = xtape_command({"generate", run, "--prompt", "The ", "--tokens", "50"});
    REQUIRE(generated.status == 0);
    CHECK(generated.out.size() == 4 + 50 + 1);
    REQUIRE(xtape_command({"convert", run, small / "back.bin"}).status == 0);
    CHECK(read(small / "back.bin") == read(old));
    CHECK_FALSE(plain.save(small / "none/old.bin"));
}

TEST_CASE("audit lrnn: every parameter agrees, and each fault of its own is a failed check", "[slow]") {
    const Outcome right = xtape_command({"audit", "lrnn", "--json"});
    CHECK(right.status == 0);
    const Json report = parse_json(right.out);
    CHECK(report.at("agree") == true);
    CHECK(report.at("f64").at("max_rel_reference") < 1e-12);
    CHECK(report.at("f64").at("max_rel_finite_difference") < 1e-6);
    for (const char* fault :
         {"lrnn-gate-path", "lrnn-smoothed-loss", "lrnn-clamped-scan", "lrnn-eps-softmax", "scan-no-carry"}) {
        INFO(fault);
        CHECK(xtape_command({"audit", "lrnn", "--fault", fault}).status == 1);
    }
    CHECK(xtape_command({"audit", "lrnn", "--fault", "nonsense"}).status == 2);
}

TEST_CASE("wrong sizes and flags of lrnn exit with 2 and one line") {
    const Small small;
    for (const auto& flags : std::vector<std::vector<std::string>>{{"--dim", "18", "--heads", "4"},
                                                                   {"--slots", "0"},
                                                                   {"--ctx", "1"},
                                                                   {"--ffn-multiplier", "-1"},
                                                                   {"--tokenizer", "bpe"},
                                                                   {"--epochs", "0"},
                                                                   {"--label-smoothing", "1"}}) {
        const Outcome outcome = xtape_command(small.train("run", flags));
        CHECK(outcome.status == 2);
        CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
        CHECK_FALSE(std::filesystem::exists(small.path / "run" / "config.json"));
    }
}

}  // namespace test_lrnn_command
