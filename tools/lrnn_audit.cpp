#include <xtape/engine/ops.hpp>
#include <xtape/models/lrnn/lrnn.hpp>
#include <xtape/tests/reference/lrnn.hpp>
#include <xtape/tools/briefs.hpp>
#include <xtape/tools/lrnn_audit.hpp>
#include <xtape/tools/reference_subject.hpp>

#include <array>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

using models::Lrnn;
using models::LrnnConfig;

/// What a case exposes.
enum class Kind { usual, near_one, steep };

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

/// Sizes, forward pass and loss, for who writes the model anew.
std::string describe(const LrnnConfig& given) {
    const LrnnConfig c = given.checked();
    std::string text =
        fmt::format("Sizes: vocab {}, layers {}, dim {}, heads {}, decay_rank {}, ffn {}, slots {}.\n{}{}{}", c.vocab,
                    c.layers, c.dim, c.heads, c.decay_rank, c.ffn(), c.slots, ragged_batch, lrnn_text, language_loss);
    if (c.label_smoothing > 0)
        text += fmt::format(
            "\nIt is smoothed, ε = {0}: the target distribution has ε/vocab everywhere, and 1 − ε more at the "
            "target.\n",
            c.label_smoothing);
    return text;
}

/// Weights of norms N(1, 0.3²), their biases N(0, 0.3²), embeddings N(0, 0.5²), matrices N(0, 1/in), other vectors
/// N(0, 0.5²), and decay_base around 1.5, or 7 where decays are near 1. A steep case has small keys, by Wk of one sign
/// against a bias, and loud logits: the gradients of the scan are large.
struct LrnnAudit {
    template <class T> using Model = Lrnn<T>;
    LrnnConfig config;
    std::vector<int> lengths;
    Kind kind = Kind::usual;
    models::Batch batch = {};

    double center(const std::string& name) const {
        if (name.ends_with("decay_base")) return kind == Kind::near_one ? 7 : 1.5;
        if (kind == Kind::steep && name.ends_with("ln1.bias")) return 1;
        if (kind == Kind::steep && name.ends_with("Wk")) return -7.0 / config.dim;
        return name.ends_with("weight") ? 1 : 0;
    }
    double spread(const std::string& name, const Shape& shape) const {
        if (name.ends_with("weight") || name.ends_with("bias")) return 0.3;
        if (shape.rank() == 1 || name == "emb") return 0.5;
        const double usual = 1 / std::sqrt(static_cast<double>(shape[0]));
        if (kind == Kind::steep && name.ends_with("Wk")) return 0.2 * usual;
        return kind == Kind::steep && name == "head" ? 30 * usual : usual;
    }
    void draw_inputs(nn::Rng& rng) { batch = models::pack(draw_sequences(lengths, config.vocab, rng)); }
    template <class T> Tensor<T> output(const Lrnn<T>& model) const { return model(batch); }
    template <class T> Tensor<T> loss(const Lrnn<T>&, const Tensor<T>& logits) const {
        return cross_entropy(logits, batch.targets, {.label_smoothing = config.label_smoothing});
    }
    Brief brief() const { return brief_of(batch, config.vocab, describe(config)); }
    reference::LrnnConfig plain() const {
        return {.vocab = config.vocab,
                .layers = config.layers,
                .dim = config.dim,
                .heads = config.heads,
                .decay_rank = config.decay_rank,
                .ffn = config.ffn(),
                .slots = config.slots,
                .label_smoothing = config.label_smoothing};
    }
    template <class T> auto by_hand(const reference::Arrays<T>& parameters, const std::string& fault) const {
        return reference::lrnn_run<T>(plain(), parameters, reference_batch<reference::Batch>(batch, lengths), fault);
    }
    std::vector<std::string> wrong(const std::string& fault) const {
        if (fault == "scan-no-carry" && std::ranges::max(lengths) <= plain().chunk) return {};
        if (fault == "lrnn-clamped-scan" && kind != Kind::steep) return {};
        return reference::lrnn_wrong_gradients(plain(), fault);
    }
    static bool is_projection(const std::string& name) { return name.ends_with("Wo") || name.ends_with("ffn_down"); }
};

AuditCase make_case(const LrnnConfig& config, std::vector<int> lengths, Kind kind) {
    const std::string inputs = lengths.size() == 1 ? fmt::format("1 sequence of {}", lengths[0])
                                                   : fmt::format("{} sequences packed", lengths.size());
    std::string settings = fmt::format("heads {}, slots {}, {}{}{}", config.heads, config.slots, inputs,
                                       kind == Kind::near_one ? ", decays near 1"
                                       : kind == Kind::steep  ? ", small keys and loud logits"
                                                              : "",
                                       config.label_smoothing > 0 ? ", smoothed" : "");
    const int positions = std::accumulate(lengths.begin(), lengths.end(), 0);
    return {.settings = std::move(settings),
            .make =
                [=](std::uint64_t draw) {
                    return std::make_unique<ReferenceSubject<LrnnAudit>>(
                        LrnnAudit{.config = config, .lengths = lengths, .kind = kind}, draw + 1);
                },
            .factors = usual_factors(positions + 1, config.dim / config.heads),
            .step = 1.0 / 128};
}

AuditCase random_lrnn_case(nn::Rng& rng) {
    LrnnConfig config{.vocab = pick(rng, 2, 30), .layers = pick(rng, 1, 3), .heads = pick(rng, 1, 3)};
    config.dim =
        config.heads * pick(rng, config.heads == 1 ? 3 : 2, 6);  // two values are normed to ±1, whatever they are
    config.decay_rank = pick(rng, 1, 4);
    config.ffn_multiplier = static_cast<float>(rng.uniform(0.5, 2.5));
    config.slots = pick(rng, 1, 4);
    config.label_smoothing = rng.below(3) == 0 ? 0.1 : 0;
    const Kind kind = std::array{Kind::usual, Kind::near_one, Kind::steep}[static_cast<std::size_t>(rng.below(3))];
    AuditCase drawn = make_case(config, random_lengths(rng, 24), kind);
    drawn.settings = fmt::format("vocab {}, dim {}, ffn {}, layers {}, {}", config.vocab, config.dim, config.ffn(),
                                 config.layers, drawn.settings);
    drawn.trains = true;
    return drawn;
}

}  // namespace

std::vector<AuditCase> lrnn_cases() {
    std::vector<AuditCase> cases;
    for (const int heads : {1, 2, 4}) {
        for (const int slots : {1, 2, 4}) {
            const LrnnConfig config{.vocab = 29,
                                    .layers = 2,
                                    .dim = 16,
                                    .heads = heads,
                                    .decay_rank = 3,
                                    .ffn_multiplier = 1.5f,
                                    .slots = slots};
            cases.push_back(make_case(config, {9}, Kind::usual));
            cases.push_back(make_case(config, {1, 40, 5, 2}, Kind::usual));
            cases.back().trains = cases.back().usual = heads == 2 && slots == 2;
            cases.push_back(make_case(config, {48}, Kind::near_one));
        }
    }
    const LrnnConfig others{.vocab = 29, .dim = 16, .heads = 2, .decay_rank = 3};
    cases.push_back(make_case(others, {3, 9, 8}, Kind::steep));
    LrnnConfig smoothed = others;
    smoothed.label_smoothing = 0.1;
    cases.push_back(make_case(smoothed, {7, 7}, Kind::usual));
    return cases;
}

AuditReport audit_lrnn(const AuditRequest& request) {
    return audit("lrnn",
                 request.random > 0 ? random_cases(request.random, request.seed, random_lrnn_case) : lrnn_cases(),
                 request);
}

}  // namespace xtape::tools
