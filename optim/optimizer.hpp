#pragma once
// What all optimizers share: the Parameters they change, a learning rate, and a state that can be saved.

#include <xtape/nn/safetensors.hpp>

#include <functional>
#include <string_view>
#include <vector>

namespace xtape {

/// Whether weight decay applies to a Parameter; an empty function means to all.
using Decays = std::function<bool(std::string_view name, const Shape& shape)>;

/// Decay of matrices only: not of biases and the weights of norms.
inline bool matrices(std::string_view, const Shape& shape) { return shape.rank() >= 2; }

/// The base of SGD, Adam and AdamW. It points at the Parameters: the model must stay where it is.
template <Real T> class Optimizer {
public:
    virtual ~Optimizer() = default;

    /// One step, which uses the gradients up: the next backward starts anew. A Parameter without a gradient stays as
    /// it is, and so does its state. The gradients count times `grad_scale`, with no pass of its own: see
    /// `clip_factor`. Throws ValueError while an unreplayed record reads a Parameter.
    void step(double grad_scale = 1) { take_step(grad_scale); }
    /// The state as arrays, to be saved with `nn::save_arrays` and filled by `nn::load_arrays`: the course then goes on
    /// bit for bit. They hold while the optimizer stays in place.
    virtual nn::Arrays state() = 0;

    /// Drops all gradients, for a step that is not to be taken.
    void zero_grad();

    double lr;  ///< may be set before each step: `adam.lr = schedule(step)`

protected:
    virtual void take_step(double grad_scale) = 0;

    Optimizer(std::vector<nn::Named<T>> parameters, double rate);

    std::vector<nn::Named<T>> parameters_;
};

}  // namespace xtape
