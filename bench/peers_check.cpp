// The yardsticks must do the work that they stand for: the losses of ten training steps of each peer against the
// hand-written reference, or against another peer, from equal parameters. Exit status 1 where they differ.

#include <xtape/bench/peers/lrnn.h>
#include <xtape/bench/peers/microgpt.h>
#include <xtape/tests/reference/llama.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_gate.hpp>
#include <xtape/bench/peers/torch_llama.hpp>
#include <xtape/bench/peers/torch_lrnn.hpp>
#endif

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace xtape::bench {
namespace {

constexpr int steps = 10;
constexpr double learning_rate = 3e-3;

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

#ifdef XTAPE_HAS_TORCH

using Floats = std::vector<std::vector<float>>;

/// Normal values of deviation 0.3 around `mean`.
std::vector<float> drawn_values(std::size_t count, float mean, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(mean, 0.3f);
    std::vector<float> values(count);
    std::ranges::generate(values, [&] { return normal(random); });
    return values;
}

std::vector<const float*> pointers(const Floats& arrays) {
    std::vector<const float*> all;
    for (const std::vector<float>& array : arrays) all.push_back(array.data());
    return all;
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

std::vector<int> drawn_tokens(int count, int vocab) {
    std::mt19937 random(2);
    std::vector<int> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(static_cast<int>(random() % static_cast<unsigned>(vocab)));
    return tokens;
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
                            pointers(values));
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

bool check_lrnn() {
    constexpr int length = 12;
    const LrnnConfig config{29, 16, 2, 2, length, 3, 20, 3};
    Floats values;
    for (int i = 0; i < lrnn_tensors(config); ++i) {
        const std::size_t count = lrnn_elements(config, i);
        const float mean = count == static_cast<std::size_t>(config.dim) ? 1.0f : 0.0f;
        values.push_back(drawn_values(count, mean, static_cast<unsigned>(i)));
    }
    const std::vector<int> inputs = drawn_tokens(length, config.vocab);
    std::vector<int> targets(inputs.begin() + 1, inputs.end());
    targets.push_back(-1);
    const std::unique_ptr<Lrnn, decltype(&lrnn_destroy)> c(lrnn_create(config, pointers(values).data()), lrnn_destroy);
    peers::TorchLrnn torch(
        {config.vocab, config.dim, config.layers, config.heads, config.rank, config.ffn, config.slots},
        pointers(values));
    const auto step = [&] { return torch.step(inputs.data(), targets.data(), length, learning_rate); };
    const auto c_step = [&] {
        return lrnn_step(c.get(), inputs.data(), targets.data(), length, static_cast<float>(learning_rate));
    };
    return compare_losses("lrnn, PyTorch against C", step, c_step, 1e-5);
}

/// Example `i` of a batch alone.
peers::TorchGateBatch example(const peers::TorchGateBatch& batch, std::size_t i) {
    const auto first = batch.tokens.begin();
    const std::vector<int> tokens(first + batch.offsets[i], first + batch.offsets[i + 1]);
    return {tokens, {0, static_cast<int>(tokens.size())}, {batch.next[i]}, {batch.labels[i]}, {batch.weights[i]}};
}

/// Padding and the mixing of both kinds of example must not show: a ragged batch is the mean of its examples.
bool check_gate() {
    const peers::TorchGateConfig config{.vocab = 29, .dim = 16, .layers = 2, .heads = 4, .ffn = 24, .context = 9};
    const int d = config.dim, f = config.ffn;
    std::vector<int> sizes{config.vocab * d, config.context * d};
    for (int layer = 0; layer < config.layers; ++layer)
        sizes.insert(sizes.end(), {d, d, d * d, d, d * d, d, d * d, d, d * d, d, d, d, f * d, f, d * f, d});
    sizes.insert(sizes.end(), {d, d, config.vocab * d, config.vocab, d, 1});
    Floats values;
    for (const int size : sizes)
        values.push_back(drawn_values(static_cast<std::size_t>(size), 0, static_cast<unsigned>(values.size())));
    const peers::TorchGateBatch batch{
        drawn_tokens(23, config.vocab), {0, 5, 6, 15, 23}, {3, -1, -1, 7}, {0, 1, 0, 0}, {2, 4, 1, 0.5f}};
    peers::TorchGate torch(config, pointers(values));
    const auto mean = [&] {
        double sum = 0;
        for (std::size_t i = 0; i < batch.next.size(); ++i) sum += torch.step(example(batch, i), 0);
        return sum / static_cast<double>(batch.next.size());
    };
    return compare_losses(
        "gate, PyTorch, ragged against example by example", [&] { return torch.step(batch, 0); }, mean, 1e-5);
}

#endif

bool check_all() {
    bool good = report("microgpt, C", microgpt_check() == 0, "gradients by central differences, Adam");
    good &= report("lrnn, C", lrnn_check() == 0, "gradients by central differences, clip, Adam");
#ifdef XTAPE_HAS_TORCH
    good &= check_llama(4, false, 1e-5);
    good &= check_llama(2, false, 1e-5);
    good &= check_llama(2, true, 3e-2);
    good &= check_lrnn();
    good &= check_gate();
#endif
    return good;
}

}  // namespace
}  // namespace xtape::bench

int main() { return xtape::bench::check_all() ? 0 : 1; }
