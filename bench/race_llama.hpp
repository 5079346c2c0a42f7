#pragma once
// llama's training step, 2 threads: xtape and PyTorch, in f32 and in bf16.

#include <xtape/bench/race.hpp>
#include <xtape/engine/buffer.hpp>
#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/precision.hpp>
#include <xtape/models/llama/llama.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/optim/gradients.hpp>

#ifdef XTAPE_HAS_TORCH
#include <xtape/bench/peers/torch_llama.hpp>
#endif

namespace xtape::bench {

/// A llama in training on random tokens; `step` is forward, backward, clipping and AdamW.
class LlamaTraining {
public:
    LlamaTraining(const models::LlamaConfig& config, int sequences, int length)
        : model(nn::build<models::Llama<float>>(config, 1)), adamw(model, {.lr = 1e-4}) {
        nn::Rng rng(1);
        for (int i = 0; i < sequences; ++i) {
            auto& sequence = tokens.emplace_back();
            for (int t = 0; t <= length; ++t) sequence.push_back(static_cast<std::int32_t>(rng.below(config.vocab)));
        }
        batch_ = models::pack(tokens);
    }

    void step() {
        Tape<float> tape;
        tape.backward(model.loss(batch_));
        clip_grad_norm(model, 1.0);
        adamw.step();
    }

    models::Llama<float> model;
    AdamW<float> adamw;
    std::vector<std::vector<std::int32_t>> tokens;

private:
    models::Batch batch_;
};

inline void race_llama(Precision precision) {
    if (precision == Precision::bf16 && !kernels::has_bf16()) return;
    constexpr int sequences = 4, length = 256;
    const models::LlamaConfig config{
        .vocab = 4096, .dim = 288, .layers = 6, .heads = 6, .kv_heads = 6, .ffn = 768, .context = length};
    set_product_precision(precision);
    LlamaTraining training(config, sequences, length);
    std::vector<Competitor> competitors;
    competitors.push_back({"xtape", [&] { training.step(); }, 2});
#ifdef XTAPE_HAS_TORCH
    std::vector<std::span<const float>> weights;
    const auto parameters = nn::parameters(training.model);
    for (const auto& named : parameters) weights.push_back(named.parameter->values());
    peers::TorchLlama torch({.vocab = config.vocab,
                             .dim = config.dim,
                             .layers = config.layers,
                             .heads = config.heads,
                             .kv_heads = config.kv_heads,
                             .ffn = config.ffn,
                             .context = length,
                             .bf16 = precision == Precision::bf16},
                            weights);
    std::vector<int> inputs, targets;
    for (const auto& sequence : training.tokens) {
        inputs.insert(inputs.end(), sequence.begin(), sequence.end() - 1);
        targets.insert(targets.end(), sequence.begin() + 1, sequence.end());
    }
    competitors.push_back(
        {"PyTorch eager", [&] { torch.step(inputs.data(), targets.data(), sequences, length, 1e-4); }, 1});
#endif
    race(fmt::format("llama 6 x 288, vocab 4096, 4 x 256 tokens, {}, 2 threads",
                     precision == Precision::bf16 ? "bf16" : "f32"),
         std::move(competitors), 9);
    set_product_precision(Precision::f32);
}

/// What attention holds at its peak, forward and backward, beside its inputs: linear in the context.
inline void print_attention_memory() {
    constexpr int heads = 6, width = 48;
    fmt::print(
        "\n| causal attention, {} heads of {}, forward and backward: context | KiB at the peak | bytes a position "
        "|\n| ---: | ---: | ---: |\n",
        heads, width);
    for (Index context = 256; context <= 8192; context *= 2) {
        nn::Rng rng(1);
        const auto input = [&] { return nn::normal<float>({context, heads * width}, rng, 1); };
        const Tensor<float> q = input(), k = input(), v = input(), dy = input();
        reset_pool_peak();
        const auto before = pool_statistics().bytes_in_use;
        {
            Tape<float> tape;
            const Tensor<float> tracked[] = {tape.leaf(q), tape.leaf(k), tape.leaf(v)};
            const Tensor<float> y = causal_attention(tracked[0], tracked[1], tracked[2], {}, {.heads = heads});
            const Tensor<float>* const of[] = {&tracked[0], &tracked[1], &tracked[2]};
            tape.gradient(y, dy, of);
        }
        const auto peak = static_cast<double>(pool_statistics().peak_bytes - before);
        fmt::print("| {} | {:.0f} | {:.0f} |\n", context, peak / 1024, peak / static_cast<double>(context));
    }
}

}  // namespace xtape::bench
