#include <xtape/optim/gradients.hpp>
#include <xtape/optim/kernels.hpp>

#include <cmath>

#include <fmt/format.h>

namespace xtape::detail {

template <Real T> double grad_norm(const std::vector<nn::Named<T>>& parameters) {
    double total = 0;
    for (const nn::Named<T>& named : parameters) {
        if (const Tensor<T>& grad = named.parameter->grad()) total += kernels::sum_of_squares(grad.size(), grad.data());
    }
    return std::sqrt(total);
}

template <Real T> double clip_grad_norm(const std::vector<nn::Named<T>>& parameters, double max) {
    if (!(max > 0)) throw ValueError(fmt::format("clip_grad_norm: max must be above 0: max is {}", max));
    const double norm = grad_norm(parameters);
    if (std::isfinite(norm) && norm > max) scale_grad(parameters, max / norm);
    return norm;
}

template <Real T> void scale_grad(const std::vector<nn::Named<T>>& parameters, double factor) {
    for (const nn::Named<T>& named : parameters) {
        if (!named.parameter->grad()) continue;
        for (T& value : named.parameter->write_grad()) value *= static_cast<T>(factor);
    }
}

template double grad_norm(const std::vector<nn::Named<float>>&);
template double grad_norm(const std::vector<nn::Named<double>>&);
template double clip_grad_norm(const std::vector<nn::Named<float>>&, double);
template double clip_grad_norm(const std::vector<nn::Named<double>>&, double);
template void scale_grad(const std::vector<nn::Named<float>>&, double);
template void scale_grad(const std::vector<nn::Named<double>>&, double);

}  // namespace xtape::detail
