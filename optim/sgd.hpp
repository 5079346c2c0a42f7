#pragma once
// Stochastic gradient descent.

#include <xtape/optim/optimizer.hpp>

namespace xtape {

struct SGDOptions {
    double lr = 1e-2;
    double momentum = 0;
    bool nesterov = false;
    double weight_decay = 0;
    Decays decays{};  ///< which Parameters decay: all, or for example `matrices`
};

/// w −= lr u for a gradient g + weight_decay w, where u is g without momentum; else b = momentum b + g, and u = b, or
/// g + momentum b with Nesterov. State: `momentum.NAME` (Sutskever et al. 2013, as PyTorch has it).
template <Real T> class SGD : public Optimizer<T> {
public:
    /// Throws ValueError for a rate or a decay below 0, a momentum outside [0, 1), or Nesterov without momentum.
    explicit SGD(std::vector<nn::Named<T>> parameters, const SGDOptions& options = {});
    template <class M> explicit SGD(M& model, const SGDOptions& options = {}) : SGD(nn::parameters(model), options) {}

    nn::Arrays state() override;

protected:
    void take_step(double grad_scale) override;

private:
    using Momentum = std::vector<T, detail::PoolAllocator<T>>;

    SGDOptions options_;
    std::vector<Momentum> momenta_;  ///< one for each of the parameters; empty ones without momentum
};

template <class M> SGD(M&, const SGDOptions&) -> SGD<nn::ScalarOf<M>>;
template <class M> SGD(M&) -> SGD<nn::ScalarOf<M>>;

}  // namespace xtape
