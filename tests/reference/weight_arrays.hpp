#pragma once

/// A model's weights as named arrays and back. `weights.each(visit)` calls `visit(layer, name, values)` in the order of
/// the specification, `values` a Matrix or a vector; what stands before the layers is in layer −1, what follows them in
/// layer `layers`.

#include "arrays.hpp"
#include "kernels.hpp"

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace xtape::reference {

inline std::string full_name(int layer, int layers, std::string_view name) {
    const bool in_layer = layer >= 0 && layer < layers;
    return (in_layer ? "layers." + std::to_string(layer) + "." : "") + std::string(name);
}

template <class T> NamedArray<T> to_array(std::string name, const Matrix<T>& w) {
    return {std::move(name), {w.rows, w.columns}, w.values};
}

template <class T> NamedArray<T> to_array(std::string name, const std::vector<T>& w) {
    return {std::move(name), {static_cast<int>(w.size())}, w};
}

template <class T> std::vector<T>& values_of(Matrix<T>& w) { return w.values; }
template <class T> std::vector<T>& values_of(std::vector<T>& w) { return w; }

template <class T, class Weights> Arrays<T> to_arrays(Weights& weights, int layers) {
    Arrays<T> arrays;
    weights.each([&](int layer, std::string_view name, const auto& w) {
        arrays.push_back(to_array(full_name(layer, layers, name), w));
    });
    return arrays;
}

inline std::string to_text(const std::vector<int>& shape) {
    std::string text;
    for (const int extent : shape) text.append(text.empty() ? "[" : ", ").append(std::to_string(extent));
    return text + "]";
}

/// Copies `arrays` into `weights`, which have the wanted shapes. Throws std::invalid_argument that names the model and
/// the first array that is not the wanted one.
template <class T, class Weights>
void read_arrays(Weights& weights, int layers, const Arrays<T>& arrays, std::string_view model) {
    const std::string prefix = std::string(model) + ": ";
    auto given = arrays.begin();
    weights.each([&](int layer, std::string_view name, auto& w) {
        const NamedArray<T> wanted = to_array(full_name(layer, layers, name), w);
        if (given == arrays.end() || given->name != wanted.name || given->shape != wanted.shape ||
            given->values.size() != wanted.values.size())
            throw std::invalid_argument(prefix + "parameter " + std::to_string(given - arrays.begin()) +
                                        " does not fit the settings, which want " + wanted.name + " " +
                                        to_text(wanted.shape) + " there");
        values_of(w) = (given++)->values;
    });
    if (given != arrays.end()) throw std::invalid_argument(prefix + given->name + " is one parameter too many");
}

}  // namespace xtape::reference
