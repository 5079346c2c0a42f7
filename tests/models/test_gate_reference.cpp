#include <xtape/tests/reference/gate.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#include "../catch.hpp"
#include "directional.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace test_gate_reference {

using namespace xtape::reference;
using namespace xtape::test;

namespace {

GateConfig small(int layers, int heads = 2) {
    return {.vocab = 9, .dim = 8, .layers = layers, .heads = heads, .ffn = 12, .context = 6};
}

/// Five examples of both kinds, of lengths 6 (the whole context), 1, 4, 2 and 3.
GateBatch mixed_batch() {
    constexpr auto next = GateKind::next_token, decision = GateKind::decision;
    return {.tokens = {1, 5, 3, 8, 0, 2, 7, 4, 6, 6, 3, 0, 1, 8, 2, 5},
            .offsets = {0, 6, 7, 11, 13, 16},
            .examples = {{.kind = decision, .label = 1.5, .weight = 2},
                         {.kind = next, .next = 4},
                         {.kind = decision, .label = -1, .weight = 4},
                         {.kind = next, .next = 8, .weight = 0.5},
                         {.kind = decision, .label = 0.5}}};
}

/// Norm weights near 1, matrices N(0, 1/in), everything else N(0, 0.5²).
template <class T = double> Arrays<T> random_parameters(const GateConfig& config) {
    std::mt19937_64 random(7);
    std::normal_distribution<double> normal;
    Arrays<T> parameters = gate_parameters<T>(config);
    for (NamedArray<T>& array : parameters) {
        const bool norm_weight = array.shape.size() == 1 && array.name.ends_with(".weight");
        const bool matrix = array.shape.size() == 2 && !array.name.ends_with("embedding");
        const double deviation = matrix ? 1 / std::sqrt(double(array.shape[1])) : 0.5;
        for (T& value : array.values) value = T(deviation * normal(random) + (norm_weight ? 1 : 0));
    }
    return parameters;
}

/// Softmax ignores a shift of all keys: the true gradient is zero.
bool is_vacuous(std::string_view name) { return name.ends_with("attention.bk"); }

double largest_value(const auto& values) {
    double largest = 0;
    for (const auto value : values) largest = std::max(largest, std::abs(double(value)));
    return largest;
}

/// Checks that exactly the gradients that `fault` names differ from the right ones.
void check_wrong(const GateConfig& config, const Arrays<double>& parameters, std::string_view fault) {
    const GateRun<double> right = gate_run(config, parameters, mixed_batch());
    const GateRun<double> run = gate_run(config, parameters, mixed_batch(), fault);
    const std::vector<std::string> wrong = gate_wrong_gradients(config, fault);
    const std::vector<std::string> unwritten = gate_unwritten_gradients(config, fault);
    CHECK(run.logits == right.logits);
    CHECK(run.allow_logits == right.allow_logits);
    CHECK((run.loss == right.loss) == (fault != "gate-clamped-bce"));
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const std::string& name = parameters[i].name;
        const Values &faulty = run.gradients[i].values, &truth = right.gradients[i].values;
        INFO(fault << ": " << config.layers << " layers, " << name);
        if (std::ranges::count(wrong, name) == 1)
            CHECK(relative_error(faulty, truth) > 1e-3);
        else if (is_vacuous(name))
            CHECK(largest_value(faulty) < 1e-14);
        else
            CHECK(faulty == truth);
        CHECK((largest_value(faulty) == 0) == (std::ranges::count(unwritten, name) == 1));
    }
}

}  // namespace

TEST_CASE("gate reference: parameters are those of the specification") {
    const Arrays<float> parameters = gate_parameters<float>(small(2));
    REQUIRE(parameters.size() == 2 + 2 * 16 + 6);
    const auto shape = [&](const char* name) {
        const auto found = std::ranges::find(parameters, name, &NamedArray<float>::name);
        REQUIRE(found != parameters.end());
        return found->shape;
    };
    CHECK(parameters.front().name == "token_embedding");
    CHECK(parameters.back().name == "gate.bias");
    CHECK(shape("token_embedding") == std::vector{9, 8});
    CHECK(shape("position_embedding") == std::vector{6, 8});
    CHECK(shape("layers.0.attention.wq") == std::vector{8, 8});
    CHECK(shape("layers.1.ffn.w1") == std::vector{12, 8});
    CHECK(shape("layers.1.ffn.w2") == std::vector{8, 12});
    CHECK(shape("layers.1.ffn.b1") == std::vector{12});
    CHECK(shape("final_ln.bias") == std::vector{8});
    CHECK(shape("output.weight") == std::vector{9, 8});
    CHECK(shape("gate.weight") == std::vector{1, 8});
    CHECK(shape("gate.bias") == std::vector{1});
}

TEST_CASE("gate reference: equal logits cost ln V for a token and ln 2 for a decision, weighted and divided by all") {
    const GateConfig config = small(2);
    Arrays<double> parameters = random_parameters(config);
    for (NamedArray<double>& array : parameters)
        if (array.name.starts_with("output") || array.name.starts_with("gate")) std::ranges::fill(array.values, 0.0);
    const double expected = (1.5 * std::log(9.0) + (2 + 4 + 1) * std::log(2.0)) / 5;
    CHECK(gate_run(config, parameters, mixed_batch()).loss == Approx(expected));
}

TEST_CASE("gate reference: every gradient agrees with central differences to 1e-7, that of bk is zero") {
    for (const GateConfig& config : {small(2, 1), small(2, 4), small(3, 2)}) {
        const Arrays<double> parameters = random_parameters(config);
        const GateRun<double> run = gate_run(config, parameters, mixed_batch());
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            INFO(config.layers << " layers, " << config.heads << " heads, " << parameters[i].name);
            if (is_vacuous(parameters[i].name)) {
                CHECK(largest_value(run.gradients[i].values) < 1e-14);
                continue;
            }
            check_directions(parameters[i].values, run.gradients[i].values, [&](const Values& moved) {
                Arrays<double> all = parameters;
                all[i].values = moved;
                return gate_run(config, all, mixed_batch()).loss;
            });
        }
    }
}

TEST_CASE("gate reference: a batch is the mean of its examples") {
    const GateConfig config = small(2);
    const Arrays<double> parameters = random_parameters(config);
    const GateBatch batch = mixed_batch();
    const GateRun<double> whole = gate_run(config, parameters, batch);
    double loss = 0;
    Arrays<double> gradients = gate_parameters<double>(config);
    for (std::size_t i = 0; i < batch.examples.size(); ++i) {
        const int begin = batch.offsets[i], end = batch.offsets[i + 1];
        const GateRun<double> run = gate_run(config, parameters,
                                             {.tokens = {batch.tokens.begin() + begin, batch.tokens.begin() + end},
                                              .offsets = {0, end - begin},
                                              .examples = {batch.examples[i]}});
        loss += run.loss / 5;
        for (std::size_t p = 0; p < gradients.size(); ++p)
            for (std::size_t j = 0; j < gradients[p].values.size(); ++j)
                gradients[p].values[j] += run.gradients[p].values[j] / 5;
    }
    CHECK(whole.loss == Approx(loss).epsilon(1e-13));
    for (std::size_t p = 0; p < gradients.size(); ++p)
        if (!is_vacuous(gradients[p].name))
            CHECK(relative_error(whole.gradients[p].values, gradients[p].values) < 1e-12);
}

TEST_CASE("gate reference: labels beyond 0 and 1 count as block and allow") {
    const GateConfig config = small(2);
    const Arrays<double> parameters = random_parameters(config);
    GateBatch clamped = mixed_batch();
    clamped.examples[0].label = 1;
    clamped.examples[2].label = 0;
    CHECK(gate_run(config, parameters, clamped).loss == gate_run(config, parameters, mixed_batch()).loss);
}

TEST_CASE("gate reference: f32 stays within 2e-5 of f64") {
    for (const GateConfig& config : {small(2, 4), small(3)}) {
        const auto single = gate_run(config, random_parameters<float>(config), mixed_batch());
        const auto exact = gate_run(config, random_parameters<double>(config), mixed_batch());
        CHECK(single.loss == Approx(exact.loss).epsilon(1e-5));
        for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
            INFO(config.layers << " layers, " << exact.gradients[i].name);
            if (!is_vacuous(exact.gradients[i].name))
                CHECK(relative_error(single.gradients[i].values, exact.gradients[i].values) < 2e-5);
        }
    }
}

TEST_CASE("gate reference: a fault makes exactly the gradients wrong that it names, and no loss") {
    for (const GateConfig& config : {small(1), small(2, 1), small(2, 2), small(3, 2)}) {
        const Arrays<double> parameters = random_parameters(config);
        for (const FaultInfo& fault : gate_faults())
            if (fault.id != "gate-clamped-bce" && fault.id != "forward-no-norm")
                check_wrong(config, parameters, fault.id);
    }
}

TEST_CASE("gate reference: without norms in both passes, the gradients are right for another function") {
    const GateConfig config = small(2);
    const Arrays<double> parameters = random_parameters(config);
    const GateRun<double> run = gate_run(config, parameters, mixed_batch(), "forward-no-norm");
    CHECK(relative_error(run.logits, gate_run(config, parameters, mixed_batch()).logits) > 1e-2);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        INFO(parameters[i].name);
        if (is_vacuous(parameters[i].name)) continue;
        if (parameters[i].name.find("ln1") != std::string::npos) {
            CHECK(largest_value(run.gradients[i].values) == 0);
            continue;
        }
        check_directions(parameters[i].values, run.gradients[i].values, [&](const Values& moved) {
            Arrays<double> all = parameters;
            all[i].values = moved;
            return gate_run(config, all, mixed_batch(), "forward-no-norm").loss;
        });
    }
}

TEST_CASE("gate reference: a clamped sigmoid shows once a confident mistake is in the batch, and in the loss") {
    for (const GateConfig& config : {small(2), small(3)}) {
        Arrays<double> parameters = random_parameters(config);
        const Arrays<double> right = gate_run(config, parameters, mixed_batch()).gradients;
        const Arrays<double> run = gate_run(config, parameters, mixed_batch(), "gate-clamped-bce").gradients;
        for (std::size_t i = 0; i < right.size(); ++i)
            if (!is_vacuous(right[i].name)) CHECK(relative_error(run[i].values, right[i].values) < 1e-9);
        for (const double shift : {-16.0, 16.0}) {
            const GateBatch one{.tokens = {1, 2, 3}, .offsets = {0, 3}, .examples = {{.label = shift < 0 ? 1.0 : 0.0}}};
            parameters.back().values = {shift * 1.5};
            CHECK(largest_value(gate_run(config, parameters, one).gradients.back().values) == Approx(1));
            const GateRun<double> clamped = gate_run(config, parameters, one, "gate-clamped-bce");
            CHECK(clamped.loss == Approx(-std::log(1e-7)).epsilon(1e-6));
            CHECK(largest_value(clamped.gradients.back().values) == 0);
        }
    }
}

TEST_CASE("gate reference: the wrong gradients of a clamped sigmoid are all but those of the next token's head") {
    for (const GateConfig& config : {small(2), small(3)}) {
        Arrays<double> parameters = random_parameters(config);
        const double allow = gate_run(config, parameters, mixed_batch()).allow_logits[1];
        auto& gate = parameters[parameters.size() - 2].values;
        for (double& value : gate) value *= 20 / std::abs(allow);
        parameters.back().values[0] = 20;  // the false positive is allowed with confidence, the others may be
        check_wrong(config, parameters, "gate-clamped-bce");
    }
}

TEST_CASE("gate reference: the wrong gradients of two layers are those of the catalogue of faults") {
    const GateConfig config = small(2);
    const auto expected = [&](auto&& chosen) {
        std::vector<std::string> names;
        for (const NamedArray<float>& array : gate_parameters<float>(config))
            if (chosen(std::string_view(array.name)) && !is_vacuous(array.name)) names.push_back(array.name);
        return names;
    };
    const auto is_head = [](std::string_view name) { return name.starts_with("output") || name.starts_with("gate"); };
    const auto is_below = [&](std::string_view name) {
        return !is_head(name) && !name.starts_with("final_ln") && !name.starts_with("layers.1");
    };
    const auto in_last = [](std::string_view name, auto... starts) {
        return (name.starts_with(std::string("layers.1.") + starts) || ...);
    };
    CHECK(gate_wrong_gradients(config, "").empty());
    CHECK(gate_wrong_gradients(config, "gate-final-ln-input") ==
          expected([&](auto name) { return !is_head(name) && name != "final_ln.bias"; }));
    CHECK(gate_wrong_gradients(config, "gate-ln-order") ==
          expected([&](auto name) { return !is_head(name) && !name.starts_with("final_ln"); }));
    CHECK(gate_wrong_gradients(config, "gate-skip-wo") == expected([&](auto name) {
              return is_below(name) || in_last(name, "ln1", "attention.wq", "attention.bq", "attention.wk",
                                               "attention.wv", "attention.bv");
          }));
    CHECK(gate_wrong_gradients(config, "gate-wo-from-dq") ==
          expected([](auto name) { return name.ends_with("attention.wo"); }));
    CHECK(gate_wrong_gradients(config, "gate-dropped-qkv-input") ==
          expected([&](auto name) { return is_below(name) || in_last(name, "ln1"); }));
    CHECK(gate_unwritten_gradients(config, "gate-dropped-qkv-input") ==
          std::vector<std::string>{"layers.0.ln1.weight", "layers.0.ln1.bias", "layers.1.ln1.weight",
                                   "layers.1.ln1.bias"});
    CHECK(gate_wrong_gradients(config, "gate-clamped-bce") ==
          expected([](auto name) { return !name.starts_with("output"); }));
    CHECK(gate_wrong_gradients(config, "overwritten") ==
          expected([&](auto name) { return is_below(name) || in_last(name, "ln1"); }));
    CHECK(gate_wrong_gradients(config, "mean-factor") == expected([](auto) { return true; }));
    CHECK(gate_wrong_gradients(config, "transposed-weight") == std::vector<std::string>{"layers.0.attention.wo"});
    CHECK(gate_wrong_gradients(config, "double-count") ==
          expected([&](auto name) { return is_below(name) || in_last(name, "ln1", "attention"); }));
}

TEST_CASE("gate reference: what does not fit is refused with a reason") {
    const GateConfig config = small(2);
    const Arrays<double> parameters = random_parameters(config);
    const auto run = [&](const GateBatch& batch) { return gate_run(config, parameters, batch); };
    CHECK_THROWS_WITH(gate_run(config, parameters, mixed_batch(), "gate-typo"),
                      "gate: unknown fault 'gate-typo'; known are gate-final-ln-input, gate-ln-order, gate-skip-wo, "
                      "gate-wo-from-dq, gate-dropped-qkv-input, gate-clamped-bce, overwritten, mean-factor, "
                      "transposed-weight, double-count, forward-no-norm");
    CHECK_THROWS_WITH(gate_run(small(3), parameters, mixed_batch()),
                      "gate: parameter 34 does not fit the settings, which want layers.2.ln1.weight [8] there");
    CHECK_THROWS_WITH(gate_parameters<double>(small(2, 3)),
                      "gate: dim must be a multiple of heads: dim is 8, heads is 3");
    CHECK_THROWS_WITH(run({.tokens = {9}, .offsets = {0, 1}, .examples = {{}}}),
                      "gate: token 9 is outside the vocabulary of 9");
    CHECK_THROWS_WITH(run({.tokens = {1}, .offsets = {0, 1}, .examples = {{.kind = GateKind::next_token, .next = -1}}}),
                      "gate: token -1 is outside the vocabulary of 9");
    CHECK_THROWS_WITH(run({.tokens = {1}, .offsets = {0, 1, 1}, .examples = {{}, {}}}),
                      "gate: example 1 has 0 tokens, not 1 to 6");
    CHECK_THROWS_WITH(
        run({.tokens = {1, 2}, .offsets = {0, 2}, .examples = {{}, {}}}),
        "gate: offsets must rise from 0 to the number of tokens, 2, one for each of 2 examples and one more");
    CHECK_THROWS_AS(gate_wrong_gradients(config, "gate-typo"), std::invalid_argument);
}

TEST_CASE("reference adamw: weights decay by lr λ before the step, moments are those of adam") {
    Arrays<double> plain{{"w", {2}, {1.0, -3.0}}}, decayed = plain;
    const AdamConfig config{.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01};
    Adam<double> adam({.beta1 = 0.9, .beta2 = 0.999}), adamw(config);
    const double lr = 0.1;
    for (const double g : {0.5, -0.25, 1.0}) {
        const Arrays<double> gradients{{"w", {2}, {g, 2 * g}}};
        const Values before = plain[0].values, before_decayed = decayed[0].values;
        adam.step(plain, gradients, lr);
        adamw.step(decayed, gradients, lr);
        for (std::size_t j = 0; j < 2; ++j)
            CHECK(decayed[0].values[j] ==
                  Approx(before_decayed[j] * (1 - lr * 0.01) + plain[0].values[j] - before[j]).epsilon(1e-13));
    }
}

TEST_CASE("gate reference: ten steps of AdamW on one batch lower the loss at each") {
    const GateConfig config = small(2);
    Arrays<double> parameters = random_parameters(config);
    Adam<double> adamw({.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01});
    Values losses;
    for (int step = 0; step < 10; ++step) {
        const GateRun<double> run = gate_run(config, parameters, mixed_batch());
        losses.push_back(run.loss);
        adamw.step(parameters, run.gradients, 0.01);
    }
    CHECK(std::ranges::is_sorted(losses, std::greater<>{}));
}

}  // namespace test_gate_reference
