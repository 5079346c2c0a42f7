#include <xtape/optim/optimizer.hpp>

#include <fmt/format.h>

namespace xtape {

template <Real T>
Optimizer<T>::Optimizer(std::vector<nn::Named<T>> parameters, double rate)
    : lr(rate), parameters_(std::move(parameters)) {
    if (!(rate >= 0)) throw ValueError(fmt::format("optimizer: lr must be at least 0: lr is {}", rate));
}

template <Real T> void Optimizer<T>::zero_grad() {
    for (const nn::Named<T>& named : parameters_) named.parameter->zero_grad();
}

template class Optimizer<float>;
template class Optimizer<double>;

}  // namespace xtape
