#pragma once
// The gate: its training step beside PyTorch's, 2 threads, and how fast it predicts while it learns.

#include <xtape/bench/race.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/models/gate/live.hpp>
#include <xtape/nn/module.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_gate.hpp>
#endif

#include <atomic>
#include <thread>

namespace xtape::bench {

/// `count` examples of `length` random tokens, one in four of which is a next token.
inline std::vector<models::GateExample> drawn_examples(int count, int length, int vocab, std::uint64_t seed) {
    nn::Rng rng(seed);
    const auto token = [&] { return static_cast<std::int32_t>(rng.below(vocab)); };
    std::vector<models::GateExample> examples;
    for (int i = 0; i < count; ++i) {
        models::GateExample& example = examples.emplace_back();
        for (int t = 0; t < length; ++t) example.tokens.push_back(token());
        if (i % 4 == 0) example.next = token();
        example.label = static_cast<double>(rng.below(2));
    }
    return examples;
}

inline constexpr models::GateConfig gate_sizes{.vocab = 256, .context = 64};

inline void race_gate() {
    constexpr int count = 32, length = 64;
    const auto examples = drawn_examples(count, length, gate_sizes.vocab, 1);
    const models::GateBatch batch = models::pack(examples);
    auto gate = nn::build<models::Gate<float>>(gate_sizes, 1);
    AdamW<float> adamw(gate, {.lr = 3e-4});
    std::vector<Competitor> competitors;
    competitors.push_back({"xtape",
                           [&] {
                               Tape<float> tape({.recompute = true});
                               tape.backward(gate.loss(batch));
                               adamw.step();
                           },
                           4});
#ifdef XTAPE_HAS_TORCH
    std::vector<std::span<const float>> weights;
    const auto parameters = nn::parameters(gate);
    for (const auto& named : parameters) weights.push_back(named.parameter->values());
    peers::TorchGate torch({.vocab = gate_sizes.vocab,
                            .dim = gate_sizes.dim,
                            .layers = gate_sizes.layers,
                            .heads = gate_sizes.heads,
                            .ffn = gate_sizes.ffn,
                            .context = gate_sizes.context},
                           weights);
    peers::TorchGateBatch plain;
    plain.offsets.push_back(0);
    for (const models::GateExample& example : examples) {
        plain.tokens.insert(plain.tokens.end(), example.tokens.begin(), example.tokens.end());
        plain.offsets.push_back(static_cast<int>(plain.tokens.size()));
        plain.next.push_back(example.next.value_or(-1));
        plain.labels.push_back(static_cast<float>(example.label));
        plain.weights.push_back(1);
    }
    competitors.push_back({"PyTorch eager", [&] { torch.step(plain, 3e-4); }, 2});
#endif
    race("gate 2 x 128, ffn 512, 32 x 64 tokens, 2 threads", std::move(competitors), 31);
}

/// Latency of one call of 24 tokens, alone; and calls a second of two threads while a third one learns.
inline void print_gate_predictions() {
    using Microseconds = std::chrono::duration<double, std::micro>;
    const auto calls = drawn_examples(64, 24, gate_sizes.vocab, 2);
    const models::GateBatch batch = models::pack(drawn_examples(32, 64, gate_sizes.vocab, 3));
    models::LiveGate live(nn::build<models::Gate<float>>(gate_sizes, 1));

    std::vector<double> latencies;
    for (std::size_t i = 0; i < 4000; ++i) {
        const auto start = Clock::now();
        live.predict(calls[i % calls.size()].tokens);
        latencies.push_back(Microseconds(Clock::now() - start).count());
    }
    std::ranges::sort(latencies);

    std::atomic<bool> stop = false;
    std::atomic<Index> predicted = 0;
    Index steps = 0;
    {
        const auto predict = [&] {
            xtape::set_threads(1);
            for (std::size_t i = 0; !stop; ++i) {
                live.predict(calls[i % calls.size()].tokens);
                ++predicted;
            }
        };
        std::jthread one(predict), two(predict);
        xtape::set_threads(1);
        const auto start = Clock::now();
        for (; Clock::now() - start < std::chrono::seconds(2); ++steps) {
            live.learn(std::span(&batch, 1));
            live.publish();
        }
        stop = true;
    }
    xtape::set_threads(2);
    fmt::print(
        "\nThe gate predicts one call of 24 tokens in {:.0f} µs (median; p99 {:.0f} µs), and, on 2 threads while a "
        "third one learns and publishes {:.0f} times a second, {:.0f} calls a second.\n",
        latencies[latencies.size() / 2], latencies[latencies.size() * 99 / 100], static_cast<double>(steps) / 2,
        static_cast<double>(predicted) / 2);
}

}  // namespace xtape::bench
