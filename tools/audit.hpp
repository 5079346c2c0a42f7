#pragma once
// xtape audit: a model's gradients by the tape against a hand-written backward pass and finite differences, on many
// settings. A model brings its cases (microgpt_audit.cpp); the judgement and the report are here.

#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/check/trajectory.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/tools/model_command.hpp>
#include <xtape/tools/subject.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace xtape::tools {

/// Of the training that an audit judges.
struct TrainingSettings {
    double lr = 0.01, max_norm = 0.25, beta1 = 0.85, beta2 = 0.99, weight_decay = 0.1;
};

/// A model that is evaluated by its hand-written reference as well.
class AuditSubject : public Subject {
public:
    std::optional<Evaluation> sequential32() const override { return reference32(""); }
    /// Throws std::invalid_argument for a fault that the reference does not know.
    virtual Evaluation reference64(const std::string& fault) const = 0;
    virtual Evaluation reference32(const std::string& fault) const = 0;
    /// The parameters whose gradient the fault makes wrong on this input, vacuous ones perhaps among them.
    virtual std::vector<std::string> wrong_parameters(const std::string& fault) const = 0;
    /// Sets to zero what writes into the residual stream, as some initialisations do.
    virtual void zero_projections() = 0;
    /// Training on this input in f64: by the tape, clip_grad_norm and AdamW; and by hand, perhaps with a fault.
    virtual Training train_on_tape(const TrainingSettings& settings) const = 0;
    virtual Training train_by_hand(const TrainingSettings& settings, const std::string& fault) const = 0;
};

/// One setting of a model and one kind of input; `make` draws parameters and inputs by a seed.
struct AuditCase {
    std::string settings;
    std::function<std::unique_ptr<AuditSubject>(std::uint64_t draw)> make;
    std::vector<NamedFactor> factors;  ///< that a diagnosis may name
    /// The longest finite difference. Short: a kink of the second derivative (relu²) costs an error of its square.
    double step = 1.0 / 4096;
    bool trains = false;  ///< a few steps of training are judged too
    bool usual = false;   ///< exported unless another is chosen: ragged, and with all that the model usually has
};

/// Whether a fault is one of the training steps: clip-squared-norm, ...
bool is_optimizer_fault(const std::string& fault);

/// Judges all cases, with a fault in the hand-written backward pass where one is named, or in the training steps, or
/// with zero-init in the inputs. Parameters that no case proves, as their true gradients are all zero, fail. Throws
/// UsageError for an unknown fault.
AuditReport audit(const std::string& model, std::span<const AuditCase> cases, const AuditRequest& request);

/// A row as `--json` prints it.
Json to_json(const GradRow& row);

/// Loss, logits and gradients of a model by the tape: `forward()` gives the logits, `loss(logits)` the loss.
template <Real T, class Forward, class Loss>
Evaluation evaluate_on_tape(const std::vector<nn::Named<T>>& parameters, const Forward& forward, const Loss& loss) {
    Tape<T> tape;
    const Tensor<T> logits = forward();
    const Tensor<T> value = loss(logits);
    Evaluation result;
    result.output.assign(logits.values().begin(), logits.values().end());
    result.output.push_back(static_cast<double>(value.item()));
    std::vector<const Tensor<T>*> of;
    for (const auto& named : parameters) of.push_back(named.parameter);
    for (const Tensor<T>& gradient : tape.gradient(value, Tensor<T>::full({}, T(1)), of))
        result.gradients.emplace_back(gradient.values().begin(), gradient.values().end());
    return result;
}

}  // namespace xtape::tools
