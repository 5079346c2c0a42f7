// The yardsticks must do the work that they stand for: the losses of ten training steps of each peer against the
// hand-written reference, or against another peer, from equal parameters. Exit status 1 where they differ.

#include <xtape/bench/peers/lrnn.h>
#include <xtape/bench/peers/microgpt.h>
#include <xtape/tests/reference/llama.hpp>
#include <xtape/tests/reference/optimizers.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_llama.hpp>
#endif

#include <algorithm>
#include <cmath>
#include <functional>
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

/// Values in f32, so that a reference in f64 and a peer in f32 start from the same numbers.
struct Parameters {
    reference::Arrays<double> arrays;
    std::vector<std::vector<float>> values;

    /// Normal values: those of norms around 1, others around 0.
    explicit Parameters(reference::Arrays<double> zeros) : arrays(std::move(zeros)) {
        std::mt19937 random(1);
        std::normal_distribution<float> normal;
        for (auto& [name, shape, wide] : arrays) {
            const float mean = shape.size() == 1 ? 1.0f : 0.0f;
            std::vector<float>& narrow = values.emplace_back();
            for (std::size_t i = 0; i < wide.size(); ++i) narrow.push_back(mean + 0.3f * normal(random));
            std::ranges::copy(narrow, wide.begin());
        }
    }
    std::vector<const float*> pointers() const {
        std::vector<const float*> all;
        for (const std::vector<float>& array : values) all.push_back(array.data());
        return all;
    }
};

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

    Parameters parameters(reference::llama_parameters<double>(config));
    peers::TorchLlama torch({.vocab = config.vocab,
                             .dim = config.dim,
                             .layers = config.layers,
                             .heads = config.heads,
                             .kv_heads = config.kv_heads,
                             .ffn = config.ffn,
                             .context = config.context,
                             .bf16 = bf16},
                            parameters.pointers());
    reference::Adam<double> adam({.beta1 = 0.9, .beta2 = 0.999, .weight_decay = 0.01});
    const auto expected = [&] {
        auto run = reference::llama_run<double>(config, parameters.arrays, batch);
        reference::clip_global_norm(run.gradients, 1.0);
        adam.step(parameters.arrays, run.gradients, learning_rate);
        return run.loss;
    };
    const auto step = [&] {
        return torch.step(batch.inputs.data(), batch.targets.data(), sequences, length, learning_rate);
    };
    return compare_losses(fmt::format("llama, {} key heads, PyTorch {}", kv_heads, bf16 ? "bf16" : "f32"), step,
                          expected, tolerance);
}

#endif

bool check_all() {
    bool good = report("microgpt, C", microgpt_check() == 0, "gradients by central differences, Adam");
    good &= report("lrnn, C", lrnn_check() == 0, "gradients by central differences, clip, Adam");
#ifdef XTAPE_HAS_TORCH
    good &= check_llama(4, false, 1e-5);
    good &= check_llama(2, false, 1e-5);
    good &= check_llama(2, true, 3e-2);
#endif
    return good;
}

}  // namespace
}  // namespace xtape::bench

int main() { return xtape::bench::check_all() ? 0 : 1; }
