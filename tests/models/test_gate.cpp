#include "../catch.hpp"

#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/models/gate/gate.hpp>
#include <xtape/nn/module.hpp>

#include <cmath>
#include <set>

namespace test_gate {

using namespace xtape;
using models::Gate;
using models::GateBatch;
using models::GateConfig;
using models::GateExample;

namespace {

const GateConfig tiny{.vocab = 11, .dim = 8, .layers = 2, .heads = 2, .ffn = 12, .context = 6, .init = 0.3};

/// Both kinds, all labels of the specification, lengths from 1 to the context.
const std::vector<GateExample> mixed{{.tokens = {3, 1, 4, 1, 5, 9}, .label = -1, .weight = 4},
                                     {.tokens = {2, 6}, .next = 5},
                                     {.tokens = {7}, .label = 1.5, .weight = 2},
                                     {.tokens = {8, 2, 8, 1}, .label = 0},
                                     {.tokens = {0}, .next = 10, .weight = 2},
                                     {.tokens = {4, 5, 9}, .label = 1},
                                     {.tokens = {10, 0, 6}, .label = -0.5, .weight = 2}};

/// A model with no value at 0 or 1.
template <class T> Gate<T> random_gate(std::uint64_t seed) {
    auto gate = nn::build<Gate<T>>(tiny, seed);
    nn::Rng rng(seed);
    nn::for_each_parameter(gate, [&](std::string_view, Parameter<T>& parameter) {
        for (T& value : parameter.write()) value += static_cast<T>(0.2 * rng.normal());
    });
    return gate;
}

double loss_of(const Gate<double>& gate, std::span<const GateExample> examples) {
    return gate.loss(models::pack(examples)).item();
}

/// log(1 + e^s) − y s.
double decision_loss(double s, double y) { return std::max(s, 0.0) + std::log1p(std::exp(-std::abs(s))) - y * s; }

}  // namespace

TEST_CASE("gate: parameters have the names and the number of the specification") {
    const auto gate = nn::build<Gate<float>>(tiny, 1);
    CHECK(nn::count(gate) == models::parameter_count(tiny));
    std::set<std::string> names;
    for (const auto& named : nn::parameters(gate)) names.insert(named.name);
    CHECK(names.size() == 2 + 2 * 16 + 6);
    for (const char* name :
         {"token_embedding", "position_embedding", "layers.1.ln1.weight", "layers.0.attention.wq",
          "layers.1.attention.bo", "layers.0.ffn.w1", "layers.0.ffn.b2", "final_ln.bias", "output.bias", "gate.weight"})
        CHECK(names.contains(name));
}

TEST_CASE("gate: gradients of all parameters, with mixed lengths and targets, are those of finite differences") {
    auto gate = random_gate<double>(1);
    const GateBatch batch = models::pack(mixed);
    std::vector<NamedParameter> parameters;
    for (const auto& [name, parameter] : nn::parameters(gate)) parameters.push_back({name, parameter});
    CHECK(check_parameters([&] { return gate.loss(batch); }, parameters));
}

TEST_CASE("gate: the loss is the weighted sum over both kinds, over their number") {
    const auto gate = random_gate<double>(2);
    const auto logits = gate(models::pack(mixed));
    REQUIRE(logits.next.shape() == Shape{2, 11});
    REQUIRE(logits.allow.shape() == Shape{5});
    double total = 0;
    std::size_t next = 0, decision = 0;
    for (const GateExample& example : mixed) {
        if (example.next) {
            const auto row = logits.next.values().subspan(11 * next++, 11);
            double sum = 0;
            for (const double logit : row) sum += std::exp(logit);
            total += example.weight * (std::log(sum) - row[static_cast<std::size_t>(*example.next)]);
        } else {
            const double target = example.label < 0.5 ? 0 : 1;
            total += example.weight * decision_loss(logits.allow.values()[decision++], target);
        }
    }
    CHECK(loss_of(gate, mixed) == Approx(total / 7).epsilon(1e-13));
}

TEST_CASE("gate: a ragged batch says what each of its examples says alone") {
    const auto gate = random_gate<double>(3);
    double total = 0;
    std::vector<double> alone;
    for (const GateExample& example : mixed) {
        total += loss_of(gate, std::span(&example, 1));
        if (!example.next) alone.push_back(gate.predict(example.tokens));
    }
    CHECK(loss_of(gate, mixed) == Approx(total / 7).epsilon(1e-13));
    const std::vector<double> together = gate.predict(models::pack(mixed));
    REQUIRE(together.size() == alone.size());
    for (std::size_t i = 0; i < alone.size(); ++i) CHECK(together[i] == Approx(alone[i]).epsilon(1e-13));
}

TEST_CASE("gate: a decision is exact and finite at a logit of 0 and beyond 100, and so is its gradient") {
    for (const double bias : {0.0, 150.0, -150.0, 3e4}) {
        for (const double label : {-1.0, 1.5}) {
            auto gate = random_gate<double>(4);
            for (auto& [name, parameter] : nn::parameters(gate)) {
                if (name == "gate.weight") std::ranges::fill(parameter->write(), 0.0);
                if (name == "gate.bias") std::ranges::fill(parameter->write(), bias);
            }
            const GateExample example{.tokens = {1, 2}, .label = label};
            Tape<double> tape;
            const Tensor<double> loss = gate.loss(models::pack(std::span(&example, 1)));
            const double wrong = label < 0 ? bias : -bias;  // how far it is on the wrong side
            CHECK(loss.item() == Approx(decision_loss(wrong, 0)).epsilon(1e-14).margin(1e-60));
            tape.backward(loss);
            const double slope = nn::parameters(gate).back().parameter->grad().values()[0];
            CHECK(std::abs(slope) == Approx(1 / (1 + std::exp(-wrong))).epsilon(1e-14));
            if (slope != 0) CHECK((slope < 0) == (label > 0));
        }
    }
}

TEST_CASE("gate: predicting records nothing on a tape") {
    const auto gate = random_gate<double>(5);
    Tape<double> tape;
    const std::vector<std::int32_t> call{1, 2, 3};
    const double allow = gate.predict(call);
    CHECK((allow > 0 && allow < 1));
    CHECK(tape.records().empty());
}

TEST_CASE("gate: settings and examples that do not fit are refused in one sentence") {
    nn::Rng rng(1);
    CHECK_THROWS_WITH(Gate<float>({.dim = 18, .heads = 4}, rng), "gate: heads must divide dim: heads is 4, dim is 18");
    CHECK_THROWS_WITH(Gate<float>({.layers = 0}, rng), "gate: layers must be from 1 to 4096: it is 0");
    CHECK_THROWS_WITH(Gate<float>({.ln_eps = 0}, rng), "gate: ln_eps must be above 0: it is 0");
    const auto gate = nn::build<Gate<float>>(tiny, 1);
    CHECK_THROWS_WITH(gate.predict(std::vector<std::int32_t>(7)),
                      "gate: an example of 7 tokens is longer than the context of 6");
    CHECK_THROWS_WITH(gate.predict(std::vector<std::int32_t>{}), "gate: example 0 has no tokens");
    CHECK_THROWS_WITH(gate.predict(std::vector<std::int32_t>{11}), Catch::Contains("id 11 at [0] is outside"));
    CHECK_THROWS_WITH(models::pack(std::vector<GateExample>{}), "gate: a batch needs at least one example");
    const GateExample example{.tokens = {1}, .weight = std::nan("")};
    CHECK_THROWS_WITH(models::pack(std::span(&example, 1)),
                      "gate: label and weight must be finite: those of example 0 are 1 and nan");
}

}  // namespace test_gate
