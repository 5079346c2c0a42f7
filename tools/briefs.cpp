#include <xtape/tools/briefs.hpp>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

using models::Batch;
using models::GateExample;

/// Where sequences begin and end; a batch of one sequence does not say it.
Indices offsets_of(const Batch& batch) {
    return batch.offsets ? batch.offsets : indices({0, static_cast<std::int32_t>(batch.tokens.size())});
}

/// A value of each example.
Tensor<float> row(std::span<const GateExample> examples, double GateExample::*member) {
    std::vector<float> values;
    for (const GateExample& example : examples) values.push_back(static_cast<float>(example.*member));
    return {Shape{static_cast<Index>(values.size())}, values};
}

constexpr std::string_view ragged = R"(
The batch is ragged: sequence b is the rows `offsets[b]` up to, not including, `offsets[b + 1]`. Positions t start at 0
in each sequence, and attention, shifts and states do not reach over its beginning.
)";

constexpr std::string_view language_loss = R"(
## The loss

With N rows in the batch, all of which have a target: `loss = (1/N) Σ_t −log softmax(logits_t)[targets_t]`, the mean over
all rows of all sequences together, not a mean of means.
)";

constexpr std::string_view microgpt_text = R"(
y = x W throughout: weights are [in, out]. No biases; norms have no weights: `norm(x) = x / sqrt(mean(x²) + 1e-5)`, row by
row.

    x = wte[token] + wpe[t]{}
    for each layer:
        n = {}
        q, k, v = n wq, n wk, n wv                          in heads of width h = dim/heads
        a_t = Σ_(s ≤ t) softmax_s(q_t·k_s / √h) v_s         head by head, side by side
        x = x + a wo
        x = x + {}({} w1) w2
    logits = x wout
)";

constexpr std::string_view llama_text = R"(
y = x Wᵀ throughout: weights are [out, in]. `norm(x, w) = w x / sqrt(mean(x²) + {})`, row by row.

    x = token_embedding[token]
    for each layer:
        n = norm(x, attention_norm)
        q, k, v = n wqᵀ, n wkᵀ, n wvᵀ                       in heads of width h = dim/heads; k and v have kv_heads
        q, k = rope(q), rope(k)
        a_t = Σ_(s ≤ t) softmax_s(q_t·k_s / √h) v_s         query head i reads key head ⌊i kv_heads / heads⌋
        x = x + a woᵀ
        n = norm(x, ffn_norm)
        x = x + (silu(n w1ᵀ) (n w3ᵀ)) w2ᵀ                   silu(x) = x / (1 + e^−x)
    logits = norm(x, final_norm) {}ᵀ

rope turns pair i of a head, (a, b) = channels {}, by the angle φ = t · {}^(−2i/h):
(a cos φ − b sin φ, a sin φ + b cos φ).
)";

constexpr std::string_view lrnn_text = R"(
y = x W throughout: weights are [in, out]. EPS = 1e-6. `norm(x, p) = p.weight (x − mean(x)) / sqrt(var(x) + EPS) + p.bias`,
row by row, var being the mean of the squared differences. σ(x) = 1 / (1 + e^−x), silu(x) = x σ(x). Products of vectors
are element by element. What is before the start of a sequence is zero.

    x = norm(emb[token], ln0)
    for each layer:
        n = norm(x, ln1)
        u1, u2, u4 = σ(time_shift_w1), σ(time_shift_w2), σ(time_shift_w4)
        s_t = (u1 n_(t−1) + u2 n_(t−2) + u4 n_(t−4)) / (u1 + u2 + u4 + EPS)
        x_r = n σ(time_mix_r) + s (1 − σ(time_mix_r)); x_k and x_v alike, by time_mix_k and time_mix_v
        r = σ(x_r Wr), k = exp(clamp(x_k Wk, −10, 10)), v = x_v Wv
        decay = σ(decay_base + (n decay_lora_a) decay_lora_b) · alibi
        f = exp(clamp(time_first, −10, 10))
        write = softmax(n mem_gate_write), read = softmax(n mem_gate_read)          one number for each slot m
        N_(t+1,m) = decay_t N_(t,m) + write_(t,m) k_t v_t;  E_(t+1,m) = decay_t E_(t,m) + write_(t,m) k_t;  both 0 at t = 0
        wkv_t = (Σ_m read_(t,m) N_(t,m) + f k_t v_t) / (Σ_m read_(t,m) E_(t,m) + f k_t + EPS)
        x = x + (r wkv) Wo
        n = norm(x, ln2), c = σ(channel_mix)
        y_t = n_t c + n_(t−1) (1 − c)
        x = x + (silu(y ffn_gate) (y ffn_up)) ffn_down
    logits = norm(x, ln_out) head

alibi is a constant of the channels: exp(−2^(−8 (k + 1) / heads)) in those of head k = 0, 1, …, each dim/heads wide.
)";

constexpr std::string_view gate_text = R"(
y = x Wᵀ + b throughout: weights are [out, in]. `norm(x, p) = p.weight (x − mean(x)) / sqrt(var(x) + {}) + p.bias`, row by
row, var being the mean of the squared differences.

    x = token_embedding[token] + position_embedding[t]
    for each layer:
        n = norm(x, ln1)
        q, k, v = n wqᵀ + bq, n wkᵀ + bk, n wvᵀ + bv        in heads of width h = dim/heads
        a_t = Σ_(s ≤ t) softmax_s(q_t·k_s / √h) v_s         head by head, side by side
        x = x + a woᵀ + bo
        x = x + gelu(norm(x, ln2) w1ᵀ + b1) w2ᵀ + b2        gelu(x) = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))
    z = norm(x, final_ln)
    next_logits  = z_last output.weightᵀ + output.bias      z_last: at the last position of an example with a next token
    allow_logits = z_mean gate.weightᵀ + gate.bias          z_mean: over the positions of an example that is a decision
)";

constexpr std::string_view gate_loss = R"(
## The loss

`loss = (1/B) Σ_b weights[b] ℓ_b` over all B examples of both kinds. An example b with `next[b] ≥ 0` has
`ℓ = −log softmax(next_logits)[next[b]]`. One with `next[b] = −1` is a decision, with its allow logit s and the target
y = labels[b] clamped to [0, 1]: `ℓ = log(1 + e^s) − y s`, exact for every s. The rows of next_logits and allow_logits
are in the order of the examples of their kind.
)";

}  // namespace

Brief brief_of(const Batch& batch, Index vocab, std::string text) {
    return {{{"tokens", "what is read at each row", batch.tokens},
             {"targets", "the token that follows it", batch.targets},
             {"offsets", "where the sequences begin, and where the last one ends", offsets_of(batch)}},
            {{"logits", Shape{batch.tokens.size(), vocab}}, {"loss", Shape{}}},
            std::move(text)};
}

Brief brief_of(std::span<const GateExample> examples, const models::GateBatch& batch, Index vocab, std::string text) {
    std::vector<std::int32_t> next;
    for (const GateExample& example : examples) next.push_back(example.next.value_or(-1));
    Brief brief{{{"tokens", "what is read at each row", batch.tokens},
                 {"offsets", "where the examples begin, and where the last one ends", batch.offsets},
                 {"next", "the token that follows each example; −1 for a decision", indices(next)},
                 {"labels", "of each decision (unused for the others)", row(examples, &GateExample::label)},
                 {"weights", "of each example in the loss", row(examples, &GateExample::weight)}},
                {},
                std::move(text)};
    if (batch.last.size() > 0) brief.outputs.emplace_back("next_logits", Shape{batch.last.size(), vocab});
    if (batch.decisions.size() > 0) brief.outputs.emplace_back("allow_logits", Shape{batch.decisions.size()});
    brief.outputs.emplace_back("loss", Shape{});
    return brief;
}

std::string describe(const models::MicrogptConfig& c) {
    using Config = models::MicrogptConfig;
    const bool full = c.norm == Config::Norm::full;
    return fmt::format("Sizes: vocab {}, dim {}, heads {}, ffn {}, block {} (the most positions), layers {}.\n{}",
                       c.vocab, c.dim, c.heads, c.ffn, c.block, c.layers, ragged) +
           fmt::format(microgpt_text, full ? ";  x = norm(x)" : "", c.norm == Config::Norm::none ? "x" : "norm(x)",
                       c.act == Config::Act::relu ? "relu" : "relu²", full ? "norm(x)" : "x") +
           (c.act == Config::Act::relu ? "\nrelu(x) = max(x, 0).\n" : "\nrelu²(x) = max(x, 0)².\n") +
           std::string(language_loss);
}

std::string describe(const models::LlamaConfig& given) {
    const models::LlamaConfig c = given.checked();
    return fmt::format("Sizes: vocab {}, dim {}, layers {}, heads {}, kv_heads {}, ffn {}.\n{}", c.vocab, c.dim,
                       c.layers, c.heads, c.kv_heads, c.ffn, ragged) +
           fmt::format(llama_text, c.norm_eps, c.tied ? "token_embedding" : "classifier",
                       c.rope == RopeForm::interleaved ? "2i and 2i + 1" : "i and i + h/2", c.rope_theta) +
           (c.tied ? "\nThe classifier is the token embedding: its gradient is the sum of both uses.\n" : "") +
           std::string(language_loss);
}

std::string describe(const models::LrnnConfig& given) {
    const models::LrnnConfig c = given.checked();
    std::string text =
        fmt::format("Sizes: vocab {}, layers {}, dim {}, heads {}, decay_rank {}, ffn {}, slots {}.\n{}{}{}", c.vocab,
                    c.layers, c.dim, c.heads, c.decay_rank, c.ffn(), c.slots, ragged, lrnn_text, language_loss);
    if (c.label_smoothing > 0)
        text += fmt::format(
            "\nIt is smoothed, ε = {0}: the target distribution has ε/vocab everywhere, and 1 − ε more at the "
            "target.\n",
            c.label_smoothing);
    return text;
}

std::string describe(const models::GateConfig& c) {
    return fmt::format("Sizes: vocab {}, dim {}, layers {}, heads {}, ffn {}, context {} (the most positions).\n{}",
                       c.vocab, c.dim, c.layers, c.heads, c.ffn, c.context, ragged) +
           fmt::format(gate_text, c.ln_eps) + std::string(gate_loss);
}

}  // namespace xtape::tools
