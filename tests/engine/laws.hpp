#pragma once
// The table of samples on which the laws of an op run (test_laws.cpp). A family's test file adds its samples:
//
//     const Samples samples{
//         sample("exp", "3x5", [](auto in) { return exp(in[0]); }, {uniform({3, 5}, -2, 2)}),
//     };

#include <xtape/engine/ops.hpp>

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace xtape::laws {

/// One op with its settings and inputs; `linear` runs adjoint_check as well.
struct Sample {
    std::string op;
    std::string label;
    std::function<Tensor<double>(std::span<const Tensor<double>>)> f64;
    std::function<Tensor<float>(std::span<const Tensor<float>>)> f32;
    std::vector<Tensor<double>> inputs;
    bool linear = false;
};

/// A sample from a generic lambda over std::span<const Tensor<T>>.
template <class F>
Sample sample(std::string op, std::string label, F f, std::vector<Tensor<double>> inputs, bool linear = false) {
    return {std::move(op), std::move(label), f, f, std::move(inputs), linear};
}

/// Inputs that stay the same from run to run: uniform in [low, high), from the shape and a seed.
Tensor<double> uniform(const Shape& shape, double low, double high, std::uint64_t seed = 1);
/// The same, but no element within `gap` of any of the kinks.
Tensor<double> uniform_off(const Shape& shape, double low, double high, std::vector<double> kinks, double gap = 0.05,
                           std::uint64_t seed = 1);

/// All samples of the suite.
std::vector<Sample>& all_samples();

/// Adds its samples to the suite.
struct Samples {
    Samples(std::initializer_list<Sample> samples) {
        all_samples().insert(all_samples().end(), samples.begin(), samples.end());
    }
};

}  // namespace xtape::laws
