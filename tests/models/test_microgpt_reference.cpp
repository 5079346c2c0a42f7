#include <xtape/tests/reference/microgpt.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#include "../catch.hpp"
#include "differences.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace test_microgpt_reference {

using namespace xtape::reference;
using namespace xtape::test;

namespace {

/// Packs framed names into one batch: inputs are all but the last token of each, targets all but the first.
Batch pack(const std::vector<std::vector<int>>& names) {
    Batch batch{.inputs = {}, .targets = {}, .offsets = {0}};
    for (const std::vector<int>& name : names) {
        batch.inputs.insert(batch.inputs.end(), name.begin(), name.end() - 1);
        batch.targets.insert(batch.targets.end(), name.begin() + 1, name.end());
        batch.offsets.push_back(static_cast<int>(batch.inputs.size()));
    }
    return batch;
}

/// Four sequences, of lengths 5, 1, 16 (the whole block) and 3.
Batch ragged_batch() {
    return pack(
        {{0, 5, 13, 13, 1, 0}, {0, 0}, {0, 3, 8, 18, 9, 19, 20, 15, 16, 8, 5, 18, 9, 15, 14, 26, 0}, {0, 1, 2, 0}});
}

template <class T = double> Arrays<T> random_parameters(const MicrogptConfig& config, double deviation = 0.25) {
    std::mt19937_64 random(7);
    std::normal_distribution<double> normal(0, deviation);
    Arrays<T> parameters = microgpt_parameters<T>(config);
    for (NamedArray<T>& array : parameters)
        for (T& value : array.values) value = T(normal(random));
    return parameters;
}

/// Every norm and act, with one and with three layers.
std::vector<MicrogptConfig> all_settings() {
    std::vector<MicrogptConfig> all;
    for (const int layers : {1, 3})
        for (const Norm norm : {Norm::none, Norm::attention, Norm::full})
            for (const Act act : {Act::relu, Act::relu_squared})
                all.push_back({.layers = layers, .norm = norm, .act = act});
    return all;
}

std::string describe(const MicrogptConfig& c) {
    const char* norms[] = {"none", "attention", "full"};
    return std::to_string(c.layers) + " layers, norm " + norms[static_cast<int>(c.norm)] +
           (c.act == Act::relu ? ", relu" : ", relu squared");
}

/// A longer step crosses more kinks of relu, a shorter one drowns the small gradients of wq and wk in rounding.
constexpr double tolerance = 1e-7, step = 3e-4;

/// Checks parameter i in two random directions of length 1, to `tolerance` of the gradient's root mean square.
/// Where slopes of two step sizes disagree, the direction crosses a kink of relu: redrawn. Returns how many were.
int check_parameter(const MicrogptConfig& config, const Arrays<double>& parameters, const Batch& batch, std::size_t i,
                    const Values& gradient) {
    std::mt19937_64 random(i);
    const double allowed = tolerance * std::sqrt(dot(gradient, gradient) / double(gradient.size()));
    INFO(describe(config) << ", " << parameters[i].name);
    CHECK(allowed > 0);
    int redrawn = 0;
    for (int accepted = 0; accepted < 2;) {
        REQUIRE(redrawn < 10);
        const Values direction = random_direction(gradient.size(), random);
        const auto loss = [&](double distance) {
            Arrays<double> moved = parameters;
            for (std::size_t j = 0; j < direction.size(); ++j) moved[i].values[j] += distance * direction[j];
            return microgpt_run(config, moved, batch).loss;
        };
        const double coarse = slope(loss, step), fine = slope(loss, step / 2);
        if (std::abs(coarse - fine) > allowed / 4) {
            ++redrawn;
            continue;
        }
        ++accepted;
        CHECK(std::abs(fine - dot(gradient, direction)) < allowed);
    }
    return redrawn;
}

}  // namespace

TEST_CASE("microgpt reference: parameters are those of the specification, 4192 values by default") {
    const Arrays<float> parameters = microgpt_parameters<float>({});
    const std::vector<std::string> names{"wte",         "wpe",         "layers.0.wq", "layers.0.wk", "layers.0.wv",
                                         "layers.0.wo", "layers.0.w1", "layers.0.w2", "wout"};
    const std::vector<std::vector<int>> shapes{{27, 16}, {16, 16}, {16, 16}, {16, 16}, {16, 16},
                                               {16, 16}, {16, 64}, {64, 16}, {16, 27}};
    REQUIRE(parameters.size() == names.size());
    std::size_t total = 0;
    for (std::size_t i = 0; i < names.size(); ++i) {
        CHECK(parameters[i].name == names[i]);
        CHECK(parameters[i].shape == shapes[i]);
        total += parameters[i].values.size();
    }
    CHECK(total == 4192);
}

TEST_CASE("microgpt reference: the loss of equal logits is ln V") {
    const MicrogptConfig config;
    CHECK(microgpt_run(config, microgpt_parameters<double>(config), ragged_batch()).loss == Approx(std::log(27.0)));
}

TEST_CASE("microgpt reference: every gradient agrees with central differences to 1e-7") {
    int directions = 0, redrawn = 0;
    for (const MicrogptConfig& config : all_settings()) {
        const Arrays<double> parameters = random_parameters(config);
        const Run<double> run = microgpt_run(config, parameters, ragged_batch());
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            redrawn += check_parameter(config, parameters, ragged_batch(), i, run.gradients[i].values);
            directions += 2;
        }
    }
    INFO(redrawn << " directions redrawn beside " << directions << " accepted");
    CHECK(redrawn < directions / 20);
}

TEST_CASE("microgpt reference: a token changes no logits before it nor in other sequences") {
    const MicrogptConfig config{.layers = 3, .norm = Norm::full};
    const Arrays<double> parameters = random_parameters(config);
    Batch batch = ragged_batch();
    const Values before = microgpt_run(config, parameters, batch).logits;
    batch.inputs[3] = 25;
    const Values after = microgpt_run(config, parameters, batch).logits;
    for (std::size_t row = 0; row < batch.inputs.size(); ++row) {
        const auto begin = std::ptrdiff_t(row * 27);
        const bool same = std::equal(before.begin() + begin, before.begin() + begin + 27, after.begin() + begin);
        CHECK(same == (row != 3 && row != 4));
    }
}

TEST_CASE("microgpt reference: a ragged batch is the mean of its sequences, weighted by length") {
    const MicrogptConfig config{.layers = 2};
    const Arrays<double> parameters = random_parameters(config);
    const Batch batch = ragged_batch();
    double loss = 0;
    Arrays<double> gradients = microgpt_parameters<double>(config);
    for (std::size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
        const int begin = batch.offsets[i], end = batch.offsets[i + 1];
        const Batch one{.inputs = {batch.inputs.begin() + begin, batch.inputs.begin() + end},
                        .targets = {batch.targets.begin() + begin, batch.targets.begin() + end},
                        .offsets = {0, end - begin}};
        const double share = double(end - begin) / double(batch.inputs.size());
        const Run<double> run = microgpt_run(config, parameters, one);
        loss += share * run.loss;
        for (std::size_t p = 0; p < gradients.size(); ++p)
            for (std::size_t j = 0; j < gradients[p].values.size(); ++j)
                gradients[p].values[j] += share * run.gradients[p].values[j];
    }
    const Run<double> whole = microgpt_run(config, parameters, batch);
    CHECK(whole.loss == Approx(loss).epsilon(1e-13));
    for (std::size_t p = 0; p < gradients.size(); ++p)
        CHECK(relative_error(whole.gradients[p].values, gradients[p].values) < 1e-13);
}

TEST_CASE("microgpt reference: f32 stays within 1e-5 of f64") {
    for (const MicrogptConfig& config : all_settings()) {
        const auto single = microgpt_run(config, random_parameters<float>(config), ragged_batch());
        const auto exact = microgpt_run(config, random_parameters<double>(config), ragged_batch());
        CHECK(single.loss == Approx(exact.loss).epsilon(1e-5));
        for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
            INFO(describe(config) << ", " << exact.gradients[i].name);
            CHECK(relative_error(single.gradients[i].values, exact.gradients[i].values) < 1e-5);
        }
    }
}

TEST_CASE("microgpt reference: a fault makes exactly the gradients wrong that it names, and no loss") {
    for (const MicrogptConfig& config : all_settings()) {
        const Arrays<double> parameters = random_parameters(config);
        const Run<double> right = microgpt_run(config, parameters, ragged_batch());
        for (const FaultInfo& fault : microgpt_faults()) {
            if (fault.id == "forward-no-norm") continue;
            const Run<double> run = microgpt_run(config, parameters, ragged_batch(), fault.id);
            const std::vector<std::string> wrong = microgpt_wrong_gradients(config, fault.id);
            CHECK(run.loss == right.loss);
            CHECK(run.logits == right.logits);
            for (std::size_t i = 0; i < parameters.size(); ++i) {
                const Values &faulty = run.gradients[i].values, &truth = right.gradients[i].values;
                INFO(fault.id << ": " << describe(config) << ", " << parameters[i].name);
                if (std::ranges::count(wrong, parameters[i].name) == 1)
                    CHECK(relative_error(faulty, truth) > 1e-3);
                else
                    CHECK(faulty == truth);
            }
        }
    }
}

TEST_CASE("microgpt reference: without norms in both passes, the gradients are right for another function") {
    for (const MicrogptConfig& config : all_settings()) {
        const Arrays<double> parameters = random_parameters(config);
        const Run<double> right = microgpt_run(config, parameters, ragged_batch());
        const Run<double> run = microgpt_run(config, parameters, ragged_batch(), "forward-no-norm");
        const bool has_norm = config.norm != Norm::none;
        CHECK((relative_error(run.logits, right.logits) > 1e-6) == has_norm);
        CHECK(microgpt_wrong_gradients(config, "forward-no-norm").size() == (has_norm ? parameters.size() : 0));
        if (config.norm != Norm::attention) continue;
        MicrogptConfig bare = config;  // the same function, as norm₁ is the only one
        bare.norm = Norm::none;
        const Run<double> other = microgpt_run(bare, parameters, ragged_batch());
        for (std::size_t i = 0; i < parameters.size(); ++i) CHECK(run.gradients[i].values == other.gradients[i].values);
    }
}

TEST_CASE("microgpt reference: the wrong gradients of one layer are those of the catalogue of faults") {
    using Names = std::vector<std::string>;
    const Names embeddings{"wte", "wpe"};
    const Names attention{"wte", "wpe", "layers.0.wq", "layers.0.wk", "layers.0.wv", "layers.0.wo"};
    CHECK(microgpt_wrong_gradients({.norm = Norm::none}, "microgpt-no-norm").empty());
    CHECK(microgpt_wrong_gradients({}, "microgpt-no-norm") == embeddings);
    CHECK(microgpt_wrong_gradients({.norm = Norm::full}, "microgpt-no-norm") == attention);
    CHECK(microgpt_wrong_gradients({}, "microgpt-past-kv") == Names{"wte", "wpe", "layers.0.wk", "layers.0.wv"});
    CHECK(microgpt_wrong_gradients({}, "microgpt-past-activations") == embeddings);
    CHECK(microgpt_wrong_gradients({}, "overwritten") == embeddings);
    CHECK(microgpt_wrong_gradients({}, "mean-factor").size() == 9);
    CHECK(microgpt_wrong_gradients({}, "transposed-weight") == Names{"layers.0.wo"});
    CHECK(microgpt_wrong_gradients({}, "double-count") == attention);
    CHECK(microgpt_wrong_gradients({}, "").empty());
}

TEST_CASE("microgpt reference: mean-factor scales by (S - 1) / S, transposed-weight transposes") {
    const MicrogptConfig config;
    const Arrays<double> parameters = random_parameters(config);
    const Arrays<double> right = microgpt_run(config, parameters, ragged_batch()).gradients;
    const Arrays<double> scaled = microgpt_run(config, parameters, ragged_batch(), "mean-factor").gradients;
    for (std::size_t i = 0; i < right.size(); ++i) {
        Values expected = right[i].values;
        for (double& value : expected) value *= 25.0 / 26;
        CHECK(relative_error(scaled[i].values, expected) < 1e-13);
    }
    const std::size_t wo = 5;
    const Arrays<double> transposed = microgpt_run(config, parameters, ragged_batch(), "transposed-weight").gradients;
    for (std::size_t i = 0; i < 16; ++i)
        for (std::size_t j = 0; j < 16; ++j) CHECK(transposed[wo].values[16 * i + j] == right[wo].values[16 * j + i]);
}

TEST_CASE("microgpt reference: faults of past positions do not show on sequences of length 1") {
    const MicrogptConfig config;
    const Batch batch{.inputs = {0, 7}, .targets = {1, 3}, .offsets = {0, 1, 2}};
    const Arrays<double> parameters = random_parameters(config);
    const Arrays<double> right = microgpt_run(config, parameters, batch).gradients;
    for (const char* fault : {"microgpt-past-kv", "microgpt-past-activations"}) {
        const Arrays<double> faulty = microgpt_run(config, parameters, batch, fault).gradients;
        for (std::size_t i = 0; i < right.size(); ++i) CHECK(faulty[i].values == right[i].values);
    }
}

TEST_CASE("microgpt reference: what does not fit is refused with a reason") {
    const MicrogptConfig config;
    const Arrays<double> parameters = random_parameters(config);
    CHECK_THROWS_WITH(microgpt_run(config, parameters, ragged_batch(), "microgpt-typo"),
                      "microgpt: unknown fault 'microgpt-typo'; known are microgpt-no-norm, microgpt-past-kv, "
                      "microgpt-past-activations, overwritten, mean-factor, transposed-weight, double-count, "
                      "forward-no-norm");
    CHECK_THROWS_AS(microgpt_wrong_gradients(config, "microgpt-typo"), std::invalid_argument);
    CHECK_THROWS_WITH(microgpt_run({.dim = 8}, parameters, ragged_batch()),
                      "microgpt: parameter 0 does not fit the settings, which want wte [27, 8] there");
    CHECK_THROWS_WITH(microgpt_run({.layers = 2}, parameters, ragged_batch()),
                      "microgpt: parameter 8 does not fit the settings, which want layers.1.wq [16, 16] there");
    CHECK_THROWS_WITH(microgpt_parameters<double>({.heads = 3}),
                      "microgpt: dim must be a multiple of heads: dim is 16, heads is 3");
    CHECK_THROWS_WITH(microgpt_run(config, parameters, {.inputs = {27}, .targets = {0}, .offsets = {0, 1}}),
                      "microgpt: token 27 is outside the vocabulary of 27");
    CHECK_THROWS_WITH(microgpt_run({.block = 15}, microgpt_parameters<double>({.block = 15}), ragged_batch()),
                      "microgpt: sequence 2 is longer than the block of 15");
    CHECK_THROWS_WITH(microgpt_run(config, parameters, {.inputs = {1, 2}, .targets = {0}, .offsets = {0, 2}}),
                      "microgpt: 2 inputs but 1 targets");
    CHECK_THROWS_WITH(microgpt_run(config, parameters, {.inputs = {1, 2}, .targets = {2, 0}, .offsets = {0, 1}}),
                      "microgpt: offsets must rise from 0 to the number of inputs, 2");
}

TEST_CASE("reference adam: ten steps on one batch start near ln 27 and lower the loss at each") {
    const MicrogptConfig config;
    Arrays<double> parameters = random_parameters(config, 0.1);
    Adam<double> adam;
    Values losses;
    for (int step = 0; step < 10; ++step) {
        const Run<double> run = microgpt_run(config, parameters, ragged_batch());
        losses.push_back(run.loss);
        adam.step(parameters, run.gradients, 0.01 * (1 - step / 1000.0));
    }
    CHECK(losses.front() == Approx(std::log(27.0)).epsilon(0.05));
    CHECK(std::ranges::is_sorted(losses, std::greater<>{}));
}

}  // namespace test_microgpt_reference
