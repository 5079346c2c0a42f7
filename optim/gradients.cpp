#include <xtape/optim/gradients.hpp>
#include <xtape/optim/kernels.hpp>

#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace xtape {

double clip_factor(double norm, double max) {
    if (!(max > 0)) throw ValueError(fmt::format("clip_factor: max must be above 0: max is {}", max));
    return std::isfinite(norm) && norm > max ? max / norm : 1;
}

namespace detail {

template <Real T> double grad_norm(const std::vector<nn::Named<T>>& parameters) {
    std::vector<double, PoolAllocator<double>> sums(parameters.size(), 0.0);
    Index elements = 0;
    for (const nn::Named<T>& named : parameters) elements += named.parameter->size();
    const bool threaded = kernels::worth_threads(0, static_cast<double>(elements) * sizeof(T));
    kernels::parallel_for(static_cast<Index>(sums.size()), 1, threaded, [&](Index i, Index) {
        const Tensor<T>& grad = parameters[static_cast<std::size_t>(i)].parameter->grad();
        if (grad) sums[static_cast<std::size_t>(i)] = kernels::sum_of_squares(grad.size(), grad.data());
    });
    return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

template <Real T> double clip_grad_norm(const std::vector<nn::Named<T>>& parameters, double max) {
    if (!(max > 0)) throw ValueError(fmt::format("clip_grad_norm: max must be above 0: max is {}", max));
    const double norm = grad_norm(parameters), factor = clip_factor(norm, max);
    if (factor != 1) scale_grad(parameters, factor);
    return norm;
}

template <Real T> void scale_grad(const std::vector<nn::Named<T>>& parameters, double factor) {
    for (const nn::Named<T>& named : parameters) {
        if (!named.parameter->grad()) continue;
        const std::span<T> grad = named.parameter->write_grad();
        const auto n = static_cast<Index>(grad.size());
        const bool threaded = kernels::worth_threads(0, static_cast<double>(n) * 2 * sizeof(T));
        kernels::parallel_for(n, 1 << 14, threaded, [&](Index begin, Index end) {
            for (T& value : grad.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)))
                value *= static_cast<T>(factor);
        });
    }
}

template double grad_norm(const std::vector<nn::Named<float>>&);
template double grad_norm(const std::vector<nn::Named<double>>&);
template double clip_grad_norm(const std::vector<nn::Named<float>>&, double);
template double clip_grad_norm(const std::vector<nn::Named<double>>&, double);
template void scale_grad(const std::vector<nn::Named<float>>&, double);
template void scale_grad(const std::vector<nn::Named<double>>&, double);

}  // namespace detail
}  // namespace xtape
