#include <xtape/tests/reference/llama.hpp>
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

namespace test_llama_reference {

using namespace xtape::reference;
using namespace xtape::test;

namespace {

constexpr int vocab = 13, context = 9;

/// Sequences of the given lengths, of random tokens, each row's target being the next token.
Batch random_batch(const std::vector<int>& lengths) {
    std::mt19937_64 random(3);
    std::uniform_int_distribution<int> token(0, vocab - 1);
    Batch batch{.inputs = {}, .targets = {}, .offsets = {0}};
    for (const int length : lengths) {
        for (int next = token(random), i = 0; i < length; ++i) {
            batch.inputs.push_back(next);
            batch.targets.push_back(next = token(random));
        }
        batch.offsets.push_back(batch.offsets.back() + length);
    }
    return batch;
}

/// Lengths of 1 and the whole context among them.
Batch ragged_batch() { return random_batch({5, 1, context, 3}); }

/// Matrices around 0, norm weights around 1.
template <class T = double> Arrays<T> random_parameters(const LlamaConfig& config, double deviation = 0.3) {
    std::mt19937_64 random(7);
    Arrays<T> parameters = llama_parameters<T>(config);
    for (NamedArray<T>& array : parameters) {
        const bool norm = array.shape.size() == 1;
        const Values values = random_values(array.values.size(), random, norm ? 1 : 0, norm ? 0.4 : deviation);
        std::ranges::transform(values, array.values.begin(), [](double value) { return T(value); });
    }
    return parameters;
}

/// Key heads as many as query heads and fewer, both forms of rope, tied and not, with 1 to 3 layers; other constants.
std::vector<LlamaConfig> all_settings() {
    std::vector<LlamaConfig> all;
    for (const int layers : {2, 3})
        for (const int kv_heads : {0, 2})
            for (const Rope rope : {Rope::interleaved, Rope::half_split})
                for (const bool tied : {false, true})
                    all.push_back({.vocab = vocab,
                                   .layers = layers,
                                   .kv_heads = kv_heads,
                                   .ffn = 10,
                                   .context = context,
                                   .rope = rope,
                                   .tied = tied});
    const LlamaConfig one{.vocab = vocab, .layers = 1, .kv_heads = 1, .ffn = 24, .context = context};
    const LlamaConfig narrow{.vocab = vocab, .heads = 8, .ffn = 24, .context = context};
    const LlamaConfig uneven{.vocab = vocab,
                             .dim = 18,
                             .heads = 3,
                             .kv_heads = 2,
                             .ffn = 5,
                             .context = context,
                             .rope_theta = 30,
                             .norm_epsilon = 0.1,
                             .rope = Rope::half_split};
    all.insert(all.end(), {one, narrow, uneven});
    return all;
}

std::string describe(const LlamaConfig& c) {
    return std::to_string(c.layers) + " layers, heads " + std::to_string(c.heads) + "/" + std::to_string(c.kv_heads) +
           (c.rope == Rope::interleaved ? ", interleaved" : ", half split") + (c.tied ? ", tied" : "");
}

const Values& values_of(const Arrays<double>& arrays, std::string_view name) {
    const auto found = std::ranges::find(arrays, name, &NamedArray<double>::name);
    if (found == arrays.end()) throw std::out_of_range(std::string(name));
    return found->values;
}

}  // namespace

TEST_CASE("llama reference: parameters are those of the specification, out x in, the classifier unless tied") {
    LlamaConfig config{.vocab = 11, .dim = 8, .layers = 1, .heads = 4, .kv_heads = 2, .ffn = 5};
    using Shapes = std::vector<std::pair<std::string, std::vector<int>>>;
    Shapes expected{{"token_embedding", {11, 8}}, {"layers.0.attention_norm", {8}},
                    {"layers.0.wq", {8, 8}},      {"layers.0.wk", {4, 8}},
                    {"layers.0.wv", {4, 8}},      {"layers.0.wo", {8, 8}},
                    {"layers.0.ffn_norm", {8}},   {"layers.0.w1", {5, 8}},
                    {"layers.0.w2", {8, 5}},      {"layers.0.w3", {5, 8}},
                    {"final_norm", {8}},          {"classifier", {11, 8}}};
    const auto shapes = [&] {
        Shapes all;
        for (const NamedArray<float>& array : llama_parameters<float>(config))
            all.emplace_back(array.name, array.shape);
        return all;
    };
    CHECK(shapes() == expected);
    config.tied = true;
    expected.pop_back();
    CHECK(shapes() == expected);
}

TEST_CASE("llama reference: the loss of equal logits is ln V") {
    const LlamaConfig config{.vocab = vocab};
    CHECK(llama_run(config, llama_parameters<double>(config), ragged_batch()).loss == Approx(std::log(13.0)));
}

TEST_CASE("llama reference: every gradient agrees with central differences to 1e-7") {
    for (const LlamaConfig& config : all_settings())
        for (const Batch& batch : {ragged_batch(), random_batch({2}), random_batch({7})}) {
            Arrays<double> parameters = random_parameters(config);
            const Run<double> run = llama_run(config, parameters, batch);
            std::mt19937_64 random(11);
            for (std::size_t i = 0; i < parameters.size(); ++i) {
                INFO(describe(config) << ", " << batch.inputs.size() << " rows, " << parameters[i].name);
                const auto loss = [&] { return llama_run(config, parameters, batch).loss; };
                CHECK(slope_error(parameters[i].values, run.gradients[i].values, loss, random) < 1e-7);
            }
        }
}

TEST_CASE("llama reference: sequences of length 1 give queries and keys no gradient") {
    const LlamaConfig config{.vocab = vocab};
    Arrays<double> parameters = random_parameters(config);
    const Batch batch = random_batch({1, 1, 1});
    const Run<double> run = llama_run(config, parameters, batch);
    std::mt19937_64 random(11);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const std::string& name = parameters[i].name;
        INFO(name);
        const auto loss = [&] { return llama_run(config, parameters, batch).loss; };
        if (name.ends_with("wq") || name.ends_with("wk"))
            CHECK(dot(run.gradients[i].values, run.gradients[i].values) < 1e-28);
        else
            CHECK(slope_error(parameters[i].values, run.gradients[i].values, loss, random) < 1e-7);
    }
}

TEST_CASE("llama reference: a token changes no logits before it nor in other sequences") {
    const LlamaConfig config{.vocab = vocab, .layers = 3, .kv_heads = 2};
    const Arrays<double> parameters = random_parameters(config);
    Batch batch = ragged_batch();
    const Values before = llama_run(config, parameters, batch).logits;
    batch.inputs[3] = (batch.inputs[3] + 1) % vocab;
    const Values after = llama_run(config, parameters, batch).logits;
    for (std::size_t row = 0; row < batch.inputs.size(); ++row) {
        const auto begin = std::ptrdiff_t(row * vocab);
        const bool same = std::equal(before.begin() + begin, before.begin() + begin + vocab, after.begin() + begin);
        CHECK(same == (row != 3 && row != 4));
    }
}

TEST_CASE("llama reference: a ragged batch is the mean of its sequences, weighted by length") {
    const LlamaConfig config{.vocab = vocab, .kv_heads = 2};
    const Arrays<double> parameters = random_parameters(config);
    const Batch batch = ragged_batch();
    double loss = 0;
    Arrays<double> gradients = llama_parameters<double>(config);
    for (std::size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
        const int begin = batch.offsets[i], end = batch.offsets[i + 1];
        const Batch one{.inputs = {batch.inputs.begin() + begin, batch.inputs.begin() + end},
                        .targets = {batch.targets.begin() + begin, batch.targets.begin() + end},
                        .offsets = {0, end - begin}};
        const double share = double(end - begin) / double(batch.inputs.size());
        const Run<double> run = llama_run(config, parameters, one);
        loss += share * run.loss;
        for (std::size_t p = 0; p < gradients.size(); ++p)
            for (std::size_t j = 0; j < gradients[p].values.size(); ++j)
                gradients[p].values[j] += share * run.gradients[p].values[j];
    }
    const Run<double> whole = llama_run(config, parameters, batch);
    CHECK(whole.loss == Approx(loss).epsilon(1e-13));
    for (std::size_t p = 0; p < gradients.size(); ++p)
        CHECK(relative_error(whole.gradients[p].values, gradients[p].values) < 1e-12);
}

TEST_CASE("llama reference: a last position without a target is as if it were not there") {
    const LlamaConfig config{.vocab = vocab};
    const Arrays<double> parameters = random_parameters(config);
    Batch batch = random_batch({4, 6});
    batch.targets.back() = -1;
    const Run<double> without = llama_run(config, parameters, batch);
    const Run<double> shorter = llama_run(config, parameters, [&] {
        Batch cut = batch;
        cut.inputs.pop_back();
        cut.targets.pop_back();
        --cut.offsets.back();
        return cut;
    }());
    CHECK(without.loss == shorter.loss);
    for (std::size_t p = 0; p < parameters.size(); ++p)
        CHECK(relative_error(without.gradients[p].values, shorter.gradients[p].values) < 1e-14);
}

TEST_CASE("llama reference: a tied embedding gets the gradients of embedding and classifier") {
    const LlamaConfig untied{.vocab = vocab}, tied{.vocab = vocab, .tied = true};
    Arrays<double> parameters = random_parameters(untied);
    parameters.back().values = parameters.front().values;
    const Run<double> two = llama_run(untied, parameters, ragged_batch());
    parameters.pop_back();
    const Run<double> one = llama_run(tied, parameters, ragged_batch());
    Values sum = two.gradients.front().values;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += two.gradients.back().values[i];
    CHECK(one.loss == two.loss);
    CHECK(relative_error(one.gradients.front().values, sum) < 1e-13);
    for (std::size_t p = 1; p < parameters.size(); ++p) CHECK(one.gradients[p].values == two.gradients[p].values);
}

TEST_CASE("llama reference: half-split rope is interleaved rope of the columns in another order") {
    const LlamaConfig interleaved{.vocab = vocab, .dim = 24, .kv_heads = 2};
    LlamaConfig half_split = interleaved;
    half_split.rope = Rope::half_split;
    const int width = 6;
    const Arrays<double> parameters = random_parameters(interleaved);
    const auto reordered = [&](Arrays<double> arrays) {  // row 2i of a head becomes row i, 2i + 1 becomes i + width / 2
        for (NamedArray<double>& array : arrays) {
            if (!array.name.ends_with("wq") && !array.name.ends_with("wk")) continue;
            const Values from = array.values;
            const int columns = array.shape[1];
            for (int row = 0; row < array.shape[0]; ++row) {
                const int c = row % width, to = row - c + c / 2 + c % 2 * (width / 2);
                std::copy_n(from.begin() + row * columns, columns, array.values.begin() + to * columns);
            }
        }
        return arrays;
    };
    const Run<double> one = llama_run(interleaved, parameters, ragged_batch());
    const Run<double> other = llama_run(half_split, reordered(parameters), ragged_batch());
    CHECK(other.loss == Approx(one.loss).epsilon(1e-13));
    const Arrays<double> expected = reordered(one.gradients);
    for (std::size_t p = 0; p < expected.size(); ++p)
        CHECK(relative_error(other.gradients[p].values, expected[p].values) < 1e-12);
}

TEST_CASE("llama reference: f32 stays within 1e-5 of f64") {
    for (const LlamaConfig& config : all_settings()) {
        Arrays<double> parameters = random_parameters(config);
        const Arrays<float> narrow = random_parameters<float>(config);
        for (std::size_t i = 0; i < parameters.size(); ++i)
            parameters[i].values.assign(narrow[i].values.begin(), narrow[i].values.end());
        const auto single = llama_run(config, narrow, ragged_batch());
        const auto exact = llama_run(config, parameters, ragged_batch());
        CHECK(single.loss == Approx(exact.loss).epsilon(1e-5));
        CHECK(relative_error(single.logits, exact.logits) < 1e-5);
        for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
            INFO(describe(config) << ", " << exact.gradients[i].name);
            CHECK(relative_error(single.gradients[i].values, exact.gradients[i].values) < 1e-5);
        }
    }
}

TEST_CASE("llama reference: a fault makes exactly the gradients wrong that it names, and no loss") {
    for (const LlamaConfig& config : all_settings()) {
        const Arrays<double> parameters = random_parameters(config);
        for (const Batch& batch : {ragged_batch(), random_batch({4})}) {
            const Run<double> right = llama_run(config, parameters, batch);
            for (const FaultInfo& fault : llama_faults()) {
                if (fault.id == "forward-no-norm") continue;
                const Run<double> run = llama_run(config, parameters, batch, fault.id);
                const std::vector<std::string> wrong = llama_wrong_gradients(config, fault.id);
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
}

TEST_CASE("llama reference: without norms in both passes, the gradients are right for another function") {
    const LlamaConfig config{.vocab = vocab};
    Arrays<double> parameters = random_parameters(config);
    const auto run = [&] { return llama_run(config, parameters, ragged_batch(), "forward-no-norm"); };
    const Run<double> without = run(), right = llama_run(config, parameters, ragged_batch());
    CHECK(relative_error(without.logits, right.logits) > 1e-2);
    std::mt19937_64 random(11);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        INFO(parameters[i].name);
        CHECK(relative_error(without.gradients[i].values, right.gradients[i].values) > 1e-3);
        if (parameters[i].name.ends_with("attention_norm"))
            CHECK(without.gradients[i].values == Values(parameters[i].values.size()));
        else
            CHECK(slope_error(
                      parameters[i].values, without.gradients[i].values, [&] { return run().loss; }, random) < 1e-7);
    }
}

TEST_CASE("llama reference: the wrong gradients of two layers are those of the catalogue of faults") {
    using Names = std::vector<std::string>;
    const LlamaConfig config;
    const Names all = llama_wrong_gradients(config, "mean-factor");
    const Names below{"token_embedding", "layers.0.attention_norm", "layers.0.wq", "layers.0.wk", "layers.0.wv",
                      "layers.0.wo",     "layers.0.ffn_norm",       "layers.0.w1", "layers.0.w2", "layers.0.w3"};
    const auto below_and = [&](const Names& names) {
        Names sum = below;
        for (const std::string& name : names) sum.push_back("layers.1." + name);
        return sum;
    };
    const Names all_but_head(all.begin(), all.end() - 2);
    CHECK(all.size() == 21);
    CHECK(llama_wrong_gradients(config, "llama-norm-factor") == all_but_head);
    CHECK(llama_wrong_gradients(config, "llama-norm-extra-weight") == all_but_head);
    CHECK(llama_wrong_gradients(config, "llama-ffn-norm-input") ==
          below_and({"attention_norm", "wq", "wk", "wv", "wo", "ffn_norm"}));
    CHECK(llama_wrong_gradients(config, "llama-frozen-norms") == Names{"layers.0.attention_norm", "layers.0.ffn_norm",
                                                                       "layers.1.attention_norm", "layers.1.ffn_norm",
                                                                       "final_norm"});
    CHECK(llama_wrong_gradients(config, "llama-rope-forward") == below_and({"attention_norm", "wq", "wk"}));
    CHECK(llama_wrong_gradients(config, "llama-rope-pairing") == below_and({"attention_norm", "wq", "wk"}));
    CHECK(llama_wrong_gradients({.heads = 8}, "llama-rope-pairing").empty());
    CHECK(llama_wrong_gradients(config, "overwritten") == below_and({"attention_norm"}));
    CHECK(llama_wrong_gradients(config, "transposed-weight") == Names{"layers.0.wo"});
    CHECK(llama_wrong_gradients(config, "double-count") == below_and({"attention_norm", "wq", "wk", "wv", "wo"}));
    CHECK(llama_wrong_gradients(config, "").empty());
}

TEST_CASE("llama reference: frozen norms are zero, mean-factor scales, transposed-weight transposes") {
    const LlamaConfig config{.vocab = vocab};
    const Arrays<double> parameters = random_parameters(config);
    const Arrays<double> right = llama_run(config, parameters, ragged_batch()).gradients;
    const Arrays<double> frozen = llama_run(config, parameters, ragged_batch(), "llama-frozen-norms").gradients;
    const Arrays<double> scaled = llama_run(config, parameters, ragged_batch(), "mean-factor").gradients;
    for (std::size_t p = 0; p < right.size(); ++p) {
        if (right[p].shape.size() == 1) CHECK(frozen[p].values == Values(right[p].values.size()));
        Values expected = right[p].values;
        for (double& value : expected) value *= 18.0 / 19;
        CHECK(relative_error(scaled[p].values, expected) < 1e-12);
    }
    const Arrays<double> transposed = llama_run(config, parameters, ragged_batch(), "transposed-weight").gradients;
    const Values &turned = values_of(transposed, "layers.0.wo"), &wo = values_of(right, "layers.0.wo");
    for (std::size_t i = 0; i < 16; ++i)
        for (std::size_t j = 0; j < 16; ++j) CHECK(turned[16 * i + j] == wo[16 * j + i]);
}

TEST_CASE("llama reference: ten steps of AdamW lower the loss; clipping by the squared norm takes another course") {
    const LlamaConfig config{.vocab = vocab, .kv_heads = 2};
    const auto losses = [&](ClipBy by) {
        Arrays<double> parameters = random_parameters(config, 0.2);
        Adam<double> adamw({.beta1 = 0.9, .beta2 = 0.999, .weight_decay = 0.01});
        Values course;
        for (int step = 0; step < 10; ++step) {
            Run<double> run = llama_run(config, parameters, ragged_batch());
            course.push_back(run.loss);
            clip_global_norm(run.gradients, 0.5, by);
            adamw.step(parameters, run.gradients, 0.01);
        }
        return course;
    };
    const Values right = losses(ClipBy::norm), wrong = losses(ClipBy::squared_norm);
    CHECK(std::ranges::is_sorted(right, std::greater<>{}));
    CHECK(right[0] == wrong[0]);
    CHECK(std::abs(right.back() - wrong.back()) > 1e-5);
}

TEST_CASE("llama reference: what does not fit is refused with a reason") {
    const LlamaConfig config{.vocab = vocab, .context = context};
    const Arrays<double> parameters = random_parameters(config);
    const auto run = [&](const LlamaConfig& settings, const Batch& batch) {
        llama_run(settings, llama_parameters<double>(settings), batch);
    };
    CHECK_THROWS_WITH(
        llama_run(config, parameters, ragged_batch(), "llama-typo"),
        Catch::Contains("llama: unknown fault 'llama-typo'; known are llama-norm-factor, ") &&
            Catch::EndsWith("overwritten, mean-factor, transposed-weight, double-count, forward-no-norm"));
    CHECK_THROWS_AS(llama_wrong_gradients(config, "llama-typo"), std::invalid_argument);
    CHECK_THROWS_WITH(llama_run({.vocab = 12}, parameters, random_batch({1})),
                      "llama: parameter 0 does not fit the settings, which want token_embedding [12, 16] there");
    CHECK_THROWS_WITH(llama_run({.vocab = vocab, .tied = true}, parameters, ragged_batch()),
                      "llama: classifier is one parameter too many");
    CHECK_THROWS_WITH(run({.heads = 16}, {}), "llama: dim must be an even multiple of heads: dim is 16, heads is 16");
    CHECK_THROWS_WITH(run({.kv_heads = 5}, {}), "llama: kv_heads must be 1 to heads: kv_heads is 5, heads is 4");
    CHECK_THROWS_WITH(run({.norm_epsilon = 0}, {}), "llama: rope_theta and norm_epsilon must be above 0");
    CHECK_THROWS_WITH(run(config, {.inputs = {1}, .targets = {13}, .offsets = {0, 1}}),
                      "llama: token 13 is outside the vocabulary of 13");
    CHECK_THROWS_WITH(run(config, {.inputs = {1}, .targets = {-1}, .offsets = {0, 1}}),
                      "llama: a batch needs one position with a target or more");
    CHECK_THROWS_WITH(run(config, random_batch({2, 10})), "llama: sequence 1 is longer than the context of 9");
}

}  // namespace test_llama_reference
