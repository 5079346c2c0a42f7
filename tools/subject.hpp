#pragma once
// What a backward pass is judged on: a loss with its parameters and inputs, in f64 and in f32 by the tape, and in
// words.

#include <xtape/engine/check/departure.hpp>
#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace xtape::tools {

/// A loss with its logits, and the gradient of each parameter, widened to f64.
struct Evaluation {
    std::vector<double> output;
    std::vector<std::vector<double>> gradients;
};

/// What a program that computes the same needs besides the parameters.
struct SubjectInput {
    std::string name, meaning;
    std::variant<Indices, Tensor<float>> values;
};

/// A subject for a person who writes it anew.
struct Brief {
    std::vector<SubjectInput> inputs;
    std::vector<std::pair<std::string, Shape>> outputs;  ///< that Evaluation::output consists of; the last is the loss
    std::string text;                                    ///< Markdown: sizes, forward pass, loss
};

/// Parameters and inputs are numbers of f32, so that all evaluate the same function.
class Subject {
public:
    virtual ~Subject() = default;
    /// Of the f64 model, in the order of all gradients.
    virtual std::vector<NamedParameter> parameters() = 0;
    virtual Tensor<double> loss() const = 0;
    virtual Evaluation tape64() = 0;
    virtual Evaluation tape32() = 0;
    /// The same in f32 by plain sequential sums, where there is such a thing.
    virtual std::optional<Evaluation> sequential32() const { return {}; }
    virtual Trace trace64() = 0;
    virtual Trace trace32() = 0;
    virtual Brief brief() const = 0;
};

/// Draws parameters and inputs by a seed.
using MakeSubject = std::function<std::unique_ptr<Subject>(std::uint64_t draw)>;

/// Relative errors that rounding makes: of each gradient, and of logits and loss.
struct NoiseFloors {
    std::vector<double> gradients;
    double output = 0;
};

/// How far rounding takes the f32 tape from `truth`, it and plain sequential sums on three other draws than the one
/// judged, and a few epsilon of the parameters the gradients of that one.
NoiseFloors noise_floors(Subject& subject, const MakeSubject& make, const Evaluation& truth);

/// The trace in f64, with the noise floors of the f32 tape over as many draws.
Trace trace_with_noise(Subject& subject, const MakeSubject& make);

/// Looks for one fault behind all gradients of `report` that differ; `candidates` in the order of parameters.
void explain(GradReport& report, Subject& subject, std::span<const std::vector<double>> candidates);

/// The trace of a subject's loss by its parameters, in T.
template <Real T, class Named> Trace trace_of_loss(const std::vector<Named>& parameters, const auto& loss) {
    Tape<T> tape({.keep_records = true});
    std::vector<NamedLeaf<T>> leaves;
    for (const auto& [name, parameter] : parameters) leaves.push_back({name, parameter});
    return trace_of<T>(tape, loss(), leaves);
}

}  // namespace xtape::tools
