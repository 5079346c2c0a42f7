#include "../catch.hpp"

#include "scratch.hpp"

#include <array>
#include <cstring>
#include <limits>

namespace test_command {

namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using xtape::test::Outcome;
using xtape::test::Scratch;
using xtape::test::train_microgpt;
using xtape::test::weights;
using xtape::test::xtape_command;
using xtape::tools::Json;
using xtape::tools::parse_json;

}  // namespace

TEST_CASE("train: --json prints one object, and the run folder holds its seven files") {
    const Scratch scratch;
    const Outcome outcome = xtape_command({"train", "microgpt", "--out", scratch / "run", "--steps", "30", "--json",
                                           "--val-fraction", "0.1", "--eval-every", "10"});
    REQUIRE(outcome.status == 0);
    const Json result = parse_json(outcome.out);
    CHECK(result.at("steps") == 30);
    CHECK(result.at("loss_last_100").get<double>() < 3.5);
    CHECK(result.at("val_loss").get<double>() < 3.5);
    for (const char* key : {"seconds", "us_per_step", "tokens_per_second", "peak_bytes"}) CHECK(result.at(key) > 0);
    for (const char* name : {"config.json", "tokenizer.json", "model.safetensors", "optimizer.safetensors",
                             "trainer.json", "metrics.jsonl", "loss.svg"})
        CHECK(fs::exists(scratch.path / "run" / name));
}

TEST_CASE("train: the same seed gives the same bits, on one thread or two") {
    const Scratch scratch;
    const auto run = [&](const std::string& name, const std::string& threads) {
        REQUIRE(xtape_command(train_microgpt(scratch / name, {"--steps", "60", "--threads", threads})).status == 0);
        return weights(scratch / name);
    };
    const std::string first = run("a", "1");
    CHECK(run("b", "1") == first);
    CHECK(run("c", "2") == first);
}

TEST_CASE("train: stopped after 15 of 30 steps and resumed gives the bits of 30 at once") {
    const Scratch scratch;
    const std::vector<std::string> settings{"--steps", "30", "--batch", "3", "--accumulate", "2", "--clip", "1"};
    REQUIRE(xtape_command(train_microgpt(scratch / "whole", settings)).status == 0);
    std::vector<std::string> half = settings;
    half.insert(half.end(), {"--stop-after", "15"});
    REQUIRE(xtape_command(train_microgpt(scratch / "parts", half)).status == 0);
    CHECK(weights(scratch / "parts") != weights(scratch / "whole"));
    REQUIRE(xtape_command(train_microgpt(scratch / "parts", {"--resume"})).status == 0);
    CHECK(weights(scratch / "parts") == weights(scratch / "whole"));
    CHECK(xtape::nn::read_file(scratch / "parts/metrics.jsonl") ==
          xtape::nn::read_file(scratch / "whole/metrics.jsonl"));
}

TEST_CASE("generate: samples follow the seed, and keep the prompt") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_microgpt(scratch / "run", {"--steps", "30"})).status == 0);
    const Outcome one = xtape_command({"generate", scratch / "run", "--samples", "4", "--prompt", "an"});
    REQUIRE(one.status == 0);
    CHECK(std::count(one.out.begin(), one.out.end(), '\n') == 4);
    CHECK(one.out.rfind("an", 0) == 0);
    CHECK(xtape_command({"generate", scratch / "run", "--samples", "4", "--prompt", "an"}).out == one.out);
    CHECK(xtape_command({"generate", scratch / "run", "--samples", "4", "--seed", "2"}).out != one.out);
    CHECK(xtape_command({"generate", scratch / "run", "--prompt", "averyveryverylongname"}).status == 2);
}

TEST_CASE("eval and info: a trained run tells its loss and its settings") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_microgpt(scratch / "run", {"--steps", "30"})).status == 0);
    const std::string names = scratch.write("names.txt", "ann\nbob\n");
    const Outcome eval = xtape_command({"eval", scratch / "run", "--data", names, "--json"});
    REQUIRE(eval.status == 0);
    CHECK(parse_json(eval.out).at("perplexity") > 1);
    const Outcome info = xtape_command({"info", scratch / "run", "--json"});
    REQUIRE(info.status == 0);
    CHECK(parse_json(info.out).at("parameters") == 4192);
    CHECK(parse_json(info.out).at("steps") == "30");
}

TEST_CASE("a folder that holds a run is refused without --resume or --overwrite") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_microgpt(scratch / "run", {"--steps", "5"})).status == 0);
    const Outcome again = xtape_command(train_microgpt(scratch / "run", {"--steps", "5"}));
    CHECK(again.status == 2);
    CHECK(again.error.find("holds a run; say --resume") != std::string::npos);
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--steps", "5", "--overwrite"})).status == 0);
    const Outcome other = xtape_command(train_microgpt(scratch / "run", {"--resume", "--dim", "32"}));
    CHECK(other.status == 2);
    CHECK_THAT(other.error, Contains("holds another run: dim was 16, now it is 32; ffn was 64, now it is 128"));
    Json config = parse_json(xtape::nn::read_file(scratch / "run/config.json")), turned = Json::object();
    for (auto item = config["config"].rbegin(); item != config["config"].rend(); ++item) turned[item.key()] = *item;
    turned["spare"] = 1;
    config["config"] = turned;
    xtape::nn::atomic_write(scratch / "run/config.json", xtape::nn::print_json(config));
    const Outcome spare = xtape_command(train_microgpt(scratch / "run", {"--resume"}));
    CHECK(spare.status == 2);
    CHECK_THAT(spare.error, EndsWith("holds another run: spare was 1, now it is null\n"));
    const Outcome llama = xtape_command({"train", "llama", "--resume", "--out", scratch / "run"});
    CHECK(llama.status == 2);
    CHECK_THAT(llama.error, Contains("holds a run of microgpt, not of llama"));
}

TEST_CASE("a run that stopped before its first checkpoint is begun anew") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_microgpt(scratch / "run", {"--steps", "5"})).status == 0);
    fs::rename(scratch.path / "run" / "model.safetensors", scratch.path / "run" / "best.safetensors");
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--steps", "5"})).status == 2);
    fs::remove(scratch.path / "run" / "best.safetensors");
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--steps", "5"})).status == 2);  // --resume could go on
    fs::remove(scratch.path / "run" / "optimizer.safetensors");
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--steps", "5"})).status == 0);
}

TEST_CASE("a course that went astray exits with 1, and the last good checkpoint stays") {
    const Scratch scratch;
    const std::string run = scratch / "run";
    REQUIRE(xtape_command(train_microgpt(run, {"--steps", "5"})).status == 0);
    const std::string model = weights(run), course = xtape::nn::read_file(run + "/optimizer.safetensors");
    const Outcome astray =
        xtape_command(train_microgpt(run, {"--resume", "--steps", "9", "--lr", "1e39", "--save-every", "1"}));
    CHECK(astray.status == 1);
    CHECK_THAT(astray.error, Contains("train: after step 6, wte is not finite; take a lower --lr"));
    CHECK(weights(run) == model);
    CHECK(xtape::nn::read_file(run + "/optimizer.safetensors") == course);
    CHECK(xtape_command(train_microgpt(run, {"--resume", "--steps", "9", "--lr", "0.01"})).status == 0);
}

TEST_CASE("--resume of a finished course writes what a kill between its files has left out") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_microgpt(scratch / "run", {"--steps", "5"})).status == 0);
    const std::string model = weights(scratch / "run");
    fs::remove(scratch / "run/model.safetensors");
    fs::remove(scratch / "run/metrics.jsonl");
    const Outcome resumed = xtape_command(train_microgpt(scratch / "run", {"--resume"}));
    CHECK(resumed.status == 0);
    CHECK(weights(scratch / "run") == model);
    CHECK(fs::exists(scratch / "run/metrics.jsonl"));
}

TEST_CASE("--overwrite removes what kills have left of files half-written") {
    const Scratch scratch;
    const std::string run = scratch / "run", rest = run + "/.model.safetensors.123-4.tmp", mine = run + "/.mine.tmp";
    REQUIRE(xtape_command(train_microgpt(run, {"--steps", "1"})).status == 0);
    for (const std::string& file : {rest, mine}) xtape::nn::atomic_write(file, "x");
    REQUIRE(xtape_command(train_microgpt(run, {"--steps", "1", "--overwrite"})).status == 0);
    CHECK_FALSE(fs::exists(rest));
    CHECK(fs::exists(mine));
}

TEST_CASE("train microgpt: --weight-decay is decoupled: a step takes lr times decay of each weight") {
    const Scratch scratch;
    const auto wout = [&](const std::string& decay) {
        REQUIRE(
            xtape_command(train_microgpt(scratch / decay, {"--steps", "1", "--lr", "0.01", "--weight-decay", decay}))
                .status == 0);
        const std::string bytes = weights(scratch / decay);
        std::array<float, 16 * 27> last;  // of the file
        std::memcpy(last.data(), bytes.data() + bytes.size() - sizeof last, sizeof last);
        return last;
    };
    const auto none = wout("0"), half = wout("50"), all = wout("100");  // w - s, w / 2 - s, -s
    for (std::size_t i = 0; i < none.size(); ++i) CHECK(none[i] + all[i] == Approx(2 * half[i]).margin(1e-6));
}

TEST_CASE("train: a file whose name is not UTF-8") {
    const Scratch scratch;
    const std::string names = scratch.write("b\xff", "ann\nbob\n");
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--steps", "1", "--data", names})).status == 0);
}

TEST_CASE("train: files that a run would replace, and that are of no run of ours, stay") {
    const Scratch scratch;
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
        const fs::path folder = scratch.path / fs::path(name).stem();
        fs::create_directory(folder);
        xtape::nn::atomic_write(folder / name, "// mine");
        CHECK(xtape_command(train_microgpt(folder.string(), {"--steps", "1"})).status == 2);
        CHECK(xtape::nn::read_file(folder / name) == "// mine");
        CHECK(xtape_command(train_microgpt(folder.string(), {"--steps", "1", "--overwrite"})).status == 0);
    }
}

TEST_CASE("a flag that is one of some names says which, and never the numbers behind them") {
    CHECK_THAT(xtape_command({"train", "llama", "--help"}).out, Contains("--rope TEXT:{interleaved,half_split}="));
    const Outcome outcome = xtape_command({"train", "llama", "--rope", "sideways"});
    CHECK(outcome.status == 2);
    CHECK_THAT(outcome.error, Contains("--rope: sideways not in {interleaved,half_split}"));
}

TEST_CASE("wrong usage exits with 2 and one line") {
    const Scratch scratch;
    for (const auto& words :
         std::vector<std::vector<std::string>>{{},
                                               {"train"},
                                               {"train", "nonsense"},
                                               {"audit", "microgpt", "--fault", "nonsense"},
                                               {"generate"},
                                               train_microgpt(scratch / "run", {"--nonsense"}),
                                               train_microgpt(scratch / "run", {"--steps", "0"}),
                                               train_microgpt(scratch / "run", {"--dim", "18"}),
                                               train_microgpt(scratch / "run", {"--norm", "batch"}),
                                               train_microgpt(scratch / "run", {"--resume", "--overwrite"}),
                                               {"generate", scratch / "run", "--top-p", "0"},
                                               {"train", "llama", "--out", scratch / "run", "--vocab", "300"},
                                               {"train", "llama", "--out", scratch / "run", "--rope-theta", "inf"}}) {
        const Outcome outcome = xtape_command(words);
        CHECK(outcome.status == 2);
        CHECK(outcome.out.empty());
        CHECK(outcome.error.rfind("xtape: ", 0) == 0);
        CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
    }
    CHECK_FALSE(fs::exists(scratch.path / "run" / "config.json"));
}

TEST_CASE("train: a model that this machine has no memory for is refused before anything is made") {
    const Scratch scratch;
    for (const std::string model : {"microgpt", "llama", "lrnn", "gate"}) {
        std::vector<std::string> words{"train", model, "--out", (scratch.path / model).string()};
        for (const char* more : {"--dim", "65536", "--layers", "4096", "--heads", "1"}) words.emplace_back(more);
        const Outcome outcome = xtape_command(words);
        CAPTURE(model);
        CHECK(outcome.status == 2);
        CHECK_THAT(outcome.error, Contains(" GiB, there are "));
        CHECK(outcome.error.rfind("xtape: " + model + ": ", 0) == 0);
        CHECK_FALSE(fs::exists(scratch.path / model));
    }
}

TEST_CASE("a mistyped flag: the nearest is named, several in their order, and values are no flags") {
    CHECK(xtape_command({"train", "microgpt", "--stepz", "5", "--bathc=3", "--xyzzy"}).error ==
          "xtape: train: microgpt: there is no flag --stepz; did you mean --steps? there is no flag --bathc; did you "
          "mean --batch? there is no flag --xyzzy\n");
    CHECK(xtape_command({"info", "a", "b", "c"}).error == "xtape: info: too many words: nothing takes b c\n");
    CHECK_THAT(xtape_command({"--json", "info", "a"}).error, Contains("--json belongs behind the name of the command"));
}

TEST_CASE("a prompt with a character that the vocabulary does not hold is refused, and the character named") {
    const Scratch scratch;
    const std::string text = scratch.write("text.txt", "one two three, one two three");
    const std::vector<std::string> small{"--data", text, "--steps", "1", "--ctx", "32", "--dim", "16", "--quiet"};
    const auto refused = [&](const std::string& model, const std::string& prompt) {
        std::vector<std::string> words{"train", model, "--out", scratch / model};
        words.insert(words.end(), small.begin(), small.end());
        REQUIRE(xtape_command(words).status == 0);
        const Outcome outcome = xtape_command({"generate", scratch / model, "--prompt", prompt});
        CHECK(outcome.status == 2);
        CHECK(outcome.out.empty());
        return outcome.error;
    };
    CHECK_THAT(refused("llama", "one €"),
               Contains("`€` of the prompt is not in the run's vocabulary of 9 char tokens"));
    CHECK_THAT(refused("lrnn", "Zone"), Contains("`Z` of the prompt"));
    CHECK_THAT(refused("microgpt", "on9"), Contains("`9` of `on9` is not a character of the tokenizer"));
}

TEST_CASE("a corpus with bytes that the vocabulary does not hold is counted in one line, in eval and in resume") {
    const Scratch scratch;
    const std::string other = scratch.write("other.txt", "one two\nTHREE é");
    for (const std::string model : {"llama", "lrnn", "gate"}) {
        const bool gate = model == "gate";
        const std::string lines = gate ? R"({"input": "one two", "label": 1})" : "one two one two one two";
        const std::string odd = gate ? scratch.write("odd", R"({"input": "one THREE é", "label": 1})") : other;
        REQUIRE(
            xtape_command({"train", model, "--data", scratch.write("text", lines), "--out", scratch / model, "--steps",
                           "1", "--dim", "16", "--ctx", "16", "--tokenizer", "char", "--quiet", "--val-fraction", "0"})
                .status == 0);
        for (const auto& words : std::vector<std::vector<std::string>>{
                 {"eval", scratch / model, "--data", odd},
                 {"train", model, "--resume", "--out", scratch / model, "--data", odd, "--steps", "2", "--quiet"}}) {
            const Outcome outcome = xtape_command(words);
            CHECK(outcome.status == 0);
            CHECK_THAT(outcome.error, Contains("bytes are not in the run's vocabulary of"));
            CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
        }
    }
}

TEST_CASE("names with characters that the vocabulary does not hold are counted") {
    const Scratch scratch;
    const std::string names = scratch.write("names.txt", "Zoë\nann-marie\n");
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--data", names, "--steps", "2"})).error ==
          "xtape: " + names + ": 2 characters are not in the vocabulary of 27 tokens, and are left out\n");
    CHECK_THAT(xtape_command({"eval", scratch / "run", "--data", names}).error, Contains("2 characters"));
}

TEST_CASE("eval microgpt: names too long for the context are counted") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_microgpt(scratch / "run", {"--ctx", "6", "--steps", "2"})).status == 0);
    const std::string names = scratch.write("names.txt", "ann\nbartholomew\nbo\n");
    const std::vector<std::string> eval{"eval", scratch / "run", "--data", names};
    CHECK_THAT(xtape_command(eval).out, EndsWith(", over 2 names (1 too long, left out)\n"));
    std::vector<std::string> in_json = eval;
    in_json.emplace_back("--json");
    const Json result = parse_json(xtape_command(in_json).out);
    CHECK(result.at("names") == 2);
    CHECK(result.at("too_long") == 1);
}

TEST_CASE("--resume: flags of another tokenizer are refused, and names outlive the numbers behind them") {
    const Scratch scratch;
    const std::vector<std::string> llama{"train",   "llama",    "--out",       scratch / "run", "--dim",
                                         "16",      "--layers", "1",           "--ctx",         "8",
                                         "--steps", "2",        "--precision", "bf16",          "--quiet"};
    REQUIRE(xtape_command(llama).status == 0);
    const Json config = parse_json(xtape::nn::read_file(scratch / "run/config.json"));
    CHECK(config.at("flags").at("precision") == "bf16");
    const auto resume = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"train", "llama", "--resume", "--out", scratch / "run", "--quiet"});
        return xtape_command(more);
    };
    const Outcome other = resume({"--tokenizer", "bpe", "--vocab", "300"});
    CHECK(other.status == 2);
    CHECK_THAT(other.error, EndsWith("holds another run: tokenizer was char, now it is bpe; vocab was 1024, now it is "
                                     "300\n"));
    CHECK(resume({"--tokenizer", "char", "--steps", "3"}).status == 0);
    const Outcome past = resume({});
    CHECK(past.status == 0);
    CHECK_THAT(past.error, Contains("has done 3 steps already"));
}

TEST_CASE("weights or a loss that are not finite: a bad file, named") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_microgpt(scratch / "run", {"--steps", "1"})).status == 0);
    std::string bytes = weights(scratch / "run");
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(bytes.data() + bytes.size() - sizeof nan, &nan, sizeof nan);
    xtape::nn::atomic_write(scratch / "run/model.safetensors", bytes);
    const std::string names = scratch.write("names.txt", "ann\n");
    for (const auto& words : std::vector<std::vector<std::string>>{{"eval", scratch / "run", "--data", names},
                                                                   {"generate", scratch / "run"}}) {
        const Outcome outcome = xtape_command(words);
        CHECK(outcome.status == 3);
        CHECK(outcome.out.empty());
        CHECK_THAT(outcome.error, Contains("model.safetensors: wout is NaN at [15, 26]"));
    }
}

TEST_CASE("bad and missing files exit with 3 and one line, and leave nothing half-written") {
    const Scratch scratch;
    const std::string empty = scratch.write("empty.txt", ""), digits = scratch.write("digits.txt", "1\n2\n");
    const std::string file = scratch.write("file", "x");
    for (const auto& words :
         std::vector<std::vector<std::string>>{train_microgpt(scratch / "run", {"--data", scratch / "missing.txt"}),
                                               train_microgpt(scratch / "run", {"--data", scratch.path.string()}),
                                               train_microgpt(scratch / "run", {"--data", empty}),
                                               train_microgpt(scratch / "run", {"--data", digits}),
                                               train_microgpt(scratch / "run", {"--resume"}),
                                               train_microgpt(file, {}),
                                               {"generate", scratch / "missing"},
                                               {"generate", file},
                                               {"info", scratch.path.string()},
                                               {"eval", scratch / "missing", "--data", empty}}) {
        const Outcome outcome = xtape_command(words);
        CHECK(outcome.status == 3);
        CHECK(outcome.out.empty());
        CHECK(outcome.error.rfind("xtape: ", 0) == 0);
        CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
    }
    CHECK_FALSE(fs::exists(scratch.path / "run" / "config.json"));
}

TEST_CASE("a broken run folder exits with 3, whichever file is broken") {
    const Scratch scratch;
    const std::string run = scratch / "run";
    const std::string names = scratch.write("names.txt", "ann\n");
    const auto refused = [&](const std::string& name, std::string_view text) {
        REQUIRE(xtape_command(train_microgpt(run, {"--steps", "5", "--overwrite"})).status == 0);
        xtape::nn::atomic_write(run + "/" + name, text);
        const Outcome outcome = xtape_command({"eval", run, "--data", names});
        CHECK(outcome.status == 3);
        CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
    };
    REQUIRE(xtape_command(train_microgpt(run, {"--steps", "5"})).status == 0);
    const std::string whole = weights(run);
    std::string flipped = whole;
    flipped[9] = static_cast<char>(flipped[9] ^ 0x10);
    for (const char* config : {"", "{", "[]", R"({"model": "nonsense"})", R"({"model": "microgpt"})",
                               R"({"model": "microgpt", "config": {"vocab": "many"}})"})
        refused("config.json", config);
    refused("tokenizer.json", "{}");
    refused("model.safetensors", "");
    refused("model.safetensors", std::string_view(whole).substr(0, whole.size() / 2));
    refused("model.safetensors", flipped);
    refused("model.safetensors", whole + "more");
    REQUIRE(xtape_command(train_microgpt(scratch / "wide", {"--steps", "5", "--dim", "32"})).status == 0);
    refused("model.safetensors", weights(scratch / "wide"));
}

TEST_CASE("a broken config.json or tokenizer.json: one sentence with its path, in nobody else's words") {
    const Scratch scratch;
    const std::string run = scratch / "run", names = scratch.write("names.txt", "ann\n");
    REQUIRE(xtape_command(train_microgpt(run, {"--steps", "1"})).status == 0);
    const auto error_of = [&](const std::string& name, const std::string& text) {
        const std::string whole = xtape::nn::read_file(run + "/" + name);
        xtape::nn::atomic_write(run + "/" + name, text);
        const Outcome outcome = xtape_command({"eval", run, "--data", names});
        xtape::nn::atomic_write(run + "/" + name, whole);
        CHECK(outcome.status == 3);
        const std::string begin = "xtape: " + run + "/" + name + ": ";
        CHECK(outcome.error.rfind(begin, 0) == 0);
        return outcome.error.substr(std::min(outcome.error.size(), begin.size()));
    };
    const auto config = [](const std::string& name, const std::string& value) {
        return R"({"model": "microgpt", "config": {"vocab": 27, "dim": 16, "heads": 4, "ffn": 64, "block": 16,
                   "layers": 1, "init": 0.1, "norm": "full", "act": "relu", ")" +
               name + "\": " + value + "}}";
    };
    CHECK(error_of("config.json", "") == "it is empty, and should be JSON\n");
    CHECK(error_of("config.json", "{\n") == "the JSON is cut off: it ends too early, in line 2\n");
    CHECK(error_of("config.json", "{\n \"model\": oops}") == "line 2 is not JSON, from column 11 on\n");
    CHECK(error_of("config.json", "[]") == "it is not a JSON object\n");
    CHECK(error_of("config.json", R"({"model": "microgpt"})") == "there is no config\n");
    CHECK(error_of("config.json", config("vocab", "\"many\"")) ==
          "vocab is \"many\", and should be a whole number in "
          "range\n");
    CHECK(error_of("config.json", config("norm", "\"odd\"")) == "odd is none of none, attention, full\n");
    CHECK(error_of("tokenizer.json", "{}") == "there is no type\n");
    CHECK(error_of("tokenizer.json", R"({"type": "names", "letters_only": 1})") ==
          "letters_only is 1, and should be true or false\n");
}

TEST_CASE("convert: a folder that holds a run is refused in its own words") {
    const Scratch scratch;
    const std::string run = scratch / "run";
    REQUIRE(xtape_command({"train", "llama", "--out", run, "--dim", "16", "--layers", "1", "--ctx", "8", "--steps", "1",
                           "--quiet"})
                .status == 0);
    REQUIRE(xtape_command({"convert", run, scratch / "model.bin"}).status == 0);
    const Outcome outcome = xtape_command({"convert", scratch / "model.bin", run});
    CHECK(outcome.status == 2);
    CHECK(outcome.error == "xtape: convert: " + run + " holds a run already; name another folder\n");
}

TEST_CASE("what cannot be written, or gone on with, is said") {
    const Scratch scratch;
    REQUIRE(xtape_command({"train", "microgpt", "--out", scratch / "run", "--steps", "1", "--quiet"}).status == 0);
    CHECK_THAT(xtape_command({"generate", scratch / "run", "--best"}).error, Contains("there is no best.safetensors"));
    fs::remove(scratch / "run/optimizer.safetensors");
    const Outcome resumed = xtape_command(train_microgpt(scratch / "run", {"--resume"}));
    CHECK(resumed.status == 3);
    CHECK_THAT(resumed.error, Contains("no optimizer.safetensors, so there is no course to go on with"));
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--data", ""})).error == "xtape: --data: it is empty\n");
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--dim", "1.5"})).error ==
          "xtape: --dim = 1.5 is not a value that it takes\n");
    CHECK(xtape_command(train_microgpt(scratch / "run", {"--steps", "99999999999999999999"})).status == 2);
}

TEST_CASE("generate --help tells the defaults") {
    const std::string help = xtape_command({"generate", "--help"}).out;
    for (const char* text : {"=0.8; of microgpt 0.5", "=256; of microgpt its positions", "=all", "--seed UINT=1"})
        CHECK_THAT(help, Contains(text));
}

TEST_CASE("audit: all parameters agree, and a fault is a failed check") {
    const Outcome right = xtape_command({"audit", "microgpt", "--json"});
    CHECK(right.status == 0);
    const Json report = parse_json(right.out);
    CHECK(report.at("agree") == true);
    CHECK(report.at("cases").size() == 30);
    CHECK(report.at("f64").at("max_rel_reference") < 1e-12);
    CHECK(report.at("f64").at("max_rel_finite_difference") < 1e-7);
    const Outcome wrong = xtape_command({"audit", "all", "--fault", "transposed-weight", "--json"});
    CHECK(wrong.status == 1);
    int differing = 0;
    const Json models = parse_json(wrong.out).at("models");
    for (const Json& model : models) {
        for (const Json& row : model.at("parameters")) {
            if (row.at("verdict") != "differs") continue;
            ++differing;
            CHECK(row.at("name").get<std::string>().rfind("layers.0.", 0) == 0);
            CHECK(row.at("diagnosis") == "transposed");
        }
    }
    CHECK(differing == static_cast<int>(models.size()));
}

TEST_CASE("--help exits with 0") {
    CHECK(xtape_command({"--help"}).status == 0);
    CHECK(xtape_command({"train", "microgpt", "--help"}).out.find("--steps") != std::string::npos);
}

TEST_CASE("the command names the models and subcommands that there are") {
    const std::string models = "; there are microgpt, lrnn, llama, gate\n";
    for (const char* verb : {"train", "graph", "profile"}) {
        const Outcome outcome = xtape_command({verb, "nonsense"});
        CHECK(outcome.status == 2);
        CHECK(outcome.error == std::string("xtape: ") + verb + ": there is no nonsense" + models);
        CHECK(xtape_command({verb}).error == std::string("xtape: ") + verb + ": a name is missing" + models);
    }
    CHECK(xtape_command({"nonsense"}).error.find("xtape: there is no nonsense; there are train, generate") == 0);
    CHECK(xtape_command({"audit"}).error == "xtape: audit: MODEL is required\n");
}

TEST_CASE("flags of numbers say what they take, and take no NaN") {
    CHECK(xtape_command({"audit", "microgpt", "--random", "0"}).error ==
          "xtape: --random: 0 is not a number above 0, to 1e15\n");
    CHECK(xtape_command({"profile", "microgpt", "--steps", "x"}).error ==
          "xtape: --steps: x is not a number above 0, to 1e15\n");
    CHECK(xtape_command({"train", "microgpt", "--init", "-1"}).error ==
          "xtape: --init: -1 is not a number of 0 or more\n");
    CHECK(xtape_command({"train", "microgpt", "--lr", "nan"}).status == 2);
    CHECK_THAT(xtape_command({"train", "microgpt", "--seed", "-1"}).error,
               Contains("--seed: -1 is not a whole number"));
}

}  // namespace test_command
