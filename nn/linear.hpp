#pragma once
// The modules that every model has: an affine map, and a table of rows.

#include <xtape/engine/ops.hpp>
#include <xtape/engine/parameter.hpp>
#include <xtape/nn/init.hpp>

#include <cmath>
#include <optional>

namespace xtape::nn {

struct LinearOptions {
    bool bias = true;                ///< starts at 0
    bool out_in = false;             ///< keep the weight as [out, in]: y = x Wᵀ + b
    std::optional<double> stddev{};  ///< of the initial weights; 1/√in unless given
};

/// y = x W + b for x [..., in], W [in, out], b [out].
template <Real T> struct Linear {
    Parameter<T> weight;
    std::optional<Parameter<T>> bias;
    bool out_in;

    Linear(Index in, Index out, Rng& rng, const LinearOptions& options = {})
        : weight(normal<T>(options.out_in ? Shape{out, in} : Shape{in, out}, rng,
                           options.stddev.value_or(1 / std::sqrt(static_cast<double>(in))))),
          out_in(options.out_in) {
        if (options.bias) bias.emplace(Shape{out});
    }

    Tensor<T> operator()(const Tensor<T>& x) const {
        const MatmulOptions layout{.transpose_b = out_in};
        return bias ? linear(x, weight, *bias, layout) : linear(x, weight, {}, layout);
    }

    void each_parameter(auto&& visit) {
        visit("weight", weight);
        visit("bias", bias);
    }
};

/// Rows of a table [rows, D] at ids [...]: [..., D].
template <Real T> struct Embedding {
    Parameter<T> weight;

    Embedding(Index rows, Index dim, Rng& rng, double stddev = 1) : weight(normal<T>({rows, dim}, rng, stddev)) {}

    Tensor<T> operator()(const Indices& ids) const { return embedding(weight, ids); }

    void each_parameter(auto&& visit) { visit("weight", weight); }
};

}  // namespace xtape::nn
