#include <xtape/engine/ops.hpp>
#include <xtape/models/llama/llama.hpp>
#include <xtape/tests/reference/llama.hpp>
#include <xtape/tools/briefs.hpp>
#include <xtape/tools/llama_audit.hpp>
#include <xtape/tools/reference_subject.hpp>

#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

using models::Llama;
using models::LlamaConfig;

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

/// Sizes, forward pass and loss, for who writes the model anew.
std::string describe(const LlamaConfig& given) {
    const LlamaConfig c = given.checked();
    return fmt::format("Sizes: vocab {}, dim {}, layers {}, heads {}, kv_heads {}, ffn {}.\n{}", c.vocab, c.dim,
                       c.layers, c.heads, c.kv_heads, c.ffn, ragged_batch) +
           fmt::format(llama_text, c.norm_eps, c.tied ? "token_embedding" : "classifier",
                       c.rope == RopeForm::interleaved ? "2i and 2i + 1" : "i and i + h/2", c.rope_theta) +
           (c.tied ? "\nThe classifier is the token embedding: its gradient is the sum of both uses.\n" : "") +
           std::string(language_loss);
}

/// Norm weights N(1, 0.3²), embeddings N(0, 0.5²), matrices N(0, 1/in), `loudness` times that for what makes the
/// logits.
struct LlamaAudit {
    template <class T> using Model = Llama<T>;
    LlamaConfig config;
    std::vector<int> lengths;
    double loudness = 1;
    models::Batch batch = {};

    static bool is_norm(const std::string& name) { return name.ends_with("norm"); }
    double center(const std::string& name) const { return is_norm(name) ? 1 : 0; }
    double spread(const std::string& name, const Shape& shape) const {
        if (is_norm(name)) return 0.3;
        const bool makes_logits = name == (config.tied ? "token_embedding" : "classifier");
        const double usual = name == "token_embedding" ? 0.5 : 1 / std::sqrt(static_cast<double>(shape[1]));
        return (makes_logits ? loudness : 1) * usual;
    }
    void draw_inputs(nn::Rng& rng) { batch = models::pack(draw_sequences(lengths, config.vocab, rng)); }
    template <class T> Tensor<T> output(const Llama<T>& model) const { return model(batch); }
    template <class T> Tensor<T> loss(const Llama<T>&, const Tensor<T>& logits) const {
        return cross_entropy(logits, batch.targets);
    }
    Brief brief() const { return brief_of(batch, config.vocab, describe(config)); }
    reference::LlamaConfig plain() const {
        return {
            .vocab = config.vocab,
            .dim = config.dim,
            .layers = config.layers,
            .heads = config.heads,
            .kv_heads = config.kv_heads,
            .ffn = config.ffn,
            .context = config.context,
            .rope_theta = config.rope_theta,
            .norm_epsilon = config.norm_eps,
            .rope = config.rope == RopeForm::interleaved ? reference::Rope::interleaved : reference::Rope::half_split,
            .tied = config.tied};
    }
    template <class T> auto by_hand(const reference::Arrays<T>& parameters, const std::string& fault) const {
        return reference::llama_run<T>(plain(), parameters, reference_batch<reference::Batch>(batch, lengths), fault);
    }
    std::vector<std::string> wrong(const std::string& fault) const {
        return reference::llama_wrong_gradients(plain(), fault);
    }
    static bool is_projection(const std::string& name) { return name.ends_with("wo") || name.ends_with("w2"); }
};

AuditCase make_case(const LlamaConfig& config, std::vector<int> lengths, double loudness) {
    const std::string inputs = lengths.size() == 1 ? fmt::format("1 sequence of {}", lengths[0])
                                                   : fmt::format("{} sequences packed", lengths.size());
    std::string settings =
        fmt::format("kv_heads {}, {}, rope {}, {}{}", config.kv_heads, config.tied ? "tied" : "untied",
                    config.rope == RopeForm::interleaved ? "interleaved" : "half-split", inputs,
                    loudness > 1 ? ", logits beyond 100" : "");
    const int positions = std::accumulate(lengths.begin(), lengths.end(), 0);
    return {std::move(settings),
            [=](std::uint64_t draw) {
                return std::make_unique<ReferenceSubject<LlamaAudit>>(
                    LlamaAudit{.config = config, .lengths = lengths, .loudness = loudness}, draw + 1);
            },
            usual_factors(positions + 1, config.head_width())};
}

AuditCase random_llama_case(nn::Rng& rng) {
    LlamaConfig config{.vocab = pick(rng, 2, 30), .layers = pick(rng, 1, 3), .heads = pick(rng, 1, 4)};
    config.dim = config.heads * 2 * pick(rng, 1, 3);
    do config.kv_heads = pick(rng, 1, config.heads);
    while (config.heads % config.kv_heads != 0);
    config.ffn = pick(rng, 1, 24);
    config.context = pick(rng, 2, 12);
    config.rope_theta = rng.below(2) == 0 ? 10000 : 100;
    config.norm_eps = rng.below(2) == 0 ? 1e-5 : 1e-6;
    config.tied = rng.below(2) == 0;
    config.rope = rng.below(2) == 0 ? RopeForm::interleaved : RopeForm::half_split;
    const std::vector<int> lengths = random_lengths(rng, config.context);
    const bool loud = has_mistakes(lengths, config.vocab) && rng.below(3) == 0;
    AuditCase drawn = make_case(config, lengths, loud ? 60 : 1);
    drawn.settings = fmt::format("vocab {}, dim {}, heads {}, ffn {}, layers {}, {}", config.vocab, config.dim,
                                 config.heads, config.ffn, config.layers, drawn.settings);
    drawn.trains = true;
    return drawn;
}

}  // namespace

std::vector<AuditCase> llama_cases() {
    constexpr double loud = 60;
    std::vector<AuditCase> cases;
    for (const int kv_heads : {4, 2, 1}) {
        for (const bool tied : {false, true}) {
            for (const RopeForm rope : {RopeForm::interleaved, RopeForm::half_split}) {
                const LlamaConfig config{.vocab = 32,
                                         .dim = 32,
                                         .layers = 2,
                                         .heads = 4,
                                         .kv_heads = kv_heads,
                                         .ffn = 48,
                                         .context = 16,
                                         .tied = tied,
                                         .rope = rope};
                cases.push_back(make_case(config, {9}, 1));
                cases.push_back(make_case(config, {1, 16, 5, 2}, 1));
                cases.back().trains = kv_heads == 2 && !tied;
                cases.back().usual = cases.back().trains && rope == RopeForm::interleaved;
                cases.push_back(make_case(config, {16}, loud));
            }
        }
    }
    return cases;
}

AuditReport audit_llama(const AuditRequest& request) {
    return audit("llama",
                 request.random > 0 ? random_cases(request.random, request.seed, random_llama_case) : llama_cases(),
                 request);
}

}  // namespace xtape::tools
