#pragma once

/// What the references of all models share around their passes: parameters by name, in and out, and what they refuse.
/// `Weights` are a model's: `weights.each(visit)` calls `visit(layer, name, w)`, w a Matrix<T> or a std::vector<T>, in
/// the specified order; what stands before the layers has layer −1, what stands after them the number of layers.

#include "arrays.hpp"
#include "kernels.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace xtape::reference {

inline void require(std::string_view model, bool good, const std::string& otherwise) {
    if (!good) throw std::invalid_argument(std::string(model) + ": " + otherwise);
}

/// "layers.3.wq" for layer 3 of more, "wout" for what stands outside the layers.
inline std::string full_name(int layers, int layer, std::string_view name) {
    const bool in_layer = layer >= 0 && layer < layers;
    return (in_layer ? "layers." + std::to_string(layer) + "." : "") + std::string(name);
}

template <class T> std::vector<int> shape_of(const Matrix<T>& w) { return {w.rows, w.columns}; }
template <class T> std::vector<int> shape_of(const std::vector<T>& w) { return {static_cast<int>(w.size())}; }
template <class T> std::vector<T>& values_of(Matrix<T>& w) { return w.values; }
template <class T> std::vector<T>& values_of(std::vector<T>& w) { return w; }

template <class T, class Weights> Arrays<T> to_arrays(int layers, Weights& weights) {
    Arrays<T> arrays;
    weights.each([&](int layer, std::string_view name, auto& w) {
        arrays.push_back({full_name(layers, layer, name), shape_of(w), values_of(w)});
    });
    return arrays;
}

/// Fills `weights`, which have the sizes of the settings. Throws std::invalid_argument for an array that does not fit.
template <class T, class Weights>
void from_arrays(std::string_view model, int layers, Weights& weights, const Arrays<T>& arrays) {
    auto given = arrays.begin();
    weights.each([&](int layer, std::string_view name, auto& w) {
        const std::string wanted = full_name(layers, layer, name);
        const std::vector<int> shape = shape_of(w);
        std::string extents;
        for (const int extent : shape) extents.append(extents.empty() ? "" : ", ").append(std::to_string(extent));
        require(model,
                given != arrays.end() && given->name == wanted && given->shape == shape &&
                    given->values.size() == values_of(w).size(),
                "parameter " + std::to_string(given - arrays.begin()) + " does not fit the settings, which want " +
                    wanted + " [" + extents + "] there");
        values_of(w) = (given++)->values;
    });
    if (given != arrays.end()) require(model, false, given->name + " is one parameter too many");
}

/// The full names of the weights that `chosen(layer, name)` picks.
template <class Weights> std::vector<std::string> names_where(int layers, Weights weights, auto&& chosen) {
    std::vector<std::string> names;
    weights.each([&](int layer, std::string_view name, const auto&) {
        if (chosen(layer, name)) names.push_back(full_name(layers, layer, name));
    });
    return names;
}

/// Refuses a batch that does not fit the vocabulary or a sequence of more than `longest`, which the model calls
/// `limit`. A target of −1 is none.
inline void check_batch(std::string_view model, const Batch& batch, int vocab, int longest, std::string_view limit) {
    const auto& [inputs, targets, offsets] = batch;
    const int rows = static_cast<int>(inputs.size());
    const auto check_token = [&](int id) {
        require(model, id >= 0 && id < vocab,
                "token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab));
    };
    require(model, inputs.size() == targets.size(),
            std::to_string(rows) + " inputs but " + std::to_string(targets.size()) + " targets");
    std::ranges::for_each(inputs, check_token);
    for (const int target : targets)
        if (target != no_target) check_token(target);
    require(model, count_targets(targets.data(), rows) > 0, "a batch needs one position with a target or more");
    require(model,
            !offsets.empty() && offsets.front() == 0 && offsets.back() == rows && std::ranges::is_sorted(offsets),
            "offsets must rise from 0 to the number of inputs, " + std::to_string(rows));
    for (std::size_t i = 1; i < offsets.size(); ++i)
        require(model, offsets[i] - offsets[i - 1] <= longest,
                "sequence " + std::to_string(i - 1) + " is longer than the " + std::string(limit) + " of " +
                    std::to_string(longest));
}

/// The position of each row in its own sequence.
inline std::vector<int> positions_of(const std::vector<int>& offsets) {
    std::vector<int> positions;
    for (std::size_t i = 1; i < offsets.size(); ++i)
        for (int t = offsets[i - 1]; t < offsets[i]; ++t) positions.push_back(t - offsets[i - 1]);
    return positions;
}

}  // namespace xtape::reference
