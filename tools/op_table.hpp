#pragma once
// The ops that `xtape audit op` knows: a line each.

#include <xtape/nn/init.hpp>
#include <xtape/tools/subject.hpp>

#include <functional>
#include <span>

namespace xtape::tools {

using Shapes = std::vector<Shape>;
template <class T> using Tensors = std::span<const Tensor<T>>;

/// What an op takes besides its tensors.
struct OpExtras {
    std::vector<SubjectInput> indices;
    int heads = 1;

    const Indices& operator[](std::size_t i) const { return std::get<Indices>(indices[i].values); }
};

/// A generic lambda of tensors and extras, in both precisions.
struct OpFormula {
    template <class F> OpFormula(F f) : f64(f), f32(f) {}
    std::function<Tensor<double>(Tensors<double>, const OpExtras&)> f64;
    std::function<Tensor<float>(Tensors<float>, const OpExtras&)> f32;
};

/// Draws indices for inputs of these shapes.
using DrawOpIndices = std::function<std::vector<SubjectInput>(const Shapes&, nn::Rng&)>;

/// A line of the table: how an op is called, and what it is.
struct OpEntry {
    std::string name;
    std::vector<std::string> operands;  ///< its tensors, in order
    std::size_t given;                  ///< how many of their shapes are to be given; the others follow
    std::string formula;
    OpFormula apply;
    std::function<Shape(const Shapes&)> follows = {};  ///< the shape of each operand that is not given
    DrawOpIndices draw = {};
    bool of_heads = false;  ///< --heads says something
};

const std::vector<OpEntry>& op_table();

}  // namespace xtape::tools
