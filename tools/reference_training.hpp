#pragma once
// Training of an audited model, by the tape and by hand, as compare_trajectories takes it. `How` is that of
// reference_subject.hpp.

#include <xtape/optim/adam.hpp>
#include <xtape/optim/gradients.hpp>
#include <xtape/tests/reference/optimizers.hpp>
#include <xtape/tools/audit.hpp>

#include <algorithm>
#include <memory>

namespace xtape::tools {

/// One step of `model`: backward, clip_grad_norm, AdamW.
template <class How, class Model>
std::vector<StepArray> step_on_tape(const How& how, Model& model, AdamW<double>& adamw, double max_norm) {
    std::vector<StepArray> left;
    const auto parameters = nn::parameters(model);
    const auto add = [&](Stage stage, const std::string& name, const Shape& shape, auto values) {
        left.push_back({stage, name, shape, {values.begin(), values.end()}});
    };
    Tape<double> tape;
    const Tensor<double> loss = how.loss(model, how.output(model));
    tape.backward(loss);
    add(Stage::loss, "", {}, loss.values());
    for (const auto& [name, p] : parameters) add(Stage::gradient, name, p->shape(), p->grad().values());
    clip_grad_norm(model, max_norm);
    for (const auto& [name, p] : parameters) add(Stage::clipped_gradient, name, p->shape(), p->grad().values());
    adamw.step();
    for (const nn::Array& array : adamw.state())
        if (!array.name.starts_with("step."))
            add(Stage::optimizer_state, array.name, array.shape, std::get<std::span<double>>(array.values));
    for (const auto& [name, p] : parameters) add(Stage::parameter, name, p->shape(), p->values());
    return left;
}

template <class How> Training train_on_tape(const How& how, const TrainingSettings& s) {
    using Model = typename How::template Model<double>;
    struct State {
        Model model;
        AdamW<double> adamw;
        State(const How& how, const TrainingSettings& s)
            : model(nn::build<Model>(how.config, 1)),
              adamw(model, {.lr = s.lr, .beta1 = s.beta1, .beta2 = s.beta2, .weight_decay = s.weight_decay}) {}
    };
    return [how, s](const std::vector<std::vector<double>>& start) -> TrainingStep {
        const auto state = std::make_shared<State>(how, s);
        auto values = start.begin();
        for (const auto& [name, parameter] : nn::parameters(state->model))
            std::ranges::copy(*values++, parameter->write().begin());
        return [how, s, state] { return step_on_tape(how, state->model, state->adamw, s.max_norm); };
    };
}

/// One step of `parameters` by the reference, with a fault of its model.
template <class How>
std::vector<StepArray> step_by_hand(const How& how, reference::Arrays<double>& parameters,
                                    reference::ClippedAdam<double>& adam, double lr, const std::string& fault) {
    auto run = how.template by_hand<double>(parameters, fault);
    std::vector<StepArray> left{{Stage::loss, "", {}, {run.loss}}};
    const auto add = [&](Stage stage, const std::string& prefix, auto&& values) {
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            const std::vector<Index> extents(parameters[i].shape.begin(), parameters[i].shape.end());
            left.push_back({stage, prefix + parameters[i].name, Shape(std::span(extents)), values(i)});
        }
    };
    add(Stage::gradient, "", [&](std::size_t i) { return run.gradients[i].values; });
    adam.step(parameters, run.gradients, lr);
    add(Stage::clipped_gradient, "", [&](std::size_t i) { return run.gradients[i].values; });
    add(Stage::optimizer_state, "m.", [&](std::size_t i) { return adam.adam().m()[i]; });
    add(Stage::optimizer_state, "v.", [&](std::size_t i) { return adam.adam().v()[i]; });
    add(Stage::parameter, "", [&](std::size_t i) { return parameters[i].values; });
    return left;
}

/// `fault` is one of the model's or of the optimizer's. The parameters' names and shapes are those of `arrays`.
template <class How>
Training train_by_hand(const How& how, const reference::Arrays<double>& arrays, const TrainingSettings& s,
                       const std::string& fault) {
    return [=](const std::vector<std::vector<double>>& start) -> TrainingStep {
        reference::Arrays<double> parameters = arrays;
        for (std::size_t i = 0; i < start.size(); ++i) parameters[i].values = start[i];
        reference::ClippedAdam<double> adam({.beta1 = s.beta1, .beta2 = s.beta2, .weight_decay = s.weight_decay},
                                            s.max_norm, fault);
        return [how, parameters, adam, lr = s.lr, in_model = is_optimizer_fault(fault) ? "" : fault]() mutable {
            return step_by_hand(how, parameters, adam, lr, in_model);
        };
    };
}

}  // namespace xtape::tools
