// The yardsticks must do the work that they stand for: the losses of ten training steps of each peer against the
// hand-written reference, from equal parameters. Exit status 1 where they differ.

#include <xtape/bench/peers/lrnn.h>
#include <xtape/bench/peers/microgpt.h>
#include <xtape/tests/reference/gate.hpp>
#include <xtape/tests/reference/llama.hpp>
#include <xtape/tests/reference/lrnn.hpp>
#include <xtape/tests/reference/microgpt.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_gate.hpp>
#include <xtape/bench/peers/torch_llama.hpp>
#include <xtape/bench/peers/torch_lrnn.hpp>
#include <xtape/bench/peers/torch_microgpt.hpp>
#endif

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace xtape::bench {
namespace {

constexpr int steps = 10;
constexpr float learning_rate = 1.0f / 256;

bool report(const std::string& what, bool good, const std::string& found) {
    fmt::print("{} {}: {}\n", good ? "good" : "BAD ", what, found);
    return good;
}

/// Takes ten steps of both and compares their losses, each relative to the expected one.
bool compare_losses(const std::string& what, const std::function<double()>& step,
                    const std::function<double()>& expected_step, double tolerance) {
    double worst = 0;
    for (int i = 0; i < steps; ++i) {
        const double expected = expected_step();
        const double error = std::abs(step() - expected) / std::abs(expected);
        worst = error <= worst ? worst : error;  // a NaN stays
    }
    return report(what, worst <= tolerance, fmt::format("losses of {} steps differ by {:.1e} or less", steps, worst));
}

using Floats = std::vector<std::vector<float>>;

/// Normal values of deviation 0.3 around `mean`.
std::vector<float> drawn_values(std::size_t count, float mean, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(mean, 0.3f);
    std::vector<float> values(count);
    std::ranges::generate(values, [&] { return normal(random); });
    return values;
}

std::vector<int> drawn_tokens(int count, int vocab, unsigned seed = 2) {
    std::mt19937 random(seed);
    std::vector<int> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(static_cast<int>(random() % static_cast<unsigned>(vocab)));
    return tokens;
}

/// Fills `arrays`: norms with values around 1, others around 0. In f32, so that a reference in f64 and a peer in f32
/// start from the same numbers.
Floats fill(reference::Arrays<double>& arrays) {
    Floats all;
    for (auto& [name, shape, values] : arrays) {
        const auto seed = static_cast<unsigned>(all.size());
        all.push_back(drawn_values(values.size(), shape.size() == 1 ? 1.0f : 0.0f, seed));
        std::ranges::copy(all.back(), values.begin());
    }
    return all;
}

using LrnnModel = std::unique_ptr<Lrnn, decltype(&lrnn_destroy)>;

LrnnModel make_lrnn(const LrnnConfig& config, const Floats& values) {
    std::vector<const float*> pointers;
    for (const std::vector<float>& array : values) pointers.push_back(array.data());
    return {lrnn_create(config, pointers.data()), lrnn_destroy};
}

constexpr LrnnConfig lrnn_config{
    .vocab = 29, .dim = 16, .layers = 2, .heads = 2, .context = 12, .rank = 3, .ffn = 20, .slots = 3};
const reference::LrnnConfig lrnn_reference{
    .vocab = 29, .layers = 2, .dim = 16, .heads = 2, .decay_rank = 3, .ffn = 20, .slots = 3};

/// The targets of a window: its next tokens, and none for the last.
std::vector<int> next_tokens(const std::vector<int>& tokens) {
    std::vector<int> targets(tokens.begin() + 1, tokens.end());
    targets.push_back(-1);
    return targets;
}

/// An epoch takes the steps of its windows, the last of them shorter, and none where the loss overflows.
bool check_lrnn_epoch() {
    constexpr int offset = 1;
    const std::vector<int> tokens = drawn_tokens(lrnn_config.context + 5, lrnn_config.vocab);
    const auto count = static_cast<int>(tokens.size());
    reference::Arrays<double> parameters = reference::lrnn_parameters<double>(lrnn_reference);
    Floats values = fill(parameters);
    const LrnnModel by_epoch = make_lrnn(lrnn_config, values), by_step = make_lrnn(lrnn_config, values);
    int skipped = 0;
    const float loss = lrnn_epoch(by_epoch.get(), tokens.data(), count, offset, learning_rate, &skipped);
    float sum = 0;
    for (int start = offset; start < count; start += lrnn_config.context) {
        const auto end = tokens.begin() + std::min(start + lrnn_config.context, count);
        const std::vector<int> window(tokens.begin() + start, end);
        sum += lrnn_step(by_step.get(), window.data(), next_tokens(window).data(), static_cast<int>(window.size()),
                         learning_rate);
    }
    const bool same = skipped == 0 && std::abs(loss - sum / 2) <= 1e-6f * loss;

    values.back().assign(values.back().size(), 3e38f);
    const LrnnModel overflowing = make_lrnn(lrnn_config, values);
    lrnn_epoch(overflowing.get(), tokens.data(), count, offset, learning_rate, &skipped);
    std::vector<float> embedding(values.front().size());
    lrnn_parameter(overflowing.get(), 0, embedding.data());
    return report("lrnn, C, an epoch", same && skipped == 2 && embedding == values.front(),
                  fmt::format("loss {:.6f} as step by step; {} windows skipped where it overflows", loss, skipped));
}

/// Ten steps of a peer that starts from the values of `parameters`, on a window, against the reference's.
bool check_lrnn(const std::string& what,
                const std::function<float(const std::vector<int>&, const std::vector<int>&)>& step,
                reference::Arrays<double>& parameters) {
    const std::vector<int> inputs = drawn_tokens(lrnn_config.context, lrnn_config.vocab, 2);
    const std::vector<int> targets = drawn_tokens(lrnn_config.context, lrnn_config.vocab, 3);
    reference::Adam<double> adam({.beta1 = 0.9, .beta2 = 0.999});
    const auto expected = [&] {
        auto run = reference::lrnn_run<double>(lrnn_reference, parameters, {inputs, targets, {0, lrnn_config.context}});
        reference::clip_global_norm(run.gradients, 5.0);
        adam.step(parameters, run.gradients, learning_rate);
        return run.loss;
    };
    return compare_losses(
        what, [&] { return step(inputs, targets); }, expected, 1e-5);
}

bool check_lrnn_c() {
    reference::Arrays<double> parameters = reference::lrnn_parameters<double>(lrnn_reference);
    const LrnnModel model = make_lrnn(lrnn_config, fill(parameters));
    const auto step = [&](const std::vector<int>& inputs, const std::vector<int>& targets) {
        return lrnn_step(model.get(), inputs.data(), targets.data(), lrnn_config.context, learning_rate);
    };
    return check_lrnn("lrnn, C", step, parameters);
}

#ifdef XTAPE_HAS_TORCH

std::vector<std::span<const float>> views(const Floats& arrays) { return {arrays.begin(), arrays.end()}; }

bool check_microgpt() {
    constexpr int rows = 30;
    const reference::MicrogptConfig config;
    const reference::Batch batch{
        drawn_tokens(rows, config.vocab, 2), drawn_tokens(rows, config.vocab, 3), {0, 5, 6, 14, rows}};
    reference::Arrays<double> parameters = reference::microgpt_parameters<double>(config);
    const Floats values = fill(parameters);
    const float* pointers[MICROGPT_TENSORS];
    std::ranges::transform(values, pointers, [](const std::vector<float>& array) { return array.data(); });
    peers::TorchMicrogpt torch(config.dim, pointers);
    reference::Adam<double> adam;
    const auto expected = [&] {
        const auto run = reference::microgpt_run<double>(config, parameters, batch);
        adam.step(parameters, run.gradients, learning_rate);
        return run.loss;
    };
    const auto step = [&] {
        const auto& [inputs, targets, offsets] = batch;
        return torch.step(inputs.data(), targets.data(), offsets.data(), static_cast<int>(offsets.size()) - 1,
                          learning_rate);
    };
    return compare_losses("microgpt, PyTorch", step, expected, 1e-5);
}

bool check_llama(int kv_heads, bool bf16, double tolerance) {
    constexpr int sequences = 3, length = 7;
    const reference::LlamaConfig config{.vocab = 29, .dim = 16, .heads = 4, .kv_heads = kv_heads, .context = 9};
    reference::Batch batch{drawn_tokens(sequences * length, config.vocab), {}, {0, length, 2 * length, 3 * length}};
    for (std::size_t i = 0; i < batch.inputs.size(); ++i)
        batch.targets.push_back((i + 1) % length == 0 ? -1 : batch.inputs[i + 1]);

    reference::Arrays<double> parameters = reference::llama_parameters<double>(config);
    const Floats values = fill(parameters);
    peers::TorchLlama torch({.vocab = config.vocab,
                             .dim = config.dim,
                             .layers = config.layers,
                             .heads = config.heads,
                             .kv_heads = config.kv_heads,
                             .ffn = config.ffn,
                             .context = config.context,
                             .bf16 = bf16},
                            views(values));
    reference::Adam<double> adam({.beta1 = 0.9, .beta2 = 0.999, .weight_decay = 0.01});
    const auto expected = [&] {
        auto run = reference::llama_run<double>(config, parameters, batch);
        reference::clip_global_norm(run.gradients, 1.0);
        adam.step(parameters, run.gradients, learning_rate);
        return run.loss;
    };
    const auto step = [&] {
        return torch.step(batch.inputs.data(), batch.targets.data(), sequences, length, learning_rate);
    };
    return compare_losses(fmt::format("llama, {} key heads, PyTorch {}", kv_heads, bf16 ? "bf16" : "f32"), step,
                          expected, tolerance);
}

bool check_lrnn_torch() {
    reference::Arrays<double> parameters = reference::lrnn_parameters<double>(lrnn_reference);
    const Floats values = fill(parameters);
    const LrnnConfig& c = lrnn_config;
    peers::TorchLrnn torch({c.vocab, c.dim, c.layers, c.heads, c.rank, c.ffn, c.slots}, views(values));
    const auto step = [&](const std::vector<int>& inputs, const std::vector<int>& targets) {
        return torch.step(inputs.data(), targets.data(), c.context, learning_rate);
    };
    return check_lrnn("lrnn, PyTorch", step, parameters);
}

bool check_gate() {
    using enum reference::GateKind;
    const reference::GateConfig config{.vocab = 29, .dim = 16, .heads = 4, .ffn = 24, .context = 9};
    const reference::GateBatch batch{
        drawn_tokens(23, config.vocab),
        {0, 5, 6, 15, 23},
        {{next_token, 3, 0, 2}, {decision, 0, 1, 4}, {decision, 0, 0, 1}, {next_token, 7, 0, 0.5}}};
    const peers::TorchGateBatch torch_batch{batch.tokens, batch.offsets, {3, -1, -1, 7}, {0, 1, 0, 0}, {2, 4, 1, 0.5f}};
    reference::Arrays<double> parameters = reference::gate_parameters<double>(config);
    const Floats values = fill(parameters);
    peers::TorchGate torch({.vocab = config.vocab,
                            .dim = config.dim,
                            .layers = config.layers,
                            .heads = config.heads,
                            .ffn = config.ffn,
                            .context = config.context},
                           views(values));
    reference::Adam<double> adam({.beta1 = 0.9, .beta2 = 0.999, .weight_decay = 0.01});
    const auto expected = [&] {
        const auto run = reference::gate_run<double>(config, parameters, batch);
        adam.step(parameters, run.gradients, learning_rate);
        return run.loss;
    };
    return compare_losses(
        "gate, PyTorch", [&] { return torch.step(torch_batch, learning_rate); }, expected, 1e-5);
}

#endif

bool check_all() {
    bool good = report("microgpt, C", microgpt_check() == 0, "gradients by central differences, Adam");
    good &= report("lrnn, C", lrnn_check() == 0, "gradients by central differences, clip, Adam");
    good &= check_lrnn_c();
    good &= check_lrnn_epoch();
#ifdef XTAPE_HAS_TORCH
    good &= check_microgpt();
    good &= check_llama(4, false, 1e-5);
    good &= check_llama(2, false, 1e-5);
    good &= check_llama(2, true, 1e-2);
    good &= check_lrnn_torch();
    good &= check_gate();
#endif
    return good;
}

}  // namespace
}  // namespace xtape::bench

int main() { return xtape::bench::check_all() ? 0 : 1; }
