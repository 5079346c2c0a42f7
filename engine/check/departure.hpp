#pragma once
// First departure: of a hand-written pass that reports intermediate values or gradients, the op where it goes wrong.
// A Trace is what a tape recorded, by name; `first_departure` finds the place in it.

#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/tape.hpp>

#include <map>

namespace xtape {

/// A leaf, a Parameter, or the output of an op, with its gradient by the tape. An op's output is named by scope and
/// op, `layers.1.rms_norm`, with a number from 0 where the scope has several, `layers.1.matmul.2`, in recording order.
struct Intermediate {
    std::string name = {};
    Shape shape = {};
    std::vector<double> value = {};
    std::vector<double> gradient = {};     ///< empty where the loss does not depend on it
    std::vector<std::size_t> inputs = {};  ///< their places in the trace; none for a leaf
    double noise = 0;  ///< the f32 noise floor of the gradient and of the value, where known: see Evidence
    double value_noise = 0;
};

/// Leaves, then the outputs of all ops in the order of recording: the backward replays it from its end.
using Trace = std::vector<Intermediate>;

/// A tensor that a trace is to begin with: a Parameter, or a leaf of the tape.
template <class T> struct NamedLeaf {
    std::string name;
    const Tensor<T>* tensor;
};

/// What a tape that keeps its records has recorded, with the gradients of a scalar loss.
/// Throws ValueError for a leaf that is none, a loss that was not recorded, or a tape that keeps no records.
template <Real T> Trace trace_of(Tape<T>& tape, const Tensor<T>& loss, std::span<const NamedLeaf<T>> leaves);

/// The trace of f(x, y, ...), a scalar, in f64; "input 0", ... where a name is missing.
template <class F, std::size_t N>
Trace trace(const F& f, const Tensor<double> (&inputs)[N], std::vector<std::string> names = {}) {
    Tape<double> tape({.keep_records = true});
    std::vector<Tensor<double>> x;
    std::vector<NamedLeaf<double>> leaves;
    for (const Tensor<double>& input : inputs) x.push_back(tape.leaf(input));
    for (std::size_t i = 0; i < N; ++i)
        leaves.push_back({i < names.size() ? names[i] : "input " + std::to_string(i), &x[i]});
    return trace_of<double>(tape, check::spread<double, N>(f)(x), leaves);
}

/// Arrays of a candidate by the names of a trace, row-major and widened to f64.
using NamedArrays = std::map<std::string, std::vector<double>>;

struct Departure {
    std::vector<std::string> ops;  ///< where it may have gone wrong, in replay order: one, where enough was given
    std::string text;              ///< "first departs at layers.1.rms_norm (the gradient of its output agrees, ...)"
};

/// The first op, in replay order, with the gradients of its outputs right and of an input wrong. Names that were not
/// given are not judged: what lies between given ones is then named together. Nothing where all agree.
/// Throws ValueError for a name that the trace does not have.
std::optional<Departure> first_departure(const Trace& trace, const NamedArrays& gradients,
                                         const JudgeOptions& options = {.precision = "f64"});

/// The same for values, in the order of the forward pass.
std::optional<Departure> first_departure_of_values(const Trace& trace, const NamedArrays& values,
                                                   const JudgeOptions& options = {.precision = "f64"});

}  // namespace xtape
