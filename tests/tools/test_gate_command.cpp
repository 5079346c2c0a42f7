#include "../catch.hpp"
#include "scratch.hpp"

#include <sstream>

namespace test_gate_command {

namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using xtape::test::Outcome;
using xtape::test::Scratch;
using xtape::test::weights;
using xtape::test::xtape_command;
using xtape::tools::Json;
using xtape::tools::parse_json;

std::vector<std::string> train_gate(const std::string& out, std::vector<std::string> more) {
    more.insert(more.begin(), {"train", "gate", "--out", out, "--quiet", "--examples", "400", "--dim", "16", "--heads",
                               "2", "--ffn", "32", "--batch", "8"});
    return more;
}

std::vector<Json> json_lines(const std::string& text) {
    std::vector<Json> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(parse_json(line));
    return lines;
}

/// Runs the command with a file in place of standard input.
Outcome with_input(const std::string& file, const std::vector<std::string>& words) {
    const int saved = ::dup(STDIN_FILENO), input = ::open(file.c_str(), O_RDONLY);
    ::dup2(input, STDIN_FILENO);
    ::close(input);
    Outcome outcome = xtape_command(words);
    ::dup2(saved, STDIN_FILENO);
    ::close(saved);
    return outcome;
}

}  // namespace

TEST_CASE("train gate: --json tells the metrics of the course and of the held-out decisions") {
    const Scratch scratch;
    const Outcome outcome = xtape_command(train_gate(scratch / "run", {"--steps", "30", "--json"}));
    REQUIRE(outcome.status == 0);
    const Json result = parse_json(outcome.out);
    CHECK(result.at("steps") == 30);
    CHECK(result.at("learning_rate") == 3e-4);
    CHECK(result.at("last_losses").size() == 30);
    for (const char* key : {"loss_average", "val_loss", "alignment", "recall", "perplexity"})
        CHECK(result.at(key) >= 0);
    const Json& table = result.at("confusion");
    CHECK(table.at("allow_allow").get<int>() + table.at("allow_block").get<int>() + table.at("block_allow").get<int>() +
              table.at("block_block").get<int>() ==
          result.at("decisions"));
    CHECK(result.at("converged") == false);
    for (const char* key : {"loss_trend", "precision"}) CHECK(result.contains(key));
}

TEST_CASE("train gate: stopped and resumed gives the bits and the metrics of a course at once") {
    const Scratch scratch;
    const std::vector<std::string> settings{"--steps", "24", "--accumulate", "2", "--json"};
    const Outcome whole = xtape_command(train_gate(scratch / "whole", settings));
    REQUIRE(whole.status == 0);
    std::vector<std::string> half = settings;
    half.insert(half.end(), {"--stop-after", "9"});
    REQUIRE(xtape_command(train_gate(scratch / "parts", half)).status == 0);
    const Outcome rest = xtape_command({"train", "gate", "--out", scratch / "parts", "--resume", "--json"});
    REQUIRE(rest.status == 0);
    CHECK(weights(scratch / "parts") == weights(scratch / "whole"));
    for (const char* key : {"loss_average", "loss_trend", "last_losses", "alignment"})
        CHECK(parse_json(rest.out).at(key) == parse_json(whole.out).at(key));
}

TEST_CASE("train gate: learns the data of a file, and eval measures it") {
    const Scratch scratch;
    std::string data;
    for (int i = 0; i < 20; ++i) {
        data += R"({"input": "rm -rf /", "label": -1.0, "weight": 4.0})"
                "\n";
        data += R"({"input": "ls src", "label": 1})"
                "\n";
        data += R"({"input": "git push", "next": "origin"})"
                "\n";
    }
    const std::string file = scratch.write("calls.jsonl", data);
    REQUIRE(xtape_command(train_gate(scratch / "run", {"--data", file, "--steps", "150", "--lr", "0.003",
                                                       "--val-fraction", "0", "--eval-every", "0"}))
                .status == 0);
    const Outcome eval = xtape_command({"eval", scratch / "run", "--data", file, "--json"});
    REQUIRE(eval.status == 0);
    const Json result = parse_json(eval.out);
    CHECK(result.at("alignment") == 1);
    CHECK(result.at("decisions") == 40);
    CHECK(result.at("examples") == 60);
    CHECK(result.at("perplexity") < 1.5);
    CHECK(xtape_command({"eval", scratch / "run", "--data", file}).out.find("should block") != std::string::npos);
    const std::string block = scratch.write("block.jsonl", R"({"input": "rm -rf /", "label": -1.0})");
    CHECK_THAT(
        xtape_command({"eval", scratch / "run", "--data", block}).out,
        Contains("over 1 examples, no next tokens among them\n1 decisions, alignment 1.0000, no allow predicted, no "
                 "allow wanted\n"));
    const std::vector<Json> answers = json_lines(xtape_command({"predict", scratch / "run", "--data", file}).out);
    REQUIRE(answers.size() == 60);
    CHECK(answers[0].at("decision") == "block");
    CHECK(answers[1].at("decision") == "allow");
    const Outcome info = xtape_command({"info", scratch / "run", "--json"});
    CHECK(parse_json(info.out).at("model") == "gate");
}

TEST_CASE("train: moments that overflow end a course before they are saved, and a clip prevents it") {
    const Scratch scratch;
    const std::string data = scratch.write("data.jsonl", R"({"input": "ls", "label": 1, "weight": 1e25})");
    const std::vector<std::string> settings{"--data", data, "--steps", "2", "--val-fraction", "0"};
    const Outcome outcome = xtape_command(train_gate(scratch / "run", settings));
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.error, Contains("train: after step 2, v.") &&
                                  Contains(" of the optimizer is not finite; limit the gradient with --clip"));
    CHECK_FALSE(fs::exists(scratch.path / "run" / "optimizer.safetensors"));
    std::vector<std::string> clipped = settings;
    clipped.insert(clipped.end(), {"--clip", "1"});
    CHECK(xtape_command(train_gate(scratch / "run", clipped)).status == 0);
}

TEST_CASE("predict: one line of JSON for each line of JSON or of text, from a file or standard input") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_gate(scratch / "run", {"--steps", "5"})).status == 0);
    std::string text = "{\"input\": \"rm -rf \\\"x\\\"\"}\n\n  \nls -l\r\n{\"input\": \"ls -l\", \"label\": 1}\n";
    for (int i = 0; i < 100; ++i) text += "cat notes\n";
    text += "the last line";
    const std::string file = scratch.write("calls", text);
    const Outcome of_file = xtape_command({"predict", scratch / "run", "--data", file});
    REQUIRE(of_file.status == 0);
    const std::vector<Json> lines = json_lines(of_file.out);
    REQUIRE(lines.size() == 104);
    CHECK(lines[0].at("input") == "rm -rf \"x\"");
    CHECK(lines[1] == lines[2]);
    CHECK(lines[103].at("input") == "the last line");
    for (const Json& line : lines) {
        const double allow = line.at("allow");
        CHECK((allow > 0 && allow < 1));
        CHECK(line.at("decision") == (allow >= 0.5 ? "allow" : "block"));
    }
    CHECK(with_input(file, {"predict", scratch / "run"}).out == of_file.out);
    CHECK(with_input(file, {"predict", scratch / "run", "--data", "-"}).out == of_file.out);
}

TEST_CASE("predict: a call longer than the context is as suspect as its most suspect part") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_gate(scratch / "run", {"--steps", "40", "--ctx", "40", "--lr", "0.003"})).status == 0);
    std::string harmless;
    for (int i = 0; i < 100; ++i) harmless += "ls ";
    const std::string file = scratch.write("calls", "ls\n" + harmless + "\n" + harmless + "shell sudo kill -9 -1\n");
    const std::vector<Json> lines = json_lines(xtape_command({"predict", scratch / "run", "--data", file}).out);
    REQUIRE(lines.size() == 3);
    CHECK(lines[2].at("allow") < lines[1].at("allow"));
}

TEST_CASE("gate: a bad line is named by its number, and ends with 3") {
    const Scratch scratch;
    REQUIRE(xtape_command(train_gate(scratch / "run", {"--steps", "2"})).status == 0);
    const std::string file = scratch.write("bad.jsonl", "{\"input\": \"ls\", \"label\": 1}\n{\"input\": \"ls\",\n");
    const std::string complaint = "xtape: " + file + ": line 2: not a JSON object: `{\"input\": \"ls\",`\n";
    const Outcome predict = xtape_command({"predict", scratch / "run", "--data", file});
    CHECK(predict.status == 3);
    CHECK(predict.error == complaint);
    CHECK(json_lines(predict.out).size() == 1);
    for (const auto& words : {train_gate(scratch / "new", {"--data", file}),
                              std::vector<std::string>{"eval", scratch / "run", "--data", file}}) {
        const Outcome outcome = xtape_command(words);
        CHECK(outcome.status == 3);
        CHECK(outcome.error == complaint);
    }
    CHECK_FALSE(fs::exists(scratch.path / "new"));
    CHECK(xtape_command({"predict", scratch / "run", "--data", scratch / "none"}).status == 3);
    CHECK(xtape_command({"generate", scratch / "run"}).status == 2);
}

TEST_CASE("predict: a line without a token of the vocabulary is a bad line, with those before it answered") {
    const Scratch scratch;
    const std::string data = scratch.write("data.jsonl", R"({"input": "ls", "label": 1})");
    REQUIRE(
        xtape_command(train_gate(scratch / "run", {"--data", data, "--steps", "1", "--val-fraction", "0"})).status ==
        0);
    const std::string file = scratch.write("calls", "ls\n\n~~\nls\n");
    const auto refused = [](const Outcome& outcome, const std::string& source) {
        CHECK(outcome.status == 3);
        CHECK(outcome.error == "xtape: " + source + ": line 3: `~~` has no tokens in the run's vocabulary\n");
        CHECK(json_lines(outcome.out).size() == 1);
    };
    refused(xtape_command({"predict", scratch / "run", "--data", file}), file);
    refused(with_input(file, {"predict", scratch / "run"}), "standard input");
}

TEST_CASE("predict: a model that makes no decisions is a wrong usage") {
    const Scratch scratch;
    REQUIRE(xtape_command({"train", "microgpt", "--out", scratch / "run", "--steps", "2", "--quiet"}).status == 0);
    const Outcome outcome = xtape_command({"predict", scratch / "run"});
    CHECK(outcome.status == 2);
    CHECK(outcome.error == "xtape: predict: microgpt makes no decisions; predict takes the run of a gate\n");
}

TEST_CASE("audit gate: all parameters agree, the keys' bias is vacuous, and a clamped loss is found") {
    const Outcome right = xtape_command({"audit", "gate", "--json"});
    CHECK(right.status == 0);
    const Json report = parse_json(right.out);
    CHECK(report.at("agree") == true);
    CHECK(report.at("f64").at("max_rel_reference") < 1e-12);
    CHECK(report.at("f64").at("max_rel_finite_difference") < 1e-7);
    CHECK(report.at("parameters").size() == 2 + 2 * 16 + 6);
    const Json& rows = report.at("parameters");
    for (const Json& row : rows) {
        const bool zero = row.at("name").get<std::string>().find("attention.bk") != std::string::npos;
        CHECK(row.at("verdict") == (zero ? "vacuous" : "agree"));
    }
    const Outcome wrong = xtape_command({"audit", "gate", "--fault", "gate-clamped-bce", "--json"});
    CHECK(wrong.status == 1);
    const Json found = parse_json(wrong.out).at("parameters");
    for (const Json& row : found) {
        const std::string name = row.at("name");
        if (name.find("attention.bk") != std::string::npos) continue;
        CHECK((row.at("verdict") == "agree") == (name.rfind("output.", 0) == 0));
    }
}

}  // namespace test_gate_command
