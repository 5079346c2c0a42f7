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

}  // namespace xtape::reference
