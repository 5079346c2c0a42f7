#include <xtape/tests/reference/lrnn.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#include "../catch.hpp"
#include "directional.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace test_lrnn_reference {

using namespace xtape::reference;
using namespace xtape::test;

namespace {

/// Small widths keep the differences quick; every size is another number.
LrnnConfig small(int layers, int heads, int slots) {
    return {
        .vocab = 9, .layers = layers, .dim = 8, .heads = heads, .decay_rank = 3, .ffn = 10, .slots = slots, .chunk = 4};
}

std::vector<LrnnConfig> all_settings() {
    std::vector<LrnnConfig> all;
    for (const int layers : {1, 2, 3})
        for (const int heads : {1, 2, 4})
            for (const int slots : {1, 2, 4}) all.push_back(small(layers, heads, slots));
    return all;
}

std::string describe(const LrnnConfig& c) {
    return std::to_string(c.layers) + " layers, " + std::to_string(c.heads) + " heads, " + std::to_string(c.slots) +
           " slots";
}

/// Three sequences, of lengths 10 (more than two chunks), 1 and 6.
Batch ragged_batch() {
    return {.inputs = {1, 5, 3, 8, 0, 2, 2, 7, 4, 6, 3, 0, 1, 8, 5, 5, 2},
            .targets = {5, 3, 8, 0, 2, 2, 7, 4, 6, 1, 7, 1, 8, 5, 5, 2, 4},
            .offsets = {0, 10, 11, 17}};
}

/// Norm weights near 1, matrices N(0, 1/in), everything else N(0, 0.5²).
template <class T = double> Arrays<T> random_parameters(const LrnnConfig& config) {
    std::mt19937_64 random(7);
    std::normal_distribution<double> normal;
    Arrays<T> parameters = lrnn_parameters<T>(config);
    for (NamedArray<T>& array : parameters) {
        const bool norm_weight = array.name.ends_with(".weight"), matrix = array.shape.size() == 2;
        const double deviation = matrix && array.name != "emb" ? 1 / std::sqrt(double(array.shape[0])) : 0.5;
        for (T& value : array.values) value = T(deviation * normal(random) + (norm_weight ? 1 : 0));
    }
    return parameters;
}

NamedArray<double>& find(Arrays<double>& arrays, std::string_view name) {
    return *std::ranges::find(arrays, name, &NamedArray<double>::name);
}

/// A memory gate of one slot is 1 whatever its logit: its gradient is zero.
bool is_vacuous(const LrnnConfig& config, std::string_view name) {
    return config.slots == 1 && name.find("mem_gate") != std::string_view::npos;
}

double largest_value(const Values& values) {
    double largest = 0;
    for (const double value : values) largest = std::max(largest, std::abs(value));
    return largest;
}

/// Checks that exactly the gradients that `fault` names differ from the right ones, by more than `least`.
void check_wrong(const LrnnConfig& config, const Arrays<double>& parameters, std::string_view fault, double least) {
    const Run<double> right = lrnn_run(config, parameters, ragged_batch());
    const Run<double> run = lrnn_run(config, parameters, ragged_batch(), fault);
    const std::vector<std::string> wrong = lrnn_wrong_gradients(config, fault);
    const bool backward_only = fault != "lrnn-eps-softmax";
    CHECK((run.loss == right.loss) == backward_only);
    CHECK((run.logits == right.logits) == backward_only);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Values &faulty = run.gradients[i].values, &truth = right.gradients[i].values;
        INFO(fault << ": " << describe(config) << ", " << parameters[i].name);
        if (std::ranges::count(wrong, parameters[i].name) == 1)
            CHECK(relative_error(faulty, truth) > least);
        else if (backward_only || !is_vacuous(config, parameters[i].name))
            CHECK(faulty == truth);
    }
}

}  // namespace

TEST_CASE("lrnn reference: parameters are those of the specification") {
    const Arrays<float> parameters =
        lrnn_parameters<float>({.vocab = 5, .layers = 2, .dim = 4, .decay_rank = 3, .ffn = 6, .slots = 2});
    REQUIRE(parameters.size() == 3 + 2 * 24 + 3);
    std::vector<std::string> names;
    for (const NamedArray<float>& array : parameters) {
        names.push_back(array.name);
        std::size_t size = 1;
        for (const int extent : array.shape) size *= static_cast<std::size_t>(extent);
        CHECK(array.values.size() == size);
    }
    CHECK(names.front() == "emb");
    CHECK(names.back() == "head");
    for (const char* name : {"ln0.weight", "ln_out.bias", "layers.0.ln1.weight", "layers.1.time_shift_w4",
                             "layers.1.time_mix_v", "layers.1.Wr", "layers.1.channel_mix"})
        CHECK(std::ranges::count(names, name) == 1);
    const auto shape = [&](const char* name) {
        return std::ranges::find(parameters, name, &NamedArray<float>::name)->shape;
    };
    CHECK(shape("emb") == std::vector{5, 4});
    CHECK(shape("head") == std::vector{4, 5});
    CHECK(shape("layers.0.decay_lora_a") == std::vector{4, 3});
    CHECK(shape("layers.0.decay_base") == std::vector{4});
    CHECK(shape("layers.1.ffn_down") == std::vector{6, 4});
    CHECK(shape("layers.1.mem_gate_read") == std::vector{4, 2});
}

TEST_CASE("lrnn reference: the loss of equal logits is ln V, with any smoothing") {
    for (const double smoothing : {0.0, 0.1}) {
        LrnnConfig config = small(2, 2, 2);
        config.label_smoothing = smoothing;
        Arrays<double> parameters = random_parameters(config);
        std::ranges::fill(parameters.back().values, 0.0);
        CHECK(lrnn_run(config, parameters, ragged_batch()).loss == Approx(std::log(9.0)));
    }
}

TEST_CASE("lrnn reference: every gradient agrees with central differences to 1e-7") {
    std::vector<LrnnConfig> settings{small(2, 1, 1), small(2, 2, 4), small(2, 4, 2)};
    settings.back().label_smoothing = 0.1;
    for (const LrnnConfig& config : settings) {
        const Arrays<double> parameters = random_parameters(config);
        const Run<double> run = lrnn_run(config, parameters, ragged_batch());
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            INFO(describe(config) << ", " << parameters[i].name);
            if (is_vacuous(config, parameters[i].name)) {
                CHECK(largest_value(run.gradients[i].values) == 0);
                continue;
            }
            check_directions(parameters[i].values, run.gradients[i].values, [&](const Values& moved) {
                Arrays<double> all = parameters;
                all[i].values = moved;
                return lrnn_run(config, all, ragged_batch()).loss;
            });
        }
    }
}

TEST_CASE("lrnn reference: the chunk of the reverse pass changes nothing but rounding") {
    LrnnConfig config = small(2, 2, 4);
    const Arrays<double> parameters = random_parameters(config);
    const Run<double> chunked = lrnn_run(config, parameters, ragged_batch());
    for (const int chunk : {1, 3, 16}) {
        config.chunk = chunk;
        const Run<double> run = lrnn_run(config, parameters, ragged_batch());
        CHECK(run.logits == chunked.logits);
        for (std::size_t i = 0; i < parameters.size(); ++i)
            CHECK(relative_error(run.gradients[i].values, chunked.gradients[i].values) < 1e-12);
    }
}

TEST_CASE("lrnn reference: a token changes no logits before it nor in other sequences") {
    const LrnnConfig config = small(2, 2, 2);
    const Arrays<double> parameters = random_parameters(config);
    Batch batch = ragged_batch();
    const Values before = lrnn_run(config, parameters, batch).logits;
    batch.inputs[3] = 7;
    const Values after = lrnn_run(config, parameters, batch).logits;
    for (std::size_t row = 0; row < batch.inputs.size(); ++row) {
        const auto begin = std::ptrdiff_t(row * 9);
        const bool same = std::equal(before.begin() + begin, before.begin() + begin + 9, after.begin() + begin);
        CHECK(same == (row < 3 || row >= 10));
    }
}

TEST_CASE("lrnn reference: keys beyond the clamp get no gradient and give finite logits") {
    const LrnnConfig config = small(2, 1, 2);
    Arrays<double> parameters = random_parameters(config);
    for (double& value : find(parameters, "layers.1.Wk").values) value *= 1e6;
    Run<double> run = lrnn_run(config, parameters, ragged_batch());
    CHECK(std::isfinite(run.loss));
    for (const NamedArray<double>& gradient : run.gradients)
        for (const double value : gradient.values) CHECK(std::isfinite(value));
    CHECK(largest_value(find(run.gradients, "layers.1.Wk").values) == 0);
}

TEST_CASE("lrnn reference: f32 stays within 2e-5 of f64") {
    for (const LrnnConfig& config : all_settings()) {
        const auto single = lrnn_run(config, random_parameters<float>(config), ragged_batch());
        const auto exact = lrnn_run(config, random_parameters<double>(config), ragged_batch());
        CHECK(single.loss == Approx(exact.loss).epsilon(1e-5));
        for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
            INFO(describe(config) << ", " << exact.gradients[i].name);
            if (!is_vacuous(config, exact.gradients[i].name))
                CHECK(relative_error(single.gradients[i].values, exact.gradients[i].values) < 2e-5);
        }
    }
}

TEST_CASE("lrnn reference: a fault makes exactly the gradients wrong that it names, and no loss") {
    for (const LrnnConfig& config : all_settings()) {
        const Arrays<double> parameters = random_parameters(config);
        check_wrong(config, parameters, "lrnn-gate-path", 1e-4);
        check_wrong(config, parameters, "lrnn-smoothed-loss", 1e-4);
        check_wrong(config, parameters, "scan-no-carry", 1e-4);
        check_wrong(config, parameters, "overwritten", 1e-4);
        check_wrong(config, parameters, "mean-factor", 1e-4);
        check_wrong(config, parameters, "transposed-weight", 1e-4);
        check_wrong(config, parameters, "double-count", 1e-4);
    }
}

TEST_CASE("lrnn reference: an epsilon in the memory gates' softmax shows in every gradient and in the logits") {
    for (const LrnnConfig& config : all_settings()) {
        const Arrays<double> parameters = random_parameters(config);
        check_wrong(config, parameters, "lrnn-eps-softmax", 1e-9);
        const Run<double> right = lrnn_run(config, parameters, ragged_batch());
        const Run<double> run = lrnn_run(config, parameters, ragged_batch(), "lrnn-eps-softmax");
        const double error = relative_error(run.logits, right.logits);
        CHECK(error > 1e-9);
        CHECK(error < 1e-5);
    }
}

TEST_CASE("lrnn reference: a clamped scan shows where keys are small and the loss is steep, and not elsewhere") {
    for (const LrnnConfig& config : all_settings()) {
        Arrays<double> parameters = random_parameters(config);
        const auto gradients = [&](std::string_view fault) {
            return lrnn_run(config, parameters, ragged_batch(), fault).gradients;
        };
        const Arrays<double> right = gradients(""), clamped = gradients("lrnn-clamped-scan");
        for (std::size_t i = 0; i < right.size(); ++i) CHECK(clamped[i].values == right[i].values);
        const std::string last = "layers." + std::to_string(config.layers - 1) + ".";
        std::ranges::fill(find(parameters, last + "ln1.bias").values, 1.0);
        for (double& value : find(parameters, last + "Wk").values) value = 0.2 * value - 7.0 / config.dim;
        for (double& value : parameters.back().values) value *= 30;
        check_wrong(config, parameters, "lrnn-clamped-scan", 1e-5);
    }
}

TEST_CASE("lrnn reference: the wrong gradients of two layers are those of the catalogue of faults") {
    const LrnnConfig config = small(2, 1, 2);
    std::vector<std::string> below;
    for (const NamedArray<float>& array : lrnn_parameters<float>(config))
        if (!array.name.starts_with("layers.1.") && !array.name.starts_with("ln_out") && array.name != "head")
            below.push_back(array.name);
    const auto with = [&](std::initializer_list<const char*> last_layer) {
        std::vector<std::string> names = below;
        for (const char* name : last_layer) names.push_back(std::string("layers.1.") + name);
        return names;
    };
    CHECK(lrnn_wrong_gradients(config, "").empty());
    CHECK(lrnn_wrong_gradients(config, "lrnn-gate-path") == with({"ln1.weight", "ln1.bias"}));
    CHECK(lrnn_wrong_gradients(small(2, 1, 1), "lrnn-gate-path").empty());
    CHECK(lrnn_wrong_gradients(config, "lrnn-smoothed-loss").size() == lrnn_parameters<float>(config).size());
    CHECK(lrnn_wrong_gradients(config, "lrnn-clamped-scan") ==
          with({"ln1.weight", "ln1.bias", "time_shift_w1", "time_shift_w2", "time_shift_w4", "time_mix_k", "Wk"}));
    CHECK(lrnn_wrong_gradients(config, "lrnn-eps-softmax").size() == lrnn_parameters<float>(config).size());
    CHECK(lrnn_wrong_gradients(config, "scan-no-carry") ==
          with({"ln1.weight", "ln1.bias", "time_shift_w1", "time_shift_w2", "time_shift_w4", "time_mix_k", "time_mix_v",
                "decay_lora_a", "decay_lora_b", "decay_base", "Wk", "Wv", "mem_gate_write"}));
    CHECK(lrnn_wrong_gradients(config, "overwritten") == with({"ln1.weight", "ln1.bias"}));
    CHECK(lrnn_wrong_gradients(config, "mean-factor").size() == lrnn_parameters<float>(config).size());
    CHECK(lrnn_wrong_gradients(config, "transposed-weight") == std::vector<std::string>{"layers.0.Wo"});
    CHECK(lrnn_wrong_gradients(config, "double-count") ==
          with({"ln1.weight", "ln1.bias", "time_shift_w1", "time_shift_w2", "time_shift_w4", "time_mix_r", "time_mix_k",
                "time_mix_v", "decay_lora_a", "decay_lora_b", "decay_base", "time_first", "Wr", "Wk", "Wv", "Wo",
                "mem_gate_write", "mem_gate_read"}));
}

TEST_CASE("lrnn reference: without norms in both passes, the gradients are right for another function") {
    const LrnnConfig config = small(2, 2, 2);
    const Arrays<double> parameters = random_parameters(config);
    const Run<double> run = lrnn_run(config, parameters, ragged_batch(), "forward-no-norm");
    CHECK(relative_error(run.logits, lrnn_run(config, parameters, ragged_batch()).logits) > 1e-2);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        INFO(parameters[i].name);
        if (parameters[i].name.find("ln1") != std::string::npos) {
            CHECK(largest_value(run.gradients[i].values) == 0);
            continue;
        }
        check_directions(parameters[i].values, run.gradients[i].values, [&](const Values& moved) {
            Arrays<double> all = parameters;
            all[i].values = moved;
            return lrnn_run(config, all, ragged_batch(), "forward-no-norm").loss;
        });
    }
}

TEST_CASE("lrnn reference: a lost carry does not show on sequences of one chunk") {
    LrnnConfig config = small(2, 1, 2);
    config.chunk = 10;
    const Arrays<double> parameters = random_parameters(config);
    const Run<double> right = lrnn_run(config, parameters, ragged_batch());
    const Run<double> run = lrnn_run(config, parameters, ragged_batch(), "scan-no-carry");
    for (std::size_t i = 0; i < parameters.size(); ++i) CHECK(run.gradients[i].values == right.gradients[i].values);
}

TEST_CASE("lrnn reference: what does not fit is refused with a reason") {
    const LrnnConfig config = small(2, 2, 2);
    const Arrays<double> parameters = random_parameters(config);
    CHECK_THROWS_WITH(
        lrnn_run(config, parameters, ragged_batch(), "lrnn-typo"),
        "lrnn: unknown fault 'lrnn-typo'; known are lrnn-gate-path, lrnn-smoothed-loss, "
        "lrnn-clamped-scan, lrnn-eps-softmax, scan-no-carry, overwritten, mean-factor, transposed-weight, "
        "double-count, forward-no-norm");
    CHECK_THROWS_WITH(lrnn_run(small(2, 2, 4), parameters, ragged_batch()),
                      "lrnn: parameter 25 does not fit the settings, which want layers.0.mem_gate_write [8, 4] there");
    CHECK_THROWS_WITH(lrnn_parameters<double>(small(2, 3, 2)),
                      "lrnn: dim must be a multiple of heads: dim is 8, heads is 3");
    CHECK_THROWS_WITH(lrnn_run(config, parameters, {.inputs = {9}, .targets = {0}, .offsets = {0, 1}}),
                      "lrnn: token 9 is outside the vocabulary of 9");
    CHECK_THROWS_WITH(lrnn_run(config, parameters, {.inputs = {1, 2}, .targets = {0}, .offsets = {0, 2}}),
                      "lrnn: 2 inputs but 1 targets");
    CHECK_THROWS_AS(lrnn_wrong_gradients(config, "lrnn-typo"), std::invalid_argument);
}

TEST_CASE("lrnn reference: ten steps of Adam on one batch lower the loss at each") {
    const LrnnConfig config = small(2, 2, 2);
    Arrays<double> parameters = random_parameters(config);
    Adam<double> adam({.beta1 = 0.9, .beta2 = 0.999});
    Values losses;
    for (int step = 0; step < 10; ++step) {
        const Run<double> run = lrnn_run(config, parameters, ragged_batch());
        losses.push_back(run.loss);
        adam.step(parameters, run.gradients, 0.01);
    }
    CHECK(std::ranges::is_sorted(losses, std::greater<>{}));
}

}  // namespace test_lrnn_reference
