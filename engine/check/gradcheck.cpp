#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/check/variable_check.hpp>
#include <xtape/engine/tape.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xtape {
namespace {

using check::Random;
using check::TensorFunction;
using check::Variable;
using check::VariableCheck;
using check::Weighed;

Weighed weigh(const Tensor<double>& y, const Tensor<double>& cotangent) {
    Weighed sum;
    for (std::size_t i = 0; i < y.values().size(); ++i) {
        const double term = y.data()[i] * cotangent.data()[i];
        sum.value += term;
        sum.magnitude += std::abs(term);
    }
    return sum;
}

std::string input_name(const GradcheckOptions& options, std::size_t input) {
    return input < options.names.size() ? options.names[input] : fmt::format("input {}", input);
}

std::vector<double> elements_of(const Tensor<double>& x) { return {x.values().begin(), x.values().end()}; }

/// The inputs of a function as variables, with the tape's gradients for one cotangent.
class Problem {
public:
    Problem(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs, const GradcheckOptions& options,
            const check::MakeCotangent<double>& make)
        : options_(options) {
        Tensor<double> dy;
        const auto by_tape =
            check::tape_gradients<double>(f, inputs, [&](const Tensor<double>& y) { return dy = make(y); });
        if (!dy) dy = make(by_tape.y);
        for (std::size_t i = 0; i < inputs.size(); ++i)
            variables.push_back({input_name(options, i), inputs[i].shape(), elements_of(inputs[i]), by_tape.dx[i]});
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            checks.emplace_back(
                variables[i],
                [&f, inputs, dy, i](const std::vector<double>& elements) {
                    const Pause pause;
                    std::vector<Tensor<double>> x(inputs.begin(), inputs.end());
                    x[i] = Tensor<double>(x[i].shape(), elements);
                    return weigh(f(x), dy);
                },
                options_);
        }
    }
    Problem(const Problem&) = delete;
    Problem& operator=(const Problem&) = delete;

    std::vector<Variable> variables;
    std::vector<VariableCheck> checks;

private:
    GradcheckOptions options_;
};

/// The elements of a Parameter, put back when it ends.
class Restored {
public:
    /// Throws ValueError while an unreplayed record reads it.
    explicit Restored(Parameter<double>& parameter) : parameter_(parameter), elements_(elements_of(parameter)) {
        parameter_.write();
    }
    ~Restored() { std::ranges::copy(elements_, parameter_.write().begin()); }
    Restored(const Restored&) = delete;
    Restored& operator=(const Restored&) = delete;

private:
    Parameter<double>& parameter_;
    std::vector<double> elements_;
};

std::vector<Variable> parameter_variables(const std::function<Tensor<double>()>& loss,
                                          std::span<const NamedParameter> parameters) {
    Tape<double> tape;
    const Tensor<double> value = loss();
    std::vector<const Tensor<double>*> reached;
    std::vector<Variable> variables;
    for (const auto& [name, parameter] : parameters) {
        variables.push_back({name, parameter->shape(), elements_of(*parameter), {}});
        if (Tape<double>::reads(parameter->state())) reached.push_back(parameter);
    }
    if (value.size() != 1)
        throw ShapeError(fmt::format("check_parameters: the loss must be a scalar: loss is {}; take mean(loss)",
                                     to_string(value.shape())));
    if (reached.empty()) return variables;
    const auto gradients = tape.gradient(value, Tensor<double>::full(value.shape(), 1), reached);
    for (std::size_t i = 0; i < reached.size(); ++i) {
        const auto at = std::ranges::find(parameters, reached[i], &NamedParameter::parameter) - parameters.begin();
        variables[static_cast<std::size_t>(at)].gradient = gradients[i];
    }
    return variables;
}

}  // namespace

namespace check {

GradReport gradcheck(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
                     const GradcheckOptions& options) {
    Random random(options.seed + 1);
    Problem problem(f, inputs, options, [&](const Tensor<double>& y) {
        return y.size() == 1 ? Tensor<double>::full(y.shape(), 1) : random.tensor(y.shape(), -1, 1);
    });
    return run_checks(problem.checks, options, "gradcheck");
}

GradReport jacobian_check(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
                          const GradcheckOptions& options) {
    struct Entries {
        std::vector<double> by_tape, by_difference;
        double size = 0, rounding = 0;
        int kinks = 0;
    };
    std::vector<Entries> all(inputs.size());
    Index outputs = 1;
    for (Index output = 0; output < outputs; ++output) {
        const Problem problem(f, inputs, options, [&](const Tensor<double>& y) {
            outputs = y.size();
            std::vector<double> one(static_cast<std::size_t>(outputs));
            if (outputs > 0) one[static_cast<std::size_t>(output)] = 1;
            return Tensor<double>(y.shape(), one);
        });
        for (std::size_t i = 0; i < inputs.size() && outputs > 0; ++i) {
            for (std::size_t j = 0; j < problem.variables[i].size(); ++j) {
                const Slope slope = problem.checks[i].entry(j);
                all[i].by_tape.push_back(problem.variables[i].slope(j));
                all[i].by_difference.push_back(slope.value);
                all[i].size = std::max(all[i].size, std::abs(slope.value));
                all[i].rounding = std::max(all[i].rounding, slope.rounding);
                all[i].kinks += slope.smooth ? 0 : 1;
            }
        }
    }
    GradReport report{.check = "jacobian_check", .seed = options.seed};
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        GradRow& row = report.rows.emplace_back(GradRow{input_name(options, i), {outputs, inputs[i].size()}});
        const Entries& entries = all[i];
        fill_from_entries(row, entries.by_tape, entries.by_difference,
                          options.tolerance * entries.size + entries.rounding);
        if (entries.size <= entries.rounding && row.verdict == Verdict::agree) row.verdict = Verdict::vacuous;
        if (entries.kinks == 0) continue;
        row.verdict = Verdict::differs;
        row.diagnosis = fmt::format("{} entries stand at a kink: move the input away from it", entries.kinks);
    }
    return report;
}

}  // namespace check

GradReport check_parameters(const std::function<Tensor<double>()>& loss, std::span<const NamedParameter> parameters,
                            const GradcheckOptions& options) {
    const std::vector<Variable> variables = parameter_variables(loss, parameters);
    std::vector<VariableCheck> checks;
    for (std::size_t i = 0; i < variables.size(); ++i) {
        Parameter<double>& parameter = *parameters[i].parameter;
        checks.emplace_back(
            variables[i],
            [&](const std::vector<double>& elements) {
                const Pause pause;
                const Restored restored(parameter);
                std::ranges::copy(elements, parameter.write().begin());
                Weighed value = weigh(loss(), Tensor<double>(1.0));
                value.magnitude = std::max(value.magnitude, options.magnitude);
                return value;
            },
            options);
    }
    return check::run_checks(checks, options, "check_parameters");
}

}  // namespace xtape
