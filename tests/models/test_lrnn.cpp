#include <xtape/engine/buffer.hpp>
#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/models/lrnn/lrnn.hpp>
#include <xtape/models/lrnn/state.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/nn/temporary_folder.hpp>

#include <cmath>

namespace test_lrnn {

using namespace xtape;
using Catch::Matchers::Contains;
using models::Batch;
using models::Lrnn;
using models::LrnnConfig;

namespace {

using Sequences = std::vector<std::vector<std::int32_t>>;

constexpr LrnnConfig tiny{
    .vocab = 11, .layers = 2, .dim = 12, .heads = 2, .decay_rank = 3, .ffn_multiplier = 1.5f, .slots = 3};

std::vector<std::int32_t> draw(std::size_t size, int vocab, std::uint64_t seed) {
    nn::Rng rng(seed);
    std::vector<std::int32_t> tokens(size);
    for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(rng.below(vocab));
    return tokens;
}

Sequences draw_all(std::initializer_list<std::size_t> sizes, int vocab) {
    Sequences sequences;
    for (const std::size_t size : sizes) sequences.push_back(draw(size, vocab, size));
    return sequences;
}

/// Moves every parameter away from its initial value, so that nothing is near zero.
template <class T> Lrnn<T> stirred(const LrnnConfig& config, std::uint64_t seed, double spread = 0.3) {
    auto model = nn::build<Lrnn<T>>(config, seed);
    nn::Rng rng(seed + 1);
    nn::for_each_parameter(model, [&](std::string_view, Parameter<T>& parameter) {
        for (T& value : parameter.write()) value += static_cast<T>(spread * rng.normal());
    });
    return model;
}

template <class T> double largest_difference(const Tensor<T>& a, const Tensor<T>& b) {
    REQUIRE(a.shape() == b.shape());
    double difference = 0;
    for (std::size_t i = 0; i < a.values().size(); ++i) {
        const double here = std::abs(static_cast<double>(a.values()[i]) - static_cast<double>(b.values()[i]));
        if (!(here <= difference)) difference = here;
    }
    return difference;
}

template <class T> double recurrent_difference(const Lrnn<T>& model, std::size_t tokens) {
    const auto sequence = draw(tokens + 1, model.config().vocab, 5);
    const Batch batch = models::pack(std::span(&sequence, 1));
    const Tensor<T> all = model(batch);
    auto state = model.start();
    double difference = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
        const auto row = slice(all, 0, static_cast<Index>(t), static_cast<Index>(t) + 1);
        difference = std::max(difference, largest_difference(model.next(sequence[t], state), row));
    }
    return difference;
}

}  // namespace

TEST_CASE("lrnn: the parameters have the names, order and sizes of the specification") {
    const std::vector<std::string> of_layer{"ln1.weight",
                                            "ln1.bias",
                                            "ln2.weight",
                                            "ln2.bias",
                                            "time_shift_w1",
                                            "time_shift_w2",
                                            "time_shift_w4",
                                            "time_mix_r",
                                            "time_mix_k",
                                            "time_mix_v",
                                            "decay_lora_a",
                                            "decay_lora_b",
                                            "decay_base",
                                            "time_first",
                                            "Wr",
                                            "Wk",
                                            "Wv",
                                            "Wo",
                                            "channel_mix",
                                            "ffn_gate",
                                            "ffn_up",
                                            "ffn_down",
                                            "mem_gate_write",
                                            "mem_gate_read"};
    std::vector<std::string> expected{"emb", "ln0.weight", "ln0.bias"};
    for (const char* layer : {"layers.0.", "layers.1."})
        for (const std::string& name : of_layer) expected.push_back(layer + name);
    expected.insert(expected.end(), {"ln_out.weight", "ln_out.bias", "head"});
    const auto model = nn::build<Lrnn<float>>(tiny, 1);
    std::vector<std::string> found;
    for (const auto& named : nn::parameters(model)) found.push_back(named.name);
    CHECK(found == expected);
    CHECK(nn::count(model) == models::parameter_count(tiny));
}

TEST_CASE("lrnn: the width of the FFN is truncated from the float product") {
    CHECK(LrnnConfig{.dim = 100, .ffn_multiplier = 2.3f}.ffn() == 230);
    CHECK(LrnnConfig{.dim = 64, .ffn_multiplier = 1.99f}.ffn() == 127);
}

TEST_CASE("lrnn: sizes grow with the corpus") {
    const auto sizes = [](double bytes) {
        const LrnnConfig c = models::automatic_sizes(bytes);
        return std::vector<double>{static_cast<double>(c.layers),     static_cast<double>(c.dim),
                                   static_cast<double>(c.heads),      static_cast<double>(c.context),
                                   static_cast<double>(c.decay_rank), static_cast<double>(c.ffn_multiplier),
                                   static_cast<double>(c.slots)};
    };
    CHECK(sizes(4999) == std::vector<double>{2, 64, 2, 64, 4, 1.5, 2});
    CHECK(sizes(5000) == std::vector<double>{4, 128, 4, 128, 8, 2, 4});
    CHECK(sizes(50000) == std::vector<double>{6, 256, 8, 256, 16, 2.5, 4});
    CHECK(sizes(500000) == std::vector<double>{8, 384, 12, 512, 32, 3, 8});
}

TEST_CASE("lrnn: initial values are those of the specification") {
    const auto model = nn::build<Lrnn<double>>({.vocab = 50, .layers = 2, .dim = 64, .heads = 2}, 1);
    const auto value = [&](const std::string& name, std::size_t i) {
        for (const auto& named : nn::parameters(model))
            if (named.name == name) return named.parameter->values()[i];
        FAIL(name);
        return 0.0;
    };
    CHECK(value("layers.1.decay_base", 0) == Approx(1.4));
    CHECK(value("layers.1.decay_base", 63) == Approx(1.2));
    CHECK(value("layers.1.time_first", 0) == Approx(-2.7));
    CHECK(value("layers.1.time_first", 63) == Approx(-2.2));
    CHECK(value("layers.0.channel_mix", 5) == 0.5);
    const auto untrained = draw(200, 50, 3);
    CHECK(model.loss(models::pack(std::span(&untrained, 1))).item() == Approx(std::log(50)).margin(0.1));
}

TEST_CASE("lrnn: token by token gives the logits of all at once, over 1,000 tokens") {
    CHECK(recurrent_difference(nn::build<Lrnn<float>>(tiny, 2), 1000) < 1e-5);
    const LrnnConfig wide{.vocab = 60, .layers = 4, .dim = 128, .heads = 4, .decay_rank = 8};
    CHECK(recurrent_difference(nn::build<Lrnn<float>>(wide, 2), 1000) < 1e-5);
    CHECK(recurrent_difference(stirred<double>(tiny, 2), 100) < 1e-12);
}

TEST_CASE("lrnn: a token takes as much memory after 3,000 tokens as after 10") {
    const auto model = nn::build<Lrnn<float>>(tiny, 2);
    auto state = model.start();
    const auto peak_of = [&](std::size_t tokens) {
        reset_pool_peak();
        for (const std::int32_t token : draw(tokens, tiny.vocab, 1)) model.next(token, state);
        return pool_statistics().peak_bytes;
    };
    peak_of(10);
    const auto early = peak_of(10);
    CHECK(peak_of(3000) == early);
}

TEST_CASE("lrnn: the sequences of a ragged batch do not see each other") {
    const auto model = stirred<double>(tiny, 3);
    for (const Sequences& sequences : {draw_all({2, 9, 6, 30, 3}, tiny.vocab), draw_all({8, 8, 8}, tiny.vocab)}) {
        std::vector<Tensor<double>> alone;
        for (const auto& sequence : sequences) alone.push_back(model(models::pack(std::span(&sequence, 1))));
        CHECK(largest_difference(model(models::pack(sequences)), concat<double>(alone, 0)) < 1e-13);
    }
}

TEST_CASE("lrnn: the gradient of every parameter agrees with finite differences") {
    LrnnConfig config = tiny;
    config.label_smoothing = 0.1;
    auto model = stirred<double>(config, 4);
    std::vector<NamedParameter> parameters;
    for (const auto& [name, parameter] : nn::parameters(model)) parameters.push_back({name, parameter});
    for (const Sequences& sequences : {draw_all({7, 2, 12}, tiny.vocab), draw_all({6, 6}, tiny.vocab)}) {
        const Batch batch = models::pack(sequences);
        CHECK(check_parameters([&] { return model.loss(batch); }, parameters, {.step = 1.0 / 4096}));
    }
}

TEST_CASE("lrnn: label smoothing moves the loss towards the mean over the vocabulary") {
    LrnnConfig config = tiny;
    config.label_smoothing = 0.1;
    const auto model = stirred<double>(config, 6);
    const Batch batch = models::pack(draw_all({20}, tiny.vocab));
    const Tensor<double> log_p = log_softmax(model(batch));
    const double plain = cross_entropy(model(batch), batch.targets).item();
    CHECK(model.loss(batch).item() == Approx(0.9 * plain - 0.1 * mean(log_p).item()).epsilon(1e-12));
}

TEST_CASE("lrnn: a state that was saved goes on with the same bits") {
    const TemporaryFolder folder;
    const auto model = nn::build<Lrnn<float>>(tiny, 2);
    models::LrnnPause<float> pause{model.start(), 7};
    for (const std::int32_t token : {1, 2, 3, 4, 5, 6}) model.next(token, pause.state);
    models::save_pause(folder / "state.safetensors", pause);
    auto resumed = models::load_pause(folder / "state.safetensors", model);
    CHECK(resumed.token == 7);
    CHECK(largest_difference(model.next(7, resumed.state), model.next(7, pause.state)) == 0);
}

TEST_CASE("lrnn: a state of another model is refused") {
    const TemporaryFolder folder;
    const auto model = nn::build<Lrnn<float>>(tiny, 2);
    models::save_pause<float>(folder / "state", {model.start(), 7});
    LrnnConfig other = tiny;
    other.slots = 2;
    CHECK_THROWS_WITH(models::load_pause(folder / "state", nn::build<Lrnn<float>>(other, 2)),
                      Contains("layers.0.numerator is [3, 12], the model wants [2, 12]"));
    other = tiny;
    other.layers = 1;
    CHECK_THROWS_WITH(models::load_pause(folder / "state", nn::build<Lrnn<float>>(other, 2)),
                      Contains("8 tensors, the state of this model has 4"));
    other = tiny;
    other.vocab = 7;
    CHECK_THROWS_WITH(models::load_pause(folder / "state", nn::build<Lrnn<float>>(other, 2)),
                      Contains("the state names no last token of the vocabulary of 7"));
    models::LrnnState<float> none;
    CHECK_THROWS_WITH(model.next(0, none), "lrnn: the state is of 0 layers, the model of 2; begin with start()");
}

TEST_CASE("lrnn: sizes that do not fit are refused in one sentence") {
    CHECK_THROWS_WITH((LrnnConfig{.dim = 18, .heads = 4}.checked()),
                      "lrnn: heads must divide dim: heads is 4, dim is 18");
    CHECK_THROWS_WITH((LrnnConfig{.layers = 0}.checked()), "lrnn: layers must be from 1 to 4096: it is 0");
    CHECK_THROWS_WITH((LrnnConfig{.ffn_multiplier = -1}.checked()),
                      "lrnn: ffn_multiplier must be above 0 and at most 1024: it is -1");
    CHECK_THROWS_WITH((LrnnConfig{.label_smoothing = 1}.checked()),
                      "lrnn: label_smoothing must be at least 0 and below 1: it is 1");
}

}  // namespace test_lrnn
