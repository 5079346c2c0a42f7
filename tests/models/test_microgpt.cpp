#include "../catch.hpp"

#include <xtape/engine/tape.hpp>
#include <xtape/models/microgpt/microgpt.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/tests/reference/microgpt.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#include <cmath>

namespace test_microgpt {

using namespace xtape;
using models::Batch;
using models::Microgpt;
using models::MicrogptConfig;

namespace {

using Sequences = std::vector<std::vector<std::int32_t>>;

const Sequences three_names{{0, 5, 13, 13, 1, 0}, {0, 1, 0}, {0, 12, 9, 1, 13, 0}};

template <class T> reference::Arrays<T> arrays_of(const Microgpt<T>& model) {
    reference::Arrays<T> arrays;
    for (const auto& [name, parameter] : nn::parameters(model)) {
        const std::vector<int> shape(parameter->shape().begin(), parameter->shape().end());
        arrays.push_back({name, shape, {parameter->values().begin(), parameter->values().end()}});
    }
    return arrays;
}

reference::Batch plain(const Batch& batch) {
    const auto copy = [](const Indices& x) { return std::vector<int>(x.values().begin(), x.values().end()); };
    return {copy(batch.tokens), copy(batch.targets), copy(batch.offsets)};
}

}  // namespace

TEST_CASE("microgpt: 4,192 parameters by default, in the order and with the names of the reference") {
    const auto model = nn::build<Microgpt<float>>(MicrogptConfig{}, 1);
    REQUIRE(nn::count(model) == 4192);
    REQUIRE(models::parameter_count({}) == 4192);
    const auto expected = reference::microgpt_parameters<float>({});
    const auto found = nn::parameters(model);
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].name == expected[i].name);
        CHECK(found[i].parameter->size() == static_cast<Index>(expected[i].values.size()));
    }
}

TEST_CASE("microgpt: an untrained model is near chance") {
    const auto model = nn::build<Microgpt<float>>(MicrogptConfig{}, 1);
    CHECK(std::abs(model.loss(models::pack(three_names)).item() - std::log(27.0f)) < 0.1f);
}

TEST_CASE("microgpt: the first ten losses of a training are those of the reference") {
    auto model = nn::build<Microgpt<double>>(MicrogptConfig{.layers = 2}, 3);
    const Batch batch = models::pack(three_names);
    const reference::MicrogptConfig config{.layers = 2};
    reference::Arrays<double> parameters = arrays_of(model);
    reference::Adam<double> reference_adam;
    Adam<double> adam(model, {.lr = 0.01, .beta1 = 0.85, .beta2 = 0.99});
    for (int step = 0; step < 10; ++step) {
        Tape<double> tape;
        const Tensor<double> loss = model.loss(batch);
        tape.backward(loss);
        adam.step();
        const auto run = reference::microgpt_run<double>(config, parameters, plain(batch));
        reference_adam.step(parameters, run.gradients, 0.01);
        CHECK(std::abs(loss.item() - run.loss) < 1e-12);
    }
}

TEST_CASE("microgpt: the loss of packed names is the mean over their positions") {
    const auto model = nn::build<Microgpt<double>>(MicrogptConfig{.norm = MicrogptConfig::Norm::full}, 2);
    double total = 0, positions = 0;
    for (const auto& name : three_names) {
        const Batch alone = models::pack(std::span(&name, 1));
        const auto n = static_cast<double>(alone.tokens.size());
        total += model.loss(alone).item() * n;
        positions += n;
    }
    CHECK(std::abs(model.loss(models::pack(three_names)).item() - total / positions) < 1e-13);
}

TEST_CASE("microgpt: a position at a time gives the logits of all at once") {
    for (const auto norm : {MicrogptConfig::Norm::none, MicrogptConfig::Norm::attention, MicrogptConfig::Norm::full}) {
        const auto model = nn::build<Microgpt<double>>(MicrogptConfig{.layers = 2, .norm = norm}, 2);
        const Batch batch = models::pack(std::span(three_names).first(1));
        const Tensor<double> all = model(batch);
        models::MicrogptCache<double> cache;
        for (Index t = 0; t < batch.tokens.size(); ++t) {
            const Tensor<double> one = model.next(batch.tokens.values()[static_cast<std::size_t>(t)], cache);
            for (Index v = 0; v < 27; ++v) CHECK(std::abs(one.data()[v] - all.data()[t * 27 + v]) < 1e-12);
        }
    }
}

TEST_CASE("microgpt: a float and a double model of one seed agree") {
    const auto wide = nn::build<Microgpt<double>>(MicrogptConfig{}, 5);
    const auto narrow = nn::build<Microgpt<float>>(MicrogptConfig{}, 5);
    const Batch batch = models::pack(three_names);
    CHECK(std::abs(static_cast<double>(narrow.loss(batch).item()) - wide.loss(batch).item()) < 1e-6);
}

TEST_CASE("microgpt: sizes that do not fit are refused in one sentence") {
    nn::Rng rng(1);
    CHECK_THROWS_WITH(Microgpt<float>({.dim = 18, .heads = 4}, rng),
                      "microgpt: heads must divide dim: heads is 4, dim is 18");
    CHECK_THROWS_WITH(Microgpt<float>({.layers = 0}, rng), "microgpt: layers must be at least 1: it is 0");
    const auto model = nn::build<Microgpt<float>>(MicrogptConfig{.block = 2}, 1);
    models::MicrogptCache<float> cache;
    model.next(0, cache);
    model.next(1, cache);
    CHECK_THROWS_WITH(model.next(2, cache), "microgpt: position 2 is beyond the block of 2");
    CHECK_THROWS_WITH(models::pack(Sequences{{0}}), "pack: a sequence of 1 tokens has nothing to predict");
}

}  // namespace test_microgpt
