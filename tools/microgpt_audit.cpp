#include <xtape/engine/ops.hpp>
#include <xtape/models/microgpt/microgpt.hpp>
#include <xtape/tests/reference/microgpt.hpp>
#include <xtape/tools/briefs.hpp>
#include <xtape/tools/microgpt_audit.hpp>
#include <xtape/tools/reference_subject.hpp>

#include <array>
#include <cmath>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

using models::Microgpt;
using models::MicrogptConfig;

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

/// Sizes, forward pass and loss, for who writes the model anew.
std::string describe(const MicrogptConfig& c) {
    using Config = MicrogptConfig;
    const bool full = c.norm == Config::Norm::full;
    return fmt::format("Sizes: vocab {}, dim {}, heads {}, ffn {}, block {} (the most positions), layers {}.\n{}",
                       c.vocab, c.dim, c.heads, c.ffn, c.block, c.layers, ragged_batch) +
           fmt::format(microgpt_text, full ? ";  x = norm(x)" : "", c.norm == Config::Norm::none ? "x" : "norm(x)",
                       c.act == Config::Act::relu ? "relu" : "relu²", full ? "norm(x)" : "x") +
           (c.act == Config::Act::relu ? "\nrelu(x) = max(x, 0).\n" : "\nrelu²(x) = max(x, 0)².\n") +
           std::string(language_loss);
}

/// Embeddings N(0, 0.5²), matrices N(0, 1/in), `loudness` times that for the classifier.
struct MicrogptAudit {
    template <class T> using Model = Microgpt<T>;
    MicrogptConfig config;
    std::vector<int> lengths;
    double loudness = 1;
    models::Batch batch = {};

    double center(const std::string&) const { return 0; }
    double spread(const std::string& name, const Shape& shape) const {
        if (name == "wte" || name == "wpe") return 0.5;
        return (name == "wout" ? loudness : 1) / std::sqrt(static_cast<double>(shape[0]));
    }
    void draw_inputs(nn::Rng& rng) { batch = models::pack(draw_sequences(lengths, config.vocab, rng)); }
    template <class T> Tensor<T> output(const Microgpt<T>& model) const { return model(batch); }
    template <class T> Tensor<T> loss(const Microgpt<T>&, const Tensor<T>& logits) const {
        return cross_entropy(logits, batch.targets);
    }
    Brief brief() const { return brief_of(batch, config.vocab, describe(config)); }
    reference::MicrogptConfig plain() const {
        return {.vocab = config.vocab,
                .dim = config.dim,
                .heads = config.heads,
                .ffn = config.ffn,
                .block = config.block,
                .layers = config.layers,
                .norm = static_cast<reference::Norm>(config.norm),
                .act = static_cast<reference::Act>(config.act)};
    }
    template <class T> auto by_hand(const reference::Arrays<T>& parameters, const std::string& fault) const {
        return reference::microgpt_run<T>(plain(), parameters, reference_batch<reference::Batch>(batch, lengths),
                                          fault);
    }
    std::vector<std::string> wrong(const std::string& fault) const {
        return reference::microgpt_wrong_gradients(plain(), fault);
    }
    static bool is_projection(const std::string& name) { return name.ends_with("wo") || name.ends_with("w2"); }
};

AuditCase make_case(const MicrogptConfig& config, std::string norm, std::string act, std::vector<int> lengths,
                    double loudness) {
    int positions = 0;
    for (const int length : lengths) positions += length;
    std::string settings = fmt::format(
        "norm {}, act {}, layers {}, {}{}", norm, act, config.layers,
        lengths.size() == 1 ? fmt::format("1 name of {}", lengths[0]) : fmt::format("{} names packed", lengths.size()),
        loudness > 1 ? ", logits beyond 100" : "");
    return {std::move(settings),
            [=](std::uint64_t draw) {
                return std::make_unique<ReferenceSubject<MicrogptAudit>>(
                    MicrogptAudit{.config = config, .lengths = lengths, .loudness = loudness}, draw + 1);
            },
            usual_factors(positions + 1, config.dim / config.heads)};
}

AuditCase random_microgpt_case(nn::Rng& rng) {
    using Norm = MicrogptConfig::Norm;
    using Act = MicrogptConfig::Act;
    MicrogptConfig config{.vocab = pick(rng, 2, 30), .heads = pick(rng, 1, 4), .ffn = pick(rng, 1, 24)};
    config.dim = config.heads * pick(rng, config.heads == 1 ? 2 : 1, 6);
    config.block = pick(rng, 2, 12);
    config.layers = pick(rng, 1, 3);
    config.norm = std::array{Norm::none, Norm::attention, Norm::full}[static_cast<std::size_t>(rng.below(3))];
    config.act = rng.below(2) == 0 ? Act::relu : Act::relu_squared;
    const std::vector<int> lengths = random_lengths(rng, config.block);
    const double loudness = has_mistakes(lengths, config.vocab) && rng.below(3) == 0 ? 60 : 1;
    AuditCase drawn = make_case(config, "", "", lengths, loudness);
    drawn.settings = fmt::format("vocab {}, dim {}, heads {}, ffn {}, layers {}, norm {}, act {}, loudness {}",
                                 config.vocab, config.dim, config.heads, config.ffn, config.layers,
                                 static_cast<int>(config.norm), static_cast<int>(config.act), loudness);
    drawn.step = 1.0 / 16384;  // relu² bends at its kink, and narrow norms bend most
    drawn.trains = true;
    return drawn;
}

}  // namespace

std::vector<AuditCase> microgpt_cases() {
    using Norm = MicrogptConfig::Norm;
    using Act = MicrogptConfig::Act;
    constexpr double loud = 60;
    std::vector<AuditCase> cases;
    for (const auto& [norm_name, norm] :
         {std::pair{"none", Norm::none}, {"attention", Norm::attention}, {"full", Norm::full}}) {
        for (const auto& [act_name, act] : {std::pair{"relu", Act::relu}, {"relu²", Act::relu_squared}}) {
            for (const int layers : {1, 3}) {
                const MicrogptConfig config{.layers = layers, .norm = norm, .act = act};
                cases.push_back(make_case(config, norm_name, act_name, {7}, 1));
                cases.push_back(make_case(config, norm_name, act_name, {1, config.block, 5, 2}, 1));
                cases.back().trains = layers == 3 && norm == Norm::attention;
                cases.back().usual = layers == 1 && norm == Norm::attention && act == Act::relu;
            }
            const MicrogptConfig config{.norm = norm, .act = act};
            cases.push_back(make_case(config, norm_name, act_name, {config.block}, loud));
        }
    }
    return cases;
}

AuditReport audit_microgpt(const AuditRequest& request) {
    return audit(
        "microgpt",
        request.random > 0 ? random_cases(request.random, request.seed, random_microgpt_case) : microgpt_cases(),
        request);
}

}  // namespace xtape::tools
