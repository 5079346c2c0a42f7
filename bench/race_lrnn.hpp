#pragma once
// lrnn's training step beside plain loops in C and PyTorch, and its generation beside itself, further on.

#include <xtape/bench/peers/lrnn.h>
#include <xtape/bench/race.hpp>
#include <xtape/models/lrnn/lrnn.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/optim/gradients.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_lrnn.hpp>
#endif

#include <memory>

namespace xtape::bench {

inline const models::LrnnConfig lrnn_sizes{.vocab = 1024,
                                           .layers = 4,
                                           .dim = 128,
                                           .heads = 4,
                                           .context = 128,
                                           .decay_rank = 8,
                                           .ffn_multiplier = 2,
                                           .slots = 4};

inline void race_lrnn() {
    constexpr int length = 128;
    nn::Rng rng(1);
    std::vector<std::int32_t> tokens;
    for (int t = 0; t <= length; ++t) tokens.push_back(static_cast<std::int32_t>(rng.below(lrnn_sizes.vocab)));
    const models::Batch batch = models::pack(std::span(&tokens, 1));
    auto model = nn::build<models::Lrnn<float>>(lrnn_sizes, 1);
    Adam<float> adam(model, {.lr = 3e-4});
    const auto parameters = nn::parameters(model);
    const int ffn = static_cast<int>(lrnn_sizes.ffn());

    std::vector<const float*> weights;
    for (const auto& named : parameters) weights.push_back(named.parameter->data());
    const LrnnConfig sizes{
        lrnn_sizes.vocab, lrnn_sizes.dim, lrnn_sizes.layers, lrnn_sizes.heads, length, lrnn_sizes.decay_rank, ffn,
        lrnn_sizes.slots};
    const std::unique_ptr<Lrnn, void (*)(Lrnn*)> c(lrnn_create(sizes, weights.data()), lrnn_destroy);

    std::vector<Competitor> competitors;
    competitors.push_back({"xtape",
                           [&] {
                               Tape<float> tape;
                               tape.backward(model.loss(batch));
                               clip_grad_norm(model, 5.0);
                               adam.step();
                           },
                           4});
    competitors.push_back({"hand-written C, plain loops, 1 thread",
                           [&, targets = std::vector<int>(tokens.begin() + 1, tokens.end())] {
                               lrnn_step(c.get(), tokens.data(), targets.data(), length, 3e-4f);
                           },
                           2});
#ifdef XTAPE_HAS_TORCH
    std::vector<std::span<const float>> spans;
    for (const auto& named : parameters) spans.push_back(named.parameter->values());
    std::vector<std::unique_ptr<peers::TorchLrnn>> torches;
    for (const int threads : {1, 2}) {
        torches.push_back(std::make_unique<peers::TorchLrnn>(peers::TorchLrnnConfig{.vocab = lrnn_sizes.vocab,
                                                                                    .dim = lrnn_sizes.dim,
                                                                                    .layers = lrnn_sizes.layers,
                                                                                    .heads = lrnn_sizes.heads,
                                                                                    .rank = lrnn_sizes.decay_rank,
                                                                                    .ffn = ffn,
                                                                                    .slots = lrnn_sizes.slots,
                                                                                    .threads = threads},
                                                             spans));
        competitors.push_back(
            {fmt::format("PyTorch eager, {} thread{}", threads, threads == 1 ? "" : "s"),
             [&, torch = torches.back().get(), targets = std::vector<int>(tokens.begin() + 1, tokens.end())] {
                 torch->step(tokens.data(), targets.data(), length, 3e-4);
             },
             1});
    }
#endif
    race("lrnn 4 x 128, 4 heads, 4 slots, vocab 1024, 128 tokens, 2 threads", std::move(competitors), 15);
}

/// What one more token costs, at the start and far into a text: the same.
inline void print_lrnn_generation() {
    const auto model = nn::build<models::Lrnn<float>>(lrnn_sizes, 1);
    auto state = model.start();
    fmt::print("\n| lrnn, one token at a time: after | µs a token |\n| ---: | ---: |\n");
    Index done = 0;
    for (const Index until : {Index{100}, Index{1000}, Index{10000}}) {
        std::vector<double> times;
        for (; done < until; ++done) {
            const auto start = Clock::now();
            model.next(static_cast<std::int32_t>(done % lrnn_sizes.vocab), state);
            times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
        }
        std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
        fmt::print("| {} | {:.1f} |\n", until, times[times.size() / 2]);
    }
}

}  // namespace xtape::bench
