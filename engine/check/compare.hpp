#pragma once
// compare: the tape against a hand-written backward pass, parameter by parameter. `judge` is the core, on plain arrays.

#include <xtape/engine/check/function.hpp>
#include <xtape/engine/check/report.hpp>

#include <type_traits>

namespace xtape {

/// A number by which a gradient may be off, with the name that a person gives it: {"1/S", 1.0 / 7}.
struct NamedFactor {
    std::string name;
    double value;
};

/// Factors that are forgotten most often, for S positions and heads of width h: 1/S, S/(S−1), (S−1)/S, √h, 1/√h.
std::vector<NamedFactor> usual_factors(Index positions, Index head_width);

/// A wrong gradient with a name. A candidate that agrees with it is given that name as its diagnosis.
struct Hypothesis {
    std::string name;
    std::vector<double> gradient;
};

/// What is known of one parameter's gradient. All arrays are row-major and widened to f64.
struct Evidence {
    std::string name;
    Shape shape;
    std::vector<double> truth;      ///< of the f64 tape; empty where the loss does not depend on the parameter
    std::vector<double> candidate;  ///< of the hand-written backward; empty where it has none
    double noise = 0;               ///< the f32 noise floor as a relative error: see `noise_of`
    std::vector<Hypothesis> hypotheses = {};
};

/// The relative error of an f32 evaluation: max|a − b| / max|b| (0 where b is 0). A noise floor is the largest of this
/// over the draws of the f32 tape and a sequential f32 evaluation; `judge` adds the eps of f32.
double noise_of(std::span<const float> f32, std::span<const double> truth);

struct JudgeOptions {
    std::string check = "compare";
    std::string_view precision = "f32";     ///< what the candidate ran in: "f32" (noise floor) or "f64" (tolerance)
    double factor = 16;                     ///< how many noise floors a candidate may be off
    double f64_tolerance = 1e-12;           ///< relative error allowed in f64
    std::vector<NamedFactor> factors = {};  ///< names for constant factors
    std::uint64_t seed = 0;
};

/// A row with verdict and diagnosis for each parameter. In f32 the noise floor of a tensor is `noise`, or eps if that
/// is larger, times max|g|. In f64 the tolerance is `f64_tolerance` max|g|, or what `noise` would be in f64 if that is
/// more.
GradReport judge(std::span<const Evidence> evidence, const JudgeOptions& options);

/// Forward parity: loss or logits of the candidate against the f64 tape's, as a row.
GradRow judge_forward(const Evidence& output, const JudgeOptions& options);

struct CompareOptions {
    std::vector<std::string> names = {};  ///< of the inputs; "input 0", ... where missing
    double factor = 16;                   ///< how many f32 noise floors it may be off
    double f64_tolerance = 1e-12;
    double perturb = 0.05;  ///< later draws multiply each element by up to 1 ± this; 0 keeps the inputs
    /// Of the largest element of each input in four further draws; 0 keeps it: {120} for logits beyond ±100.
    std::vector<double> magnitudes = {};
    bool accumulates = false;               ///< a second pass without zeroing must double the gradients
    std::vector<NamedFactor> factors = {};  ///< names for constant factors
    std::uint64_t seed = 1;
};

namespace check {

/// Inputs and gradients as a hand-written backward sees them: an array for each input, row-major.
template <class T> using Arrays = std::vector<std::vector<T>>;

/// A hand-written backward, adapted: adds or writes its gradients into `gradients` (zeros before), and returns the
/// forward's output, or nothing where it does not compute one.
template <class T>
using Backward = std::function<std::vector<T>(const Arrays<T>& inputs, const std::vector<T>& dy, Arrays<T>& gradients)>;

/// Of random sign, and of a magnitude from 1/4 to 1: nonzero, and no weight is near 1.
std::vector<Tensor<double>> random_inputs(std::span<const Shape> shapes, std::uint64_t seed);

/// The core of `compare`, on type-erased functions; either backward may be empty, but not both. Later draws perturb the
/// inputs, or are new ones of their shapes if `redraw`.
GradReport compare(const TensorFunction<double>& forward64, const TensorFunction<float>& forward32,
                   const Backward<double>& backward64, const Backward<float>& backward32,
                   std::span<const Tensor<double>> inputs, bool redraw, bool scalar, const CompareOptions& options);

template <class B, class T>
concept ScalarBackward = std::invocable < const B&,
        const Arrays<T>
&, Arrays<T>& > ;
template <class B, class T>
concept TensorBackward = std::invocable < const B&,
        const Arrays<T>
&, const std::vector<T>&, Arrays<T>& > ;

template <class T, class F> std::vector<T> output_of(const F& call) {
    if constexpr (std::is_void_v<decltype(call())>) {
        call();
        return {};
    } else if constexpr (std::is_arithmetic_v<decltype(call())>) {
        return {static_cast<T>(call())};
    } else {
        return call();
    }
}

template <class T, class B> Backward<T> adapt_backward(const B& backward) {
    if constexpr (ScalarBackward<B, T>) {
        return [backward](const Arrays<T>& x, const std::vector<T>&, Arrays<T>& dx) {
            return output_of<T>([&] { return backward(x, dx); });
        };
    } else if constexpr (TensorBackward<B, T>) {
        return [backward](const Arrays<T>& x, const std::vector<T>& dy, Arrays<T>& dx) {
            return output_of<T>([&] { return backward(x, dy, dx); });
        };
    } else {
        return {};
    }
}

template <std::size_t N, class Forward, class B>
GradReport compare(const Forward& forward, const B& backward, std::span<const Tensor<double>> inputs, bool redraw,
                   const CompareOptions& options) {
    constexpr bool scalar = ScalarBackward<B, float> || ScalarBackward<B, double>;
    static_assert(scalar || TensorBackward<B, float> || TensorBackward<B, double>,
                  "compare: the backward must take (const Arrays& inputs, Arrays& gradients), or "
                  "(const Arrays& inputs, const std::vector<T>& dy, Arrays& gradients), Arrays being "
                  "std::vector<std::vector<T>> and T float or double");
    return compare(spread<double, N>(forward), spread<float, N>(forward), adapt_backward<double>(backward),
                   adapt_backward<float>(backward), inputs, redraw, scalar, options);
}

}  // namespace check

/// The tape against a hand-written backward pass, on four draws: `inputs`, and three perturbed ones. `forward` is a
/// generic callable of Tensors; `backward(in, grads)` for a scalar, or `backward(in, dy, grads)`, is given
/// `const std::vector<std::vector<T>>&` and writes or adds into another. It may return the forward's output (a T or a
/// std::vector<T>), which is compared first. Typed for float it is judged by the f32 noise floor (of the tape on four
/// draws, and of its own rounding up to 1e-5), for double by `f64_tolerance`, with `auto` parameters by both.
///
/// Elements at a kink of the forward are left out of the verdict where they differ, and counted in the notes. A
/// backward that gives other bits in a second run is said to be nondeterministic. Token ids and targets are no inputs,
/// as they have no gradient: both callables capture them, `[&](const auto& table) { return sum(embedding(table, ids));
/// }`.
template <class Forward, class B, std::size_t N>
GradReport compare(const Forward& forward, const B& backward, const Tensor<double> (&inputs)[N],
                   const CompareOptions& options = {}) {
    return check::compare<N>(forward, backward, inputs, false, options);
}

/// The same on four draws of random inputs of these shapes: of random sign, and of a magnitude from 1/4 to 1.
template <class Forward, class B, std::size_t N>
GradReport compare(const Forward& forward, const B& backward, const Shape (&shapes)[N],
                   const CompareOptions& options = {}) {
    return check::compare<N>(forward, backward, check::random_inputs(shapes, options.seed), true, options);
}

}  // namespace xtape
