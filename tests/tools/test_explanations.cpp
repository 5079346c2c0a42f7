#include "../catch.hpp"

#include "scratch.hpp"

namespace test_explanations {

namespace {

using xtape::test::Outcome;
using xtape::test::xtape_command;
using xtape::tools::Json;
using xtape::tools::parse_json;

/// What the audit says of a fault, in the last case that differs.
std::string explanation(const std::string& model, const std::string& fault) {
    const Outcome outcome = xtape_command({"audit", model, "--fault", fault, "--json"});
    CHECK(outcome.status == 1);
    const Json report = parse_json(outcome.out);
    std::string text;
    for (const Json& item : report.at("cases"))
        if (item.at("agree") == false) text = item.value("explanation", "");
    return text;
}

}  // namespace

TEST_CASE("audit: the fault behind all wrong gradients is named, with its place", "[slow]") {
    struct Expected {
        std::string model, fault, text;
    };
    for (const auto& [model, fault, text] : {
             Expected{"llama", "llama-norm-factor",
                      "the second term of the norm's vjp lacks a factor 1/r: divided by D r², not D r³ (every "
                      "rms_norm)"},
             Expected{"lrnn", "scan-no-carry",
                      "the carry between chunks of 16 steps is lost in the reverse scan (slot_memory at layers.*, in "
                      "every layer)"},
             Expected{"gate", "gate-final-ln-input",
                      "the vjp is evaluated at the op's output instead of its input (layer_norm with "
                      "final_ln.weight)"},
             Expected{"gate", "gate-ln-order",
                      "the norm's vjp is applied to the residual's gradient, before its sub-layer's, as if the norm "
                      "came last (post-norm) (every norm of a residual)"},
             Expected{"gate", "gate-wo-from-dq",
                      "the weight's gradient is formed with the gradient of the output of linear with "
                      "layers.*.attention.wq in place of the input (linear with layers.*.attention.wo, in every "
                      "layer)"},
             Expected{"microgpt", "microgpt-past-activations",
                      "past keys and values give gradients to their weights but send nothing to the activations that "
                      "they are made of (every causal_attention)"},
             Expected{"microgpt", "overwritten",
                      "overwritten instead of accumulated: of the 3 gradients of the output of 1st rms_norm at "
                      "layers.0 only that through matmul with layers.0.wv is left (in one place)"},
         }) {
        INFO(fault);
        CHECK(explanation(model, fault) == text);
    }
}

TEST_CASE("audit: rows that have no diagnosis of their own get that of the fault, and people read it once") {
    const Outcome outcome = xtape_command({"audit", "microgpt", "--fault", "microgpt-past-kv"});
    CHECK(outcome.status == 1);
    const std::string found = "the gradient to past keys and values is dropped (causal_attention at layers.0)";
    CHECK(outcome.out.find("differs: " + found) != std::string::npos);
    const std::size_t first = outcome.out.find("one fault behind a case: " + found);
    REQUIRE(first != std::string::npos);
    CHECK(outcome.out.find("one fault behind a case: " + found, first + 1) == std::string::npos);
}

}  // namespace test_explanations
