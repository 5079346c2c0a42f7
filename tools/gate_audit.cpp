#include <xtape/engine/ops.hpp>
#include <xtape/models/gate/gate.hpp>
#include <xtape/tests/reference/gate.hpp>
#include <xtape/tools/briefs.hpp>
#include <xtape/tools/gate_audit.hpp>
#include <xtape/tools/reference_subject.hpp>

#include <array>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

using models::Gate;
using models::GateConfig;
using models::GateExample;

enum class Targets { decisions, next_tokens, both };

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

/// Sizes, forward pass and loss, for who writes the model anew.
std::string describe(const GateConfig& c) {
    return fmt::format("Sizes: vocab {}, dim {}, layers {}, heads {}, ffn {}, context {} (the most positions).\n{}",
                       c.vocab, c.dim, c.layers, c.heads, c.ffn, c.context, ragged_batch) +
           fmt::format(gate_text, c.ln_eps) + std::string(gate_loss);
}

/// Norm weights N(1, 0.3²), biases N(0, 0.3²), embeddings N(0, 0.5²), matrices N(0, 1/in), `loudness` times that for
/// the heads. Labels and weights are all that the specification names.
struct GateAudit {
    template <class T> using Model = Gate<T>;
    GateConfig config;
    std::vector<int> lengths;
    Targets targets = Targets::both;
    double loudness = 1;
    static constexpr double undecided = 0.5;  // a label that no loud logit is right about: its gradient is never zero
    std::vector<GateExample> examples = {};
    models::GateBatch batch = {};

    static bool is_norm(const std::string& name) {
        return name.ends_with("ln1.weight") || name.ends_with("ln2.weight") || name == "final_ln.weight";
    }
    double center(const std::string& name) const { return is_norm(name) ? 1 : 0; }
    double spread(const std::string& name, const Shape& shape) const {
        if (shape.rank() == 1) return 0.3;
        if (name.ends_with("embedding")) return 0.5;
        const bool head = name == "output.weight" || name == "gate.weight";
        return (head ? loudness : 1) / std::sqrt(static_cast<double>(shape[1]));
    }

    void draw_inputs(nn::Rng& rng) {
        constexpr std::array<double, 5> labels{-1, -0.5, undecided, 1, 1.5};
        constexpr std::array<double, 5> weights{1, 2, 4, 6, 8};
        const auto token = [&] { return static_cast<std::int32_t>(rng.below(config.vocab)); };
        for (std::size_t i = 0; i < lengths.size(); ++i) {
            GateExample example;
            for (int t = 0; t < lengths[i]; ++t) example.tokens.push_back(token());
            if (targets == Targets::next_tokens || (targets == Targets::both && i % 3 == 1)) example.next = token();
            example.label = labels[i % labels.size()];
            example.weight = weights[(2 * i + 1) % weights.size()];
            examples.push_back(std::move(example));
        }
        batch = models::pack(examples);
    }

    /// The logits of both heads as one row: [K V + M].
    template <class T> Tensor<T> output(const Gate<T>& model) const {
        const auto logits = model(batch);
        if (!logits.next) return logits.allow;
        const Tensor<T> next = reshape(logits.next, {logits.next.size()});
        return logits.allow ? concat({next, logits.allow}, 0) : next;
    }
    template <class T> Tensor<T> loss(const Gate<T>& model, const Tensor<T>& output) const {
        const Index decisions = batch.decisions.size(), split = output.size() - decisions;
        models::GateLogits<T> logits;
        if (split > 0) logits.next = reshape(slice(output, 0, 0, split), {batch.last.size(), config.vocab});
        if (decisions > 0) logits.allow = slice(output, 0, split, output.size());
        return model.loss(logits, batch);
    }

    Brief brief() const {
        std::vector<std::int32_t> next;
        for (const GateExample& example : examples) next.push_back(example.next.value_or(-1));
        Brief brief{{{"tokens", "what is read at each row", batch.tokens},
                     {"offsets", "where the examples begin, and where the last one ends", batch.offsets},
                     {"next", "the token that follows each example; −1 for a decision", indices(next)},
                     {"labels", "of each decision (unused for the others)", row(&GateExample::label)},
                     {"weights", "of each example in the loss", row(&GateExample::weight)}},
                    {},
                    describe(config)};
        if (batch.last.size() > 0) brief.outputs.emplace_back("next_logits", Shape{batch.last.size(), config.vocab});
        if (batch.decisions.size() > 0) brief.outputs.emplace_back("allow_logits", Shape{batch.decisions.size()});
        brief.outputs.emplace_back("loss", Shape{});
        return brief;
    }
    /// A value of each example.
    Tensor<float> row(double GateExample::*member) const {
        std::vector<float> values;
        for (const GateExample& example : examples) values.push_back(static_cast<float>(example.*member));
        return {Shape{static_cast<Index>(values.size())}, values};
    }
    reference::GateConfig plain() const {
        return {.vocab = config.vocab,
                .dim = config.dim,
                .layers = config.layers,
                .heads = config.heads,
                .ffn = config.ffn,
                .context = config.context,
                .ln_eps = config.ln_eps};
    }
    template <class T> auto by_hand(const reference::Arrays<T>& parameters, const std::string& fault) const {
        reference::GateBatch same;
        same.tokens.assign(batch.tokens.values().begin(), batch.tokens.values().end());
        same.offsets.assign(batch.offsets.values().begin(), batch.offsets.values().end());
        for (const GateExample& example : examples)
            same.examples.push_back({example.next ? reference::GateKind::next_token : reference::GateKind::decision,
                                     example.next.value_or(0), example.label, example.weight});
        auto run = reference::gate_run<T>(plain(), parameters, same, fault);
        run.logits.insert(run.logits.end(), run.allow_logits.begin(), run.allow_logits.end());
        return run;
    }
    std::vector<std::string> wrong(const std::string& fault) const {
        const bool confident = loudness > 1 && targets != Targets::next_tokens;
        if (fault == "gate-clamped-bce" && !confident) return {};
        return reference::gate_wrong_gradients(plain(), fault);
    }
    static bool is_projection(const std::string& name) {
        return name.ends_with("attention.wo") || name.ends_with("ffn.w2");
    }
};

AuditCase make_case(const GateConfig& config, const std::vector<int>& lengths, Targets targets, double loudness) {
    constexpr std::array names{"decisions", "next tokens", "both kinds"};
    std::string settings =
        fmt::format("{} layers, {}, {} lengths{}", config.layers, names[static_cast<std::size_t>(targets)],
                    lengths.size(), loudness > 1 ? ", logits beyond 100" : "");
    const int examples = static_cast<int>(lengths.size());
    return {std::move(settings),
            [=](std::uint64_t draw) {
                return std::make_unique<ReferenceSubject<GateAudit>>(
                    GateAudit{.config = config, .lengths = lengths, .targets = targets, .loudness = loudness},
                    draw + 1);
            },
            usual_factors(examples + 1, config.dim / config.heads)};
}

AuditCase random_gate_case(nn::Rng& rng) {
    GateConfig config{.vocab = pick(rng, 2, 30), .layers = pick(rng, 1, 3), .heads = pick(rng, 1, 4)};
    config.dim =
        config.heads * pick(rng, config.heads == 1 ? 3 : 2, 6);  // two values are normed to ±1, whatever they are
    config.ffn = pick(rng, 1, 24);
    config.context = pick(rng, 2, 12);
    const std::vector<int> lengths = random_lengths(rng, config.context);
    const bool both = lengths.size() > 1 && rng.below(2) == 0;
    const Targets targets = both ? Targets::both : rng.below(2) == 0 ? Targets::decisions : Targets::next_tokens;
    const bool loud = both && lengths.size() >= 3 && rng.below(3) == 0;  // one of three is undecided
    AuditCase drawn = make_case(config, lengths, targets, loud ? 60 : 1);
    drawn.settings = fmt::format("vocab {}, dim {}, heads {}, ffn {}, {}", config.vocab, config.dim, config.heads,
                                 config.ffn, drawn.settings);
    drawn.trains = both;  // decay by hand lowers a head that the tape's AdamW leaves alone, as it has no gradient
    return drawn;
}

}  // namespace

std::vector<AuditCase> gate_cases() {
    constexpr double loud = 60;
    const std::vector<int> lengths{9, 16, 3, 1, 12, 5, 2};
    std::vector<AuditCase> cases;
    for (const int layers : {1, 2}) {
        const GateConfig config{.vocab = 24, .dim = 32, .layers = layers, .heads = 4, .ffn = 48, .context = 16};
        for (const Targets targets : {Targets::both, Targets::decisions, Targets::next_tokens}) {
            cases.push_back(make_case(config, lengths, targets, 1));
            cases.back().trains = targets == Targets::both;
            cases.back().usual = cases.back().trains && layers == 1;
        }
        cases.push_back(make_case(config, lengths, Targets::both, loud));
    }
    return cases;
}

AuditReport audit_gate(const AuditRequest& request) {
    return audit("gate",
                 request.random > 0 ? random_cases(request.random, request.seed, random_gate_case) : gate_cases(),
                 request);
}

}  // namespace xtape::tools
