#include <xtape/optim/kernels.hpp>
#include <xtape/optim/sgd.hpp>

#include <fmt/format.h>

namespace xtape {

template <Real T>
SGD<T>::SGD(std::vector<nn::Named<T>> parameters, const SGDOptions& options)
    : Optimizer<T>(std::move(parameters), options.lr), options_(options) {
    if (!(options.momentum >= 0 && options.momentum < 1))
        throw ValueError(fmt::format("sgd: momentum must be in [0, 1): momentum is {}", options.momentum));
    if (!(options.weight_decay >= 0))
        throw ValueError(fmt::format("sgd: weight_decay must be at least 0: weight_decay is {}", options.weight_decay));
    if (options.nesterov && options.momentum == 0) throw ValueError("sgd: nesterov needs a momentum: momentum is 0");
    for (const auto& [name, parameter] : this->parameters_)
        momenta_.emplace_back(options.momentum > 0 ? static_cast<std::size_t>(parameter->size()) : 0, T(0));
}

template <Real T> void SGD<T>::take_step(double grad_scale) {
    for (std::size_t i = 0; i < momenta_.size(); ++i) {
        auto& [name, parameter] = this->parameters_[i];
        if (!parameter->grad()) continue;
        const bool decays =
            options_.weight_decay > 0 && (!options_.decays || options_.decays(name, parameter->shape()));
        T* const w = parameter->write().data();
        T* const b = momenta_[i].empty() ? nullptr : momenta_[i].data();
        kernels::sgd(parameter->size(), w, parameter->grad().data(), b, static_cast<T>(grad_scale),
                     static_cast<T>(this->lr), static_cast<T>(options_.momentum),
                     static_cast<T>(decays ? options_.weight_decay : 0), options_.nesterov);
        parameter->zero_grad();
    }
}

template <Real T> nn::Arrays SGD<T>::state() {
    nn::Arrays arrays;
    for (std::size_t i = 0; i < momenta_.size(); ++i) {
        const auto& [name, parameter] = this->parameters_[i];
        if (options_.momentum > 0)
            arrays.push_back({"momentum." + name, parameter->shape(), std::span<T>(momenta_[i])});
    }
    return arrays;
}

template class SGD<float>;
template class SGD<double>;

}  // namespace xtape
