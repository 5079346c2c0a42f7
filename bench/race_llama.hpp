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

#include <fstream>
#include <limits>
#include <optional>

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
        Tape<float> tape({.recompute = true});
        tape.backward(model.loss(batch_));
        adamw.step(clip_factor(grad_norm(model), 1.0));
    }

    models::Llama<float> model;
    AdamW<float> adamw;
    std::vector<std::vector<std::int32_t>> tokens;

private:
    models::Batch batch_;
};

inline constexpr int llama_sequences = 4, llama_length = 256;
inline constexpr models::LlamaConfig llama_size{
    .vocab = 4096, .dim = 288, .layers = 6, .heads = 6, .kv_heads = 6, .ffn = 768, .context = llama_length};

#ifdef XTAPE_HAS_TORCH
/// The same by PyTorch, from the same weights and tokens.
class TorchLlamaTraining {
public:
    TorchLlamaTraining(LlamaTraining& of, Precision precision)
        : sequences_(static_cast<int>(of.tokens.size())), model_(make(of, precision)) {
        for (const auto& sequence : of.tokens) {
            inputs_.insert(inputs_.end(), sequence.begin(), sequence.end() - 1);
            targets_.insert(targets_.end(), sequence.begin() + 1, sequence.end());
        }
    }

    void step() {
        model_.step(inputs_.data(), targets_.data(), sequences_, static_cast<int>(inputs_.size()) / sequences_, 1e-4);
    }

private:
    static peers::TorchLlama make(LlamaTraining& of, Precision precision) {
        std::vector<std::span<const float>> weights;
        const auto parameters = nn::parameters(of.model);
        for (const auto& named : parameters) weights.push_back(named.parameter->values());
        const models::LlamaConfig& config = of.model.config();
        return {{.vocab = config.vocab,
                 .dim = config.dim,
                 .layers = config.layers,
                 .heads = config.heads,
                 .kv_heads = config.kv_heads,
                 .ffn = config.ffn,
                 .context = config.context,
                 .bf16 = precision == Precision::bf16},
                weights};
    }

    int sequences_;
    std::vector<int> inputs_, targets_;
    peers::TorchLlama model_;
};
#endif

inline void race_llama(Precision precision) {
    if (precision == Precision::bf16 && !kernels::has_bf16()) return;
    set_product_precision(precision);
    LlamaTraining training(llama_size, llama_sequences, llama_length);
    std::vector<Competitor> competitors;
    competitors.push_back({"xtape", [&] { training.step(); }, 2});
#ifdef XTAPE_HAS_TORCH
    TorchLlamaTraining torch(training, precision);
    competitors.push_back({"PyTorch eager", [&] { torch.step(); }, 1});
#endif
    race(fmt::format("llama 6 x 288, vocab 4096, 4 x 256 tokens, {}, 2 threads",
                     precision == Precision::bf16 ? "bf16" : "f32"),
         std::move(competitors), 9);
    set_product_precision(Precision::f32);
}

/// By how many MiB the process grows while f runs, at the most; NaN where the system does not tell.
template <class F> double growth(const F& f) {
    const auto status = [](const std::string& key) {
        std::ifstream file("/proc/self/status");
        for (std::string line; std::getline(file, line);)
            if (line.starts_with(key)) return std::stod(line.substr(key.size())) / 1024;
        return std::numeric_limits<double>::quiet_NaN();
    };
    std::ofstream("/proc/self/clear_refs") << 5;  // the peak begins anew
    const double before = status("VmRSS:");
    f();
    return status("VmHWM:") - before;
}

/// What a training holds at its peak: model, gradients, AdamW and the activations of the step that the race runs.
inline void print_llama_memory() {
    models::LlamaConfig tiny = llama_size;
    tiny.layers = tiny.vocab = 1;
    LlamaTraining warm_up(tiny, 1, 8);
    warm_up.step();
    std::optional<LlamaTraining> training;
    fmt::print("\nllama 6 x 288, 4 x 256 tokens, f32: the process grows by {:.0f} MiB", growth([&] {
                   training.emplace(llama_size, llama_sequences, llama_length);
                   for (int i = 0; i < 3; ++i) training->step();
               }));
#ifdef XTAPE_HAS_TORCH
    TorchLlamaTraining(warm_up, Precision::f32).step();
    std::optional<TorchLlamaTraining> torch;
    fmt::print("; by {:.0f} MiB in PyTorch", growth([&] {
                   torch.emplace(*training, Precision::f32);
                   for (int i = 0; i < 3; ++i) torch->step();
               }));
#endif
    const auto elements = static_cast<double>(models::parameter_count(llama_size));
    fmt::print("; of either, {:.0f} MiB are weights and moments\n", 3 * elements * sizeof(float) / 1048576);
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
