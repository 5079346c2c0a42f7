#include <xtape/tests/reference/gate.hpp>
#include <xtape/tests/reference/llama.hpp>
#include <xtape/tests/reference/lrnn.hpp>
#include <xtape/tests/reference/microgpt.hpp>
#include <xtape/tests/reference/optimizers.hpp>
#include <xtape/tools/gate_audit.hpp>
#include <xtape/tools/llama_audit.hpp>
#include <xtape/tools/lrnn_audit.hpp>
#include <xtape/tools/microgpt_audit.hpp>

#include "../catch.hpp"

#include "scratch.hpp"

#include <algorithm>

namespace test_audit_faults {

namespace {

using namespace xtape::tools;
using xtape::reference::FaultInfo;
using xtape::test::Outcome;
using xtape::test::xtape_command;

using Names = std::vector<std::string>;

struct Model {
    AuditReport (*audit)(const AuditRequest&);
    std::span<const FaultInfo> faults;
};

std::vector<Model> all_models() {
    using namespace xtape::reference;
    return {{audit_microgpt, microgpt_faults()},
            {audit_llama, llama_faults()},
            {audit_lrnn, lrnn_faults()},
            {audit_gate, gate_faults()}};
}

Json audited(const Model& model, std::string_view fault) {
    const AuditReport report = model.audit({.fault = std::string(fault), .quick = true});
    CHECK_FALSE(report.agree);
    return report.json;
}

bool is_reported(const Json& row) { return row.at("verdict") == "differs" || row.at("verdict") == "never written"; }

/// The diagnoses of the reported parameters, each once.
Names diagnoses(const Json& report) {
    Names all;
    for (const Json& row : report.at("parameters"))
        if (is_reported(row) && std::ranges::count(all, row.at("diagnosis").get<std::string>()) == 0)
            all.push_back(row.at("diagnosis"));
    return all;
}

Names reported(const Json& report, std::string_view diagnosis) {
    Names names;
    for (const Json& row : report.at("parameters"))
        if (is_reported(row) && row.at("diagnosis") == diagnosis) names.push_back(row.at("name"));
    return names;
}

/// The number of cases whose forward differs.
long different_forwards(const Json& report) {
    return std::ranges::count_if(report.at("cases"),
                                 [](const Json& item) { return item.at("forward").at("verdict") == "differs"; });
}

Names training_notes(const Json& report) {
    Names notes;
    for (const Json& item : report.at("cases"))
        if (item.contains("training"))
            for (const Json& note : item.at("training").at("notes")) notes.push_back(note);
    return notes;
}

}  // namespace

TEST_CASE("audit: in every case a fault makes exactly the parameters reported that it makes wrong, and is named",
          "[slow]") {
    for (const Model& model : all_models())
        for (const FaultInfo& fault : model.faults) {
            const Json report = audited(model, fault.id);
            INFO(report.at("model") << ", " << fault.id);
            CHECK(report.at("fault").at("exact") == true);
            CHECK(std::ranges::any_of(report.at("parameters"), is_reported));
            const auto cases = static_cast<long>(report.at("cases").size());
            const long bare = report.at("model") == "microgpt" ? 10 : 0;  // cases that have no norm
            if (fault.id == "forward-no-norm") CHECK(different_forwards(report) == cases - bare);
            if (fault.id == "lrnn-eps-softmax") CHECK(different_forwards(report) == cases);
            if (fault.id == "transposed-weight") CHECK(diagnoses(report) == Names{"transposed"});
            if (fault.id == "mean-factor") {
                CHECK(diagnoses(report).size() == 1);
                CHECK_THAT(diagnoses(report).at(0), Catch::Matchers::EndsWith(": (S-1)/S"));
            }
            if (fault.id == "llama-frozen-norms")
                CHECK(reported(report, "never written") == Names{"layers.0.attention_norm", "layers.0.ffn_norm",
                                                                 "layers.1.attention_norm", "layers.1.ffn_norm",
                                                                 "final_norm"});
            if (fault.id == "gate-dropped-qkv-input")
                CHECK(reported(report, "never written") ==
                      Names{"layers.0.ln1.weight", "layers.0.ln1.bias", "layers.1.ln1.weight", "layers.1.ln1.bias"});
        }
}

TEST_CASE("audit: faults of the optimizer show in training, at its first step, and in no gradient") {
    for (const Model& model : {all_models()[0], all_models()[3]})
        for (const auto& [fault, stage] : {std::pair{"clip-squared-norm", "clipped gradient"},
                                           {"decay-in-gradient", "optimizer state"},
                                           {"no-bias-correction", "parameter"}}) {
            const Json report = audited(model, fault);
            INFO(report.at("model") << ", " << fault);
            CHECK_FALSE(std::ranges::any_of(report.at("parameters"), is_reported));
            const Names notes = training_notes(report);
            CHECK_FALSE(notes.empty());
            for (const std::string& note : notes)
                CHECK_THAT(note, Catch::Matchers::StartsWith(std::string("first departs at step 1: ") + stage) &&
                                     Catch::Matchers::Contains("loss, gradient"));
        }
}

TEST_CASE("audit: projections that start at zero leave parameters unproved, which fails") {
    const Json report = audited(all_models()[1], "zero-init");
    CHECK(report.at("unproved") == Json{"layers.0.attention_norm", "layers.0.wq", "layers.0.wk", "layers.0.wv",
                                        "layers.0.ffn_norm", "layers.0.w1", "layers.0.w3", "layers.1.attention_norm",
                                        "layers.1.wq", "layers.1.wk", "layers.1.wv", "layers.1.ffn_norm", "layers.1.w1",
                                        "layers.1.w3"});
    CHECK_FALSE(std::ranges::any_of(report.at("parameters"), is_reported));
}

TEST_CASE("audit: ten random configurations of each model raise no alarm") {
    const Outcome outcome = xtape_command({"audit", "all", "--random", "10", "--seed", "3", "--json"});
    CHECK(outcome.status == 0);
    const Json report = parse_json(outcome.out);
    for (const Json& model : report.at("models"))
        for (const Json& item : model.at("cases")) {
            INFO(model.at("model") << ": " << item.at("settings"));
            CHECK(item.at("agree") == true);
        }
}

TEST_CASE("audit: the command names a fault of the optimizer, and knows which there are") {
    const Outcome wrong = xtape_command({"audit", "microgpt", "--quick", "--fault", "clip-squared-norm"});
    CHECK(wrong.status == 1);
    CHECK_THAT(wrong.out, Catch::Matchers::Contains("1/norm: clipped by the squared norm") &&
                              Catch::Matchers::Contains("the gradients agree, the rest does not"));
    CHECK(xtape_command({"audit", "microgpt", "--fault", "clip-typo"}).error ==
          "xtape: microgpt: unknown fault 'clip-typo'; known are microgpt-no-norm, microgpt-past-kv, "
          "microgpt-past-activations, overwritten, mean-factor, transposed-weight, double-count, forward-no-norm; in "
          "training clip-squared-norm, decay-in-gradient, no-bias-correction; in the inputs zero-init\n");
}

}  // namespace test_audit_faults
