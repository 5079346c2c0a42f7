#pragma once

#include <string>
#include <vector>

namespace xtape::reference {

/// A parameter, or the gradient of one, by name: row-major `values`, as many as the product of `shape`.
template <class T> struct NamedArray {
    std::string name;
    std::vector<int> shape;
    std::vector<T> values;
};

/// The parameters of a model, or their gradients, in the order of its specification.
template <class T> using Arrays = std::vector<NamedArray<T>>;

/// Ragged batch: sequence i is the rows `offsets[i]` up to, not including, `offsets[i + 1]`.
/// Positions restart at 0 in each sequence. A target of −1 is none: the row has no part in the loss.
struct Batch {
    std::vector<int> inputs, targets, offsets;
};

/// Mean loss over all rows with a target, logits [rows, vocab], and the gradient of every parameter in the order of the
/// parameters.
template <class T> struct Run {
    T loss;
    std::vector<T> logits;
    Arrays<T> gradients;
};

}  // namespace xtape::reference
