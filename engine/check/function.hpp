#pragma once
// What the checks run: a function of tensors, with its arity erased.

#include <xtape/engine/tensor.hpp>

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace xtape::check {

/// A differentiable function of several tensors.
template <class T> using TensorFunction = std::function<Tensor<T>(std::span<const Tensor<T>>)>;

/// f(x, y, ...) of N tensors as a function of a span of them.
template <class T, std::size_t N, class F> TensorFunction<T> spread(F f) {
    return [f = std::move(f)](std::span<const Tensor<T>> x) {
        return [&]<std::size_t... I>(std::index_sequence<I...>)->Tensor<T> { return f(x[I]...); }
        (std::make_index_sequence<N>());
    };
}

/// The value of a function, and its gradients by the tape for a cotangent; one is empty where y does not depend on x.
template <class T> struct TapeGradients {
    Tensor<T> y;
    std::vector<Tensor<T>> dx;
};

/// Makes the cotangent for an output.
template <class T> using MakeCotangent = std::function<Tensor<T>(const Tensor<T>& y)>;

/// Runs f on a tape of its own, on leaves with the values of `inputs`.
template <class T>
TapeGradients<T> tape_gradients(const TensorFunction<T>& f, std::span<const Tensor<T>> inputs,
                                const MakeCotangent<T>& cotangent);

/// Random numbers that are the same on every machine (SplitMix64).
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    /// Uniform in [low, high).
    double uniform(double low, double high);
    /// A tensor of such numbers.
    Tensor<double> tensor(const Shape& shape, double low, double high);

private:
    std::uint64_t state_;
};

}  // namespace xtape::check
