#pragma once
// lrnn's training beside plain loops in C and PyTorch: a step, and whole epochs; and its generation beside itself,
// further on.

#include <xtape/bench/peers/lrnn.h>
#include <xtape/bench/race.hpp>
#include <xtape/models/lrnn/lrnn.hpp>
#include <xtape/models/text/corpus.hpp>
#include <xtape/models/text/epoch_windows.hpp>
#include <xtape/models/text/prose_corpus.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/optim/gradients.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_lrnn.hpp>
#endif

#include <memory>
#include <numeric>

namespace xtape::bench {

inline const models::LrnnConfig lrnn_sizes{.vocab = 1024,
                                           .layers = 4,
                                           .dim = 128,
                                           .heads = 4,
                                           .context = 128,
                                           .decay_rank = 8,
                                           .ffn_multiplier = 2,
                                           .slots = 4};

using PlainC = std::unique_ptr<Lrnn, void (*)(Lrnn*)>;

/// The plain C with the sizes and the present weights of a model.
inline PlainC plain_c(const models::Lrnn<float>& model) {
    const models::LrnnConfig& c = model.config();
    std::vector<const float*> weights;
    for (const auto& named : nn::parameters(model)) weights.push_back(named.parameter->data());
    const LrnnConfig sizes{c.vocab, c.dim, c.layers, c.heads, c.context, c.decay_rank, static_cast<int>(c.ffn()),
                           c.slots};
    return {lrnn_create(sizes, weights.data()), lrnn_destroy};
}

inline void race_lrnn() {
    constexpr int length = 128;
    nn::Rng rng(1);
    std::vector<std::int32_t> tokens;
    for (int t = 0; t <= length; ++t) tokens.push_back(static_cast<std::int32_t>(rng.below(lrnn_sizes.vocab)));
    const models::Batch batch = models::pack(std::span(&tokens, 1));
    auto model = nn::build<models::Lrnn<float>>(lrnn_sizes, 1);
    Adam<float> adam(model, {.lr = 3e-4});
    const auto c = plain_c(model);

    std::vector<Competitor> competitors;
    competitors.push_back({"xtape",
                           [&] {
                               Tape<float> tape({.recompute = true});
                               tape.backward(model.loss(batch));
                               adam.step(clip_factor(grad_norm(model), 5.0));
                           },
                           4});
    competitors.push_back({"hand-written C, plain loops, 1 thread",
                           [&, targets = std::vector<int>(tokens.begin() + 1, tokens.end())] {
                               lrnn_step(c.get(), tokens.data(), targets.data(), length, 3e-4f);
                           },
                           2});
#ifdef XTAPE_HAS_TORCH
    std::vector<std::span<const float>> spans;
    for (const auto& named : nn::parameters(model)) spans.push_back(named.parameter->values());
    std::vector<std::unique_ptr<peers::TorchLrnn>> torches;
    for (const int threads : {1, 2}) {
        torches.push_back(
            std::make_unique<peers::TorchLrnn>(peers::TorchLrnnConfig{.vocab = lrnn_sizes.vocab,
                                                                      .dim = lrnn_sizes.dim,
                                                                      .layers = lrnn_sizes.layers,
                                                                      .heads = lrnn_sizes.heads,
                                                                      .rank = lrnn_sizes.decay_rank,
                                                                      .ffn = static_cast<int>(lrnn_sizes.ffn()),
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

/// A course of lrnn over a text of 35 kB by the defaults of `xtape train lrnn`, and that of the plain C from the same
/// values on the same windows.
class LrnnCourse {
public:
    /// One epoch, and its mean loss.
    void epoch() {
        const Index begin = windows_.batches_of(epoch_), end = windows_.batches_of(++epoch_);
        loss = 0;
        for (Index k = begin; k < end; ++k) {
            Tape<float> tape({.recompute = true});
            const Tensor<float> of_window = model_.loss(corpus_.batch(windows_[k]));
            loss += of_window.item() / static_cast<double>(end - begin);
            tape.backward(of_window);
            adam_.step(clip_factor(grad_norm(model_), 5.0));
        }
    }
    void epoch_of_c() {
        const auto offset = static_cast<int>(windows_[windows_.batches_of(epoch_of_c_++)].front().begin);
        int skipped = 0;
        loss_of_c = lrnn_epoch(c_.get(), tokens_.data(), static_cast<int>(tokens_.size()), offset, 3e-4f, &skipped);
    }

    double loss = 0, loss_of_c = 0;

private:
    std::string_view bytes_ = models::built_in_text().substr(0, 35000);
    models::Text text_{bytes_};
    models::Tokenizer tokenizer_ = models::Tokenizer::learn("auto", text_, 0);
    models::TextCorpus corpus_{text_, tokenizer_, 0, "the text"};
    std::vector<std::int32_t> tokens_ = tokenizer_.encode(bytes_);
    models::Lrnn<float> model_ = nn::build<models::Lrnn<float>>(
        [&] {
            models::LrnnConfig sizes = models::automatic_sizes(static_cast<double>(bytes_.size()) / 5);
            sizes.vocab = tokenizer_.vocab();
            return sizes;
        }(),
        1);
    models::EpochWindows windows_{corpus_.training(), model_.config().context, 1, 1};
    Adam<float> adam_{model_, {.lr = 3e-4}};
    PlainC c_ = plain_c(model_);
    Index epoch_ = 0, epoch_of_c_ = 0;
};

/// The losses of the fifth epoch, and the times of all five.
inline void print_lrnn_course() {
    LrnnCourse course;
    std::vector<Competitor> all{{"xtape, 2 threads", [&] { course.epoch(); }, 1},
                                {"hand-written C, plain loops, 1 thread", [&] { course.epoch_of_c(); }, 1}};
    for (int i = 0; i < 5; ++i) {
        for (Competitor& competitor : all) competitor.turn();
    }
    fmt::print("\n| lrnn, 5 epochs of 35 kB of English | loss of the last | s |\n| --- | ---: | ---: |\n");
    const double losses[]{course.loss, course.loss_of_c};
    for (std::size_t i = 0; i < all.size(); ++i) {
        const auto& times = all[i].microseconds;
        fmt::print("| {} | {:.5f} | {:.2f} |\n", all[i].name, losses[i],
                   std::accumulate(times.begin(), times.end(), 0.0) * 1e-6);
    }
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
