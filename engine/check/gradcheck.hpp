#pragma once
// Checks of the tape by itself, in f64: finite differences, the adjoint identity, and one formula against another.

#include <xtape/engine/check/function.hpp>
#include <xtape/engine/check/report.hpp>
#include <xtape/engine/parameter.hpp>

namespace xtape {

struct GradcheckOptions {
    double tolerance = 1e-7;  ///< relative to the root mean square of a directional derivative, ‖g‖‖d‖/√n
    int directions = 4;       ///< random directions for each input
    double step = 1.0 / 256;  ///< the longest finite difference, relative to the size of the input (at most 1)
    std::vector<std::string> names = {};  ///< of the inputs; "input 0", ... where missing
    std::uint64_t seed = 1;
    /// Of the numbers whose difference the function is, where they are larger than its value: logits, for a loss that
    /// is nearly 0. It bounds the rounding of a difference.
    double magnitude = 0;
};

/// A Parameter of a model, by its name.
struct NamedParameter {
    std::string name;
    Parameter<double>* parameter;
};

namespace check {

/// The checks on a function of a span of tensors.
GradReport gradcheck(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
                     const GradcheckOptions& options = {});
GradReport jacobian_check(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
                          const GradcheckOptions& options = {});
GradReport adjoint_check(const TensorFunction<double>& op, std::span<const Tensor<double>> inputs,
                         double tolerance = 1e-13, std::uint64_t seed = 1);
GradReport same_gradient(const TensorFunction<double>& fused, const TensorFunction<double>& composed,
                         std::span<const Tensor<double>> inputs, double tolerance = 1e-12, std::uint64_t seed = 1);

}  // namespace check

/// The tape against central differences of f in random directions of each input, extrapolated to step 0. Where f is
/// not a scalar it is weighed by a random cotangent. A direction that crosses a kink is drawn again, and counted in
/// the notes. Where a row differs, its entries are differenced one by one for the statistics and the diagnosis.
template <class F, std::size_t N>
GradReport gradcheck(const F& f, const Tensor<double> (&inputs)[N], const GradcheckOptions& options = {}) {
    return check::gradcheck(check::spread<double, N>(f), inputs, options);
}

/// Every entry of the Jacobian of f against finite differences; a row of shape [outputs, inputs] for each input.
template <class F, std::size_t N>
GradReport jacobian_check(const F& f, const Tensor<double> (&inputs)[N], const GradcheckOptions& options = {}) {
    return check::jacobian_check(check::spread<double, N>(f), inputs, options);
}

/// For a function that is linear in its inputs: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for random x (of the inputs' shapes) and y.
template <class F, std::size_t N>
GradReport adjoint_check(const F& op, const Tensor<double> (&inputs)[N], double tolerance = 1e-13,
                         std::uint64_t seed = 1) {
    return check::adjoint_check(check::spread<double, N>(op), inputs, tolerance, seed);
}

/// Values and gradients of a fused op against those of its composition, both by the tape.
template <class F, class G, std::size_t N>
GradReport same_gradient(const F& fused, const G& composed, const Tensor<double> (&inputs)[N], double tolerance = 1e-12,
                         std::uint64_t seed = 1) {
    return check::same_gradient(check::spread<double, N>(fused), check::spread<double, N>(composed), inputs, tolerance,
                                seed);
}

/// `gradcheck` of a scalar loss by the Parameters of a model, which are perturbed in place and put back bit for bit.
GradReport check_parameters(const std::function<Tensor<double>()>& loss, std::span<const NamedParameter> parameters,
                            const GradcheckOptions& options = {});

}  // namespace xtape
