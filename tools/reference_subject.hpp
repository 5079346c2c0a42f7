#pragma once
// A model beside its hand-written reference, as an AuditSubject. What the two have in common a struct `How` says:
//
//     template <class T> using Model = models::Microgpt<T>;
//     models::MicrogptConfig config;
//     double spread(const std::string& name, const Shape& shape) const;  // standard deviation of a parameter's values
//     double center(const std::string& name) const;                      // and their mean
//     void draw_inputs(nn::Rng& rng);
//     template <class T> Tensor<T> output(const Model<T>& model) const;  // logits, say
//     template <class T> Tensor<T> loss(const Model<T>& model, const Tensor<T>& output) const;
//     Brief brief() const;                                                // for who writes the model anew
//     template <class T> auto by_hand(const reference::Arrays<T>& parameters, const std::string& fault) const;
//     std::vector<std::string> wrong(const std::string& fault) const;    // names: see AuditSubject
//     static bool is_projection(const std::string& name);                // writes into the residual stream

#include <xtape/tools/audit.hpp>
#include <xtape/tools/reference_training.hpp>

#include <limits>
#include <numeric>
#include <utility>

namespace xtape::tools {

template <class How> class ReferenceSubject final : public AuditSubject {
public:
    ReferenceSubject(How how, std::uint64_t seed)
        : how_(std::move(how)), model64_(nn::build<Model<double>>(how_.config, seed)) {
        nn::Rng rng(seed + 1000);
        for (const auto& [name, parameter] : nn::parameters(model64_)) {
            const double spread = how_.spread(name, parameter->shape()), center = how_.center(name);
            for (double& value : parameter->write()) value = static_cast<float>(center + spread * rng.normal());
        }
        how_.draw_inputs(rng);
    }

    std::vector<NamedParameter> parameters() override {
        std::vector<NamedParameter> all;
        for (const auto& [name, parameter] : nn::parameters(model64_)) all.push_back({name, parameter});
        return all;
    }
    Tensor<double> loss() const override { return how_.loss(model64_, how_.output(model64_)); }
    Evaluation tape64() override { return on_tape(model64_); }
    Evaluation tape32() override {
        Model<float> model = model32();
        return on_tape(model);
    }
    Trace trace64() override {
        return trace_of_loss<double>(nn::parameters(model64_), [&] { return loss(); });
    }
    Trace trace32() override {
        Model<float> model = model32();
        return trace_of_loss<float>(nn::parameters(model), [&] { return how_.loss(model, how_.output(model)); });
    }
    Brief brief() const override { return how_.brief(); }
    Evaluation reference64(const std::string& fault) const override { return by_hand<double>(fault); }
    Evaluation reference32(const std::string& fault) const override { return by_hand<float>(fault); }
    std::vector<std::string> wrong_parameters(const std::string& fault) const override { return how_.wrong(fault); }
    void zero_projections() override {
        for (const auto& [name, parameter] : nn::parameters(model64_))
            if (How::is_projection(name)) std::ranges::fill(parameter->write(), 0.0);
    }
    Training train_on_tape(const TrainingSettings& settings) const override {
        return tools::train_on_tape(how_, settings);
    }
    Training train_by_hand(const TrainingSettings& settings, const std::string& fault) const override {
        return tools::train_by_hand(how_, plain_parameters<double>(), settings, fault);
    }

private:
    template <class T> using Model = typename How::template Model<T>;

    /// The same parameters in f32.
    Model<float> model32() {
        auto model = nn::build<Model<float>>(how_.config, 1);
        nn::copy_parameters(model64_, model);
        return model;
    }

    template <class T> Evaluation on_tape(Model<T>& model) const {
        return evaluate_on_tape(
            nn::parameters(model), [&] { return how_.output(model); },
            [&](const Tensor<T>& output) { return how_.loss(model, output); });
    }

    template <class T> reference::Arrays<T> plain_parameters() const {
        reference::Arrays<T> arrays;
        for (const auto& [name, parameter] : nn::parameters(model64_)) {
            auto& array = arrays.emplace_back();
            array.name = name;
            for (const Index extent : parameter->shape()) array.shape.push_back(static_cast<int>(extent));
            for (const double value : parameter->values()) array.values.push_back(static_cast<T>(value));
        }
        return arrays;
    }

    template <class T> Evaluation by_hand(const std::string& fault) const {
        const auto run = how_.template by_hand<T>(plain_parameters<T>(), fault);
        Evaluation result;
        result.output.assign(run.logits.begin(), run.logits.end());
        result.output.push_back(static_cast<double>(run.loss));
        for (const auto& gradient : run.gradients)
            result.gradients.emplace_back(gradient.values.begin(), gradient.values.end());
        return result;
    }

    How how_;
    Model<double> model64_;
};

/// Token sequences of the given numbers of inputs, each with one more token as its last target.
inline std::vector<std::vector<std::int32_t>> draw_sequences(std::span<const int> lengths, int vocab, nn::Rng& rng) {
    std::vector<std::vector<std::int32_t>> sequences;
    for (const int length : lengths) {
        auto& sequence = sequences.emplace_back();
        for (int i = 0; i <= length; ++i) sequence.push_back(static_cast<std::int32_t>(rng.below(vocab)));
    }
    return sequences;
}

/// A number from low to high, both included.
inline int pick(nn::Rng& rng, int low, int high) { return low + static_cast<int>(rng.below(high - low + 1)); }

/// Lengths of 1 to 4 sequences of up to `longest` tokens, the first of 2 or more: queries of one key have no gradient.
inline std::vector<int> random_lengths(nn::Rng& rng, int longest) {
    std::vector<int> lengths{pick(rng, 2, longest)};
    for (int more = pick(rng, 0, 3); more > 0; --more) lengths.push_back(pick(rng, 1, longest));
    return lengths;
}

/// Whether some of so many random targets are sure to be missed: where loud logits are all right, every gradient is
/// zero, and nothing would be checked.
inline bool has_mistakes(const std::vector<int>& lengths, int vocab) {
    return vocab >= 8 && std::accumulate(lengths.begin(), lengths.end(), 0) >= 4;
}

/// So many cases, each `draw(rng)` with an Rng of its own.
template <class Draw> std::vector<AuditCase> random_cases(int count, std::uint64_t seed, const Draw& draw) {
    std::vector<AuditCase> cases;
    for (int i = 0; i < count; ++i) {
        nn::Rng rng(seed * 1'000'003 + static_cast<std::uint64_t>(i));
        cases.push_back(draw(rng));
        cases.back().make = [make = cases.back().make, first = 100 * rng.below(1 << 20)](std::uint64_t draw) {
            return make(static_cast<std::uint64_t>(first) + draw);
        };
    }
    return cases;
}

/// A batch of sequences of `lengths` inputs as the references take it.
template <class ReferenceBatch, class Batch>
ReferenceBatch reference_batch(const Batch& batch, std::span<const int> lengths) {
    ReferenceBatch plain;
    plain.inputs.assign(batch.tokens.values().begin(), batch.tokens.values().end());
    plain.targets.assign(batch.targets.values().begin(), batch.targets.values().end());
    plain.offsets.push_back(0);
    for (const int length : lengths) plain.offsets.push_back(plain.offsets.back() + length);
    return plain;
}

}  // namespace xtape::tools
