#include <xtape/optim/adam.hpp>
#include <xtape/optim/kernels.hpp>

#include <cmath>

#include <fmt/format.h>

namespace xtape {
namespace {

constexpr Index tile = 1 << 14;

void check(const AdamOptions& options) {
    for (const auto& [name, beta] : {std::pair("beta1", options.beta1), std::pair("beta2", options.beta2)}) {
        if (!(beta >= 0 && beta < 1))
            throw ValueError(fmt::format("adam: {} must be in [0, 1): {} is {}", name, name, beta));
    }
    for (const auto& [name, value] : {std::pair("eps", options.eps), std::pair("weight_decay", options.weight_decay)}) {
        if (!(value >= 0)) throw ValueError(fmt::format("adam: {} must be at least 0: {} is {}", name, name, value));
    }
}

template <class T>
kernels::AdamFactors<T> factors(const AdamOptions& options, double lr, double grad_scale, double steps) {
    const double root = std::sqrt(1 - std::pow(options.beta2, steps));
    const double rate = lr * root / (1 - std::pow(options.beta1, steps));
    return {.beta1 = static_cast<T>(options.beta1),
            .one_minus_beta1 = static_cast<T>(1 - options.beta1),
            .beta2 = static_cast<T>(options.beta2),
            .one_minus_beta2 = static_cast<T>(1 - options.beta2),
            .rate = static_cast<T>(rate),
            .eps = static_cast<T>(options.eps * root),
            .grad_scale = static_cast<T>(grad_scale),
            .l2 = 0,
            .shrink = 1};
}

}  // namespace

template <Real T>
Adam<T>::Adam(std::vector<nn::Named<T>> parameters, const AdamOptions& options, bool decoupled)
    : Optimizer<T>(std::move(parameters), options.lr), options_(options), decoupled_(decoupled) {
    check(options);
    for (const auto& [name, parameter] : this->parameters_) {
        const auto size = static_cast<std::size_t>(parameter->size());
        const bool decays = options.weight_decay > 0 && (!options.decays || options.decays(name, parameter->shape()));
        states_.push_back({Moments(size, T(0)), Moments(size, T(0)), 0, decays});
    }
}

template <Real T> void Adam<T>::take_step(double grad_scale) {
    double steps = 0;
    kernels::AdamFactors<T> common{};
    for (std::size_t i = 0; i < states_.size(); ++i) {
        Parameter<T>& parameter = *this->parameters_[i].parameter;
        if (!parameter.grad()) continue;
        State& state = states_[i];
        T* const w = parameter.write().data();
        const T* const g = parameter.grad().data();
        if (++state.steps != steps) common = factors<T>(options_, this->lr, grad_scale, steps = state.steps);
        kernels::AdamFactors<T> own = common;
        if (state.decays && decoupled_) own.shrink = static_cast<T>(1 - this->lr * options_.weight_decay);
        if (state.decays && !decoupled_) own.l2 = static_cast<T>(options_.weight_decay);
        const Index n = parameter.size();
        const bool threaded = kernels::worth_threads(0, static_cast<double>(n) * 7 * sizeof(T));
        kernels::parallel_for(n, tile, threaded, [&](Index begin, Index end) {
            kernels::adam(end - begin, w + begin, g + begin, state.m.data() + begin, state.v.data() + begin, own);
        });
        parameter.zero_grad();
    }
}

template <Real T> nn::Arrays Adam<T>::state() {
    nn::Arrays arrays;
    for (std::size_t i = 0; i < states_.size(); ++i) {
        const auto& [name, parameter] = this->parameters_[i];
        State& state = states_[i];
        arrays.push_back({"m." + name, parameter->shape(), std::span<T>(state.m)});
        arrays.push_back({"v." + name, parameter->shape(), std::span<T>(state.v)});
        arrays.push_back({"step." + name, Shape{}, std::span<double>(&state.steps, 1)});
    }
    return arrays;
}

template <Real T>
AdamW<T>::AdamW(std::vector<nn::Named<T>> parameters, const AdamWOptions& options)
    : Adam<T>(std::move(parameters),
              {.lr = options.lr,
               .beta1 = options.beta1,
               .beta2 = options.beta2,
               .eps = options.eps,
               .weight_decay = options.weight_decay,
               .decays = options.decays},
              true) {}

template class Adam<float>;
template class Adam<double>;
template class AdamW<float>;
template class AdamW<double>;

}  // namespace xtape
