#include "../catch.hpp"

#include <xtape/models/gate/data.hpp>
#include <xtape/models/gate/metrics.hpp>
#include <xtape/models/gate/tool_call_kinds.hpp>
#include <xtape/models/gate/tool_calls.hpp>

#include <cmath>
#include <map>
#include <set>

namespace test_gate_data {

using namespace xtape;
using models::Confusion;
using models::GateExample;
using models::GateLine;
using models::LossHistory;

TEST_CASE("gate data: labels and weights are as given, and a missing weight is 1") {
    const auto lines = models::read_gate_lines(R"({"input": "rm -rf /", "label": -1.0, "weight": 6}

{"input": "ls", "label": 1.5, "time": 12}
{"input": "git push", "next": "origin", "weight": 2}
)",
                                               "calls");
    REQUIRE(lines.size() == 3);
    CHECK((lines[0].input == "rm -rf /" && !lines[0].next && lines[0].label == -1 && lines[0].weight == 6));
    CHECK((lines[1].label == 1.5 && lines[1].weight == 1));
    CHECK((lines[2].next == "origin" && lines[2].weight == 2));
    for (const double label : {-1.0, -0.5, 0.0}) CHECK_FALSE(models::allows(label));
    for (const double label : {1.0, 1.5}) CHECK(models::allows(label));
}

TEST_CASE("gate data: a line that is written is read as it was") {
    for (const GateLine& line : models::tool_calls({.count = 200})) {
        const GateLine again = models::parse_gate_line(models::to_json(line), "line");
        CHECK((again.input == line.input && again.next == line.next && again.weight == line.weight));
        if (!line.next) CHECK(again.label == line.label);
    }
}

TEST_CASE("gate data: a bad line is refused by its number") {
    const auto refused = [](const std::string& line, const std::string& why) {
        const std::string text = "{\"input\": \"ls\", \"label\": 1}\n\n" + line + "\n";
        CHECK_THROWS_WITH(models::read_gate_lines(text, "calls.jsonl"), "calls.jsonl: line 3: " + why);
    };
    refused(R"({"input": "ls", )", R"(not a JSON object: `{"input": "ls", `)");
    refused("[1]", "not a JSON object: `[1]`");
    refused(R"({"label": 1})", "no input");
    refused(R"({"input": "", "label": 1})", "input must be a text that is not empty");
    refused(R"({"input": 7, "label": 1})", "input must be a text that is not empty");
    refused(R"({"input": "ls"})", "a line has a label or a next token, one of the two");
    refused(R"({"input": "ls", "label": 1, "next": "x"})", "a line has a label or a next token, one of the two");
    refused(R"({"input": "ls", "label": "allow"})", "label must be a number");
    refused(R"({"input": "ls", "label": 2})",
            "a label is from -1 (false positive) to 1.5 (override to allow): it is 2");
    refused(R"({"input": "ls", "label": 1, "weight": 0})", "a weight is above 0 and finite: it is 0");
    refused(R"({"input": "ls", "next": ""})", "next must be a text that is not empty");
    CHECK_THROWS_WITH(models::read_gate_lines("\n \n", "calls.jsonl"),
                      "calls.jsonl: no lines: one JSON object a line is wanted");
}

TEST_CASE("gate data: a call of more tokens than the context is left out whole, and counted") {
    const std::vector<GateLine> lines{{.input = "abc"}, {.input = "abcd"}, {.input = "ab", .next = "cd"}};
    const auto all = models::encode(lines, models::Tokenizer::bytes(), 3, "lines");
    REQUIRE(all.examples.size() == 2);
    CHECK(all.too_long == 1);
    CHECK(all.examples[1].next == 'c');
}

TEST_CASE("gate data: a text is learned or held out, with all that is said of it") {
    const auto lines = models::tool_calls({.count = 3000});
    auto all = models::encode(lines, models::Tokenizer::bytes(), 200, "lines").examples;
    const std::size_t total = all.size();
    const auto parts = models::split(std::move(all), 0.2, 1);
    CHECK(parts.training.size() + parts.held_out.size() == total);
    CHECK(static_cast<double>(parts.held_out.size()) == Approx(0.2 * static_cast<double>(total)).epsilon(0.2));
    std::set<std::vector<std::int32_t>> learned;
    for (const GateExample& example : parts.training) learned.insert(example.tokens);
    for (const GateExample& example : parts.held_out) CHECK_FALSE(learned.contains(example.tokens));
}

TEST_CASE("tool calls: the same seed makes the same calls, another one others") {
    const auto texts = [](std::uint64_t seed) {
        std::string all;
        for (const GateLine& line : models::tool_calls({.count = 100, .seed = seed})) all += models::to_json(line);
        return all;
    };
    CHECK(texts(3) == texts(3));
    CHECK(texts(3) != texts(4));
}

TEST_CASE("tool calls: at least 20 kinds with a rule each, both verdicts often, and next tokens") {
    CHECK(models::tool_call_kinds().size() >= 20);
    for (const auto& kind : models::tool_call_kinds()) CHECK_FALSE(kind.blocked_when.empty());
    const auto lines = models::tool_calls({.count = 4000, .false_positive_weight = 8});
    std::map<double, Index> labels;
    Index next_tokens = 0;
    for (const GateLine& line : lines) {
        CHECK(line.input.find('{') == std::string::npos);
        if (line.next)
            ++next_tokens;
        else
            ++labels[line.label];
        if (!line.next && line.label == -1) CHECK(line.weight == 8);
    }
    CHECK(next_tokens == Approx(800).epsilon(0.2));
    for (const double label : {-1.0, -0.5, 0.0, 1.0, 1.5}) CHECK(labels[label] > 50);
    const double blocked = static_cast<double>(labels[-1] + labels[-0.5] + labels[0]);
    CHECK(blocked == Approx(1600).epsilon(0.2));
}

TEST_CASE("metrics: the average of the loss begins at the first loss, and moves by a hundredth") {
    LossHistory history;
    CHECK(std::isnan(history.average()));
    history.add(3);
    CHECK(history.average() == 3);
    history.add(1);
    CHECK(history.average() == Approx(0.99 * 3 + 0.01));
    for (int i = 0; i < 200; ++i) history.add(i);
    CHECK(history.steps() == 202);
    CHECK((history.last().size() == 100 && history.last().back() == 199 && history.last().front() == 100));
}

TEST_CASE("metrics: the trend is the mean of the last 10 losses minus that of the 10 before") {
    LossHistory history;
    for (int i = 0; i < 19; ++i) history.add(i);
    CHECK(history.trend() == 0);
    history.add(19);
    CHECK(history.trend() == Approx(10));
    for (int i = 0; i < 20; ++i) history.add(5);
    CHECK(history.trend() == 0);
}

TEST_CASE("metrics: a course that is restored goes on as it was") {
    LossHistory whole, first;
    for (int i = 0; i < 150; ++i) (i < 120 ? first : whole).add(std::sin(i));
    whole = first;
    LossHistory again(first.steps(), first.average(), first.last());
    for (LossHistory* history : {&whole, &again}) history->add(0.25);
    CHECK((again.average() == whole.average() && again.last() == whole.last() && again.steps() == whole.steps()));
    CHECK_THROWS_AS(LossHistory(200, 1, std::deque<double>(101)), ValueError);
}

TEST_CASE("metrics: precision and recall are those of allow, and convergence needs a thousand decisions") {
    Confusion table;
    CHECK((std::isnan(table.alignment()) && std::isnan(table.precision()) && std::isnan(table.recall())));
    CHECK_FALSE(table.converged());
    for (int i = 0; i < 6; ++i) table.add(true, true);
    for (int i = 0; i < 2; ++i) table.add(true, false);
    for (int i = 0; i < 4; ++i) table.add(false, true);
    for (int i = 0; i < 8; ++i) table.add(false, false);
    CHECK(table.decisions() == 20);
    CHECK(table.alignment() == Approx(0.7));
    CHECK(table.precision() == Approx(0.75));
    CHECK(table.recall() == Approx(0.6));
    CHECK_FALSE(Confusion{.allow_allow = 999}.converged());
    CHECK(Confusion{.allow_allow = 950, .allow_block = 50}.converged());
    CHECK_FALSE(Confusion{.allow_allow = 949, .allow_block = 51}.converged());
}

}  // namespace test_gate_data
