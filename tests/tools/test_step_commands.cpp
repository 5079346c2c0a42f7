#include "../catch.hpp"

#include "scratch.hpp"

#include <xtape/engine/ops.hpp>
#include <xtape/tools/graph.hpp>

#include <set>

namespace test_step_commands {

namespace {

using xtape::test::Outcome;
using xtape::test::xtape_command;
using xtape::tools::Json;
using xtape::tools::parse_json;

/// The sizes that keep a model's step small.
std::vector<std::string> small(const std::string& verb, const std::string& model, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {verb, model, "--batch", "2", "--layers", "1"});
    if (model == "gate") more.insert(more.end(), {"--examples", "50"});
    return more;
}

int count(const std::string& text, const std::string& what) {
    int found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
}

}  // namespace

TEST_CASE("graph: every model's tape as Graphviz text, with scopes as clusters and shapes on the edges") {
    for (const std::string model : {"microgpt", "llama", "lrnn", "gate"}) {
        INFO(model);
        const Outcome outcome = xtape_command(small("graph", model));
        REQUIRE(outcome.status == 0);
        CHECK(outcome.out.rfind("digraph \"" + model + "\" {", 0) == 0);
        CHECK(outcome.out.find("label=\"layers.0\"") != std::string::npos);
        CHECK(outcome.out.find("label=\"layers.1\"") == std::string::npos);
        CHECK(count(outcome.out, "[label=\"matmul") + count(outcome.out, "[label=\"linear") > 4);
        CHECK(count(outcome.out, "{") == count(outcome.out, "}"));
        CHECK(count(outcome.out, " -> ") > 10);
    }
}

TEST_CASE("graph: --json has each record once, whose inputs are leaves or earlier outputs") {
    const Outcome outcome = xtape_command(small("graph", "microgpt", {"--json"}));
    REQUIRE(outcome.status == 0);
    const Json graph = parse_json(outcome.out);
    CHECK(graph.at("model") == "microgpt");
    std::set<int> known;
    std::set<std::string> names;
    for (const Json& leaf : graph.at("leaves")) {
        known.insert(leaf.at("value").get<int>());
        names.insert(leaf.at("name").get<std::string>());
    }
    CHECK(names.count("layers.0.wq") == 1);
    std::size_t kept = 0;
    for (const Json& record : graph.at("records")) {
        for (const int input : record.at("inputs")) CHECK(known.count(input) == 1);
        CHECK(known.insert(record.at("output").get<int>()).second);
        kept += record.at("kept_bytes").get<std::size_t>();
    }
    CHECK(graph.at("records").back().at("op") == "cross_entropy");
    CHECK(graph.at("records").back().at("shape") == Json::array());
    CHECK(graph.at("kept_bytes") == kept);
}

TEST_CASE("graph: nested scopes are nested clusters, and names are quoted") {
    const xtape::tools::Graph graph{
        .records = {{"exp", "layers.0.attention", {0}, 1, {2, 3}, 24}, {"sum", "", {1}, 2, {}, 0}},
        .leaves = {{0, "a \"b\"", {2, 3}}}};
    CHECK(to_dot(graph, "t") ==
          "digraph \"t\" {\n"
          "  label=\"t: 2 records, which keep 24 B for the backward\";\n"
          "  node [shape=box, style=rounded];\n"
          "  r1 [label=\"sum\"];\n"
          "  subgraph cluster_0 {\n"
          "    label=\"layers.0\";\n"
          "    subgraph cluster_1 {\n"
          "      label=\"attention\";\n"
          "      v0 [label=\"a \\\"b\\\"\", shape=ellipse, style=filled, fillcolor=lightyellow];\n"
          "      r0 [label=\"exp\\nkeeps 24 B\"];\n"
          "    }\n"
          "  }\n"
          "  v0 -> r0 [label=\"[2, 3]\"];\n"
          "  r0 -> r1 [label=\"[2, 3]\"];\n"
          "}\n");
}

TEST_CASE("profile: the ops of a step with their time and bytes, as a table and in JSON") {
    const Outcome table = xtape_command(small("profile", "microgpt", {"--steps", "2"}));
    REQUIRE(table.status == 0);
    CHECK(table.out.find("forward and backward of one step, the mean of 2: ") != std::string::npos);
    CHECK(table.out.find("\ncausal_attention ") != std::string::npos);
    const Outcome outcome = xtape_command(small("profile", "lrnn", {"--steps", "2", "--json"}));
    REQUIRE(outcome.status == 0);
    const Json profile = parse_json(outcome.out);
    CHECK(profile.at("model") == "lrnn");
    CHECK(profile.at("tokens") > 0);
    CHECK(profile.at("gflops") > 0);
    double before = 1e9;
    for (const Json& row : profile.at("ops")) {
        const double seconds = row.at("forward_seconds").get<double>() + row.at("backward_seconds").get<double>();
        CHECK(seconds <= before);
        CHECK(row.at("calls") > 0);
        before = seconds;
    }
}

TEST_CASE("graph and profile know no flag of a course, and write no folder") {
    for (const auto& words : std::vector<std::vector<std::string>>{small("graph", "llama", {"--out", "x"}),
                                                                   small("graph", "lrnn", {"--steps", "3"}),
                                                                   small("profile", "gate", {"--lr", "1"}),
                                                                   small("profile", "microgpt", {"--steps", "0"}),
                                                                   {"graph"},
                                                                   {"profile", "nonsense"}}) {
        const Outcome outcome = xtape_command(words);
        CHECK(outcome.status == 2);
        CHECK(outcome.out.empty());
    }
    CHECK(xtape_command({"profile", "llama", "--help"}).out.find("--lr") == std::string::npos);
}

TEST_CASE("profile and graph agree on the bytes kept, though logits become their gradient") {
    const auto kept = [](const std::string& command, const std::vector<std::string>& flags) {
        const Outcome outcome = xtape_command(small(command, "llama", flags));
        REQUIRE(outcome.status == 0);
        return parse_json(outcome.out).at("kept_bytes").get<std::size_t>();
    };
    CHECK(kept("profile", {"--json", "--steps", "1"}) == kept("graph", {"--json"}));
}

}  // namespace test_step_commands
