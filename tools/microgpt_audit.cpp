#include <xtape/engine/ops.hpp>
#include <xtape/models/microgpt/microgpt.hpp>
#include <xtape/tests/reference/microgpt.hpp>
#include <xtape/tools/audit.hpp>
#include <xtape/tools/microgpt_audit.hpp>

#include <cmath>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

using models::Batch;
using models::Microgpt;
using models::MicrogptConfig;
using Sequences = std::vector<std::vector<std::int32_t>>;

/// Token sequences of the given numbers of inputs.
Sequences draw_sequences(std::span<const int> lengths, int vocab, nn::Rng& rng) {
    Sequences sequences;
    for (const int length : lengths) {
        auto& sequence = sequences.emplace_back();
        for (int i = 0; i <= length; ++i) sequence.push_back(static_cast<std::int32_t>(rng.below(vocab)));
    }
    return sequences;
}

template <class T> reference::Arrays<T> arrays_of(const Microgpt<double>& model) {
    reference::Arrays<T> arrays;
    for (const auto& [name, parameter] : nn::parameters(model)) {
        auto& array = arrays.emplace_back();
        array.name = name;
        for (const Index extent : parameter->shape()) array.shape.push_back(static_cast<int>(extent));
        for (const double value : parameter->values()) array.values.push_back(static_cast<T>(value));
    }
    return arrays;
}

class MicrogptSubject final : public AuditSubject {
public:
    /// Embeddings N(0, 0.5²), matrices N(0, 1/in), `loudness` times that for the classifier.
    MicrogptSubject(const MicrogptConfig& config, std::span<const int> lengths, double loudness, std::uint64_t seed)
        : model64_(nn::build<Microgpt<double>>(config, seed)), model32_(nn::build<Microgpt<float>>(config, seed)) {
        nn::Rng rng(seed + 1000);
        for (const auto& [name, parameter] : nn::parameters(model64_)) {
            const bool embedding = name == "wte" || name == "wpe";
            const double stddev = embedding ? 0.5 : 1 / std::sqrt(static_cast<double>(parameter->shape()[0]));
            for (double& value : parameter->write())
                value = static_cast<float>(stddev * rng.normal() * (name == "wout" ? loudness : 1));
        }
        nn::copy_parameters(model64_, model32_);
        const Sequences sequences = draw_sequences(lengths, config.vocab, rng);
        batch_ = models::pack(sequences);
        reference_batch_.inputs.assign(batch_.tokens.values().begin(), batch_.tokens.values().end());
        reference_batch_.targets.assign(batch_.targets.values().begin(), batch_.targets.values().end());
        reference_batch_.offsets.push_back(0);
        for (const int length : lengths) reference_batch_.offsets.push_back(reference_batch_.offsets.back() + length);
    }

    std::vector<NamedParameter> parameters() override {
        std::vector<NamedParameter> all;
        for (const auto& [name, parameter] : nn::parameters(model64_)) all.push_back({name, parameter});
        return all;
    }
    Tensor<double> loss() const override { return model64_.loss(batch_); }
    Evaluation tape64() override { return on_tape(model64_); }
    Evaluation tape32() override { return on_tape(model32_); }
    Evaluation reference64(const std::string& fault) const override { return by_hand<double>(fault); }
    Evaluation reference32(const std::string& fault) const override { return by_hand<float>(fault); }

private:
    template <class T> Evaluation on_tape(Microgpt<T>& model) const {
        return evaluate_on_tape(
            nn::parameters(model), [&] { return model(batch_); },
            [&](const Tensor<T>& logits) { return cross_entropy(logits, batch_.targets); });
    }

    template <class T> Evaluation by_hand(const std::string& fault) const {
        const MicrogptConfig& c = model64_.config();
        const reference::MicrogptConfig config{.vocab = c.vocab,
                                               .dim = c.dim,
                                               .heads = c.heads,
                                               .ffn = c.ffn,
                                               .block = c.block,
                                               .layers = c.layers,
                                               .norm = static_cast<reference::Norm>(c.norm),
                                               .act = static_cast<reference::Act>(c.act)};
        const auto run = reference::microgpt_run<T>(config, arrays_of<T>(model64_), reference_batch_, fault);
        Evaluation result;
        result.output.assign(run.logits.begin(), run.logits.end());
        result.output.push_back(static_cast<double>(run.loss));
        for (const auto& gradient : run.gradients)
            result.gradients.emplace_back(gradient.values.begin(), gradient.values.end());
        return result;
    }

    Microgpt<double> model64_;
    Microgpt<float> model32_;
    Batch batch_;
    reference::Batch reference_batch_;
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
            [=](std::uint64_t draw) { return std::make_unique<MicrogptSubject>(config, lengths, loudness, draw + 1); },
            usual_factors(positions + 1, config.dim / config.heads)};
}

}  // namespace

Exit audit_microgpt(const AuditSettings& settings) {
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
            }
            const MicrogptConfig config{.norm = norm, .act = act};
            cases.push_back(make_case(config, norm_name, act_name, {config.block}, loud));
        }
    }
    return audit("microgpt", cases, settings);
}

}  // namespace xtape::tools
