#pragma once
// Adam and AdamW.

#include <xtape/optim/optimizer.hpp>

namespace xtape {

struct AdamOptions {
    double lr = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0;
    Decays decays{};  ///< which Parameters decay: all, or for example `matrices`
};

/// Kingma and Ba (2015), algorithm 1, with bias correction, for a gradient g + weight_decay w:
/// m = β₁ m + (1 − β₁) g, v = β₂ v + (1 − β₂) g², w −= lr m̂ / (√v̂ + eps), m̂ = m / (1 − β₁ⁿ), v̂ = v / (1 − β₂ⁿ),
/// n counting the steps of each Parameter. State: `m.NAME`, `v.NAME`, and `step.NAME`, a scalar in double.
template <Real T> class Adam : public Optimizer<T> {
public:
    /// Throws ValueError for a rate below 0, a beta outside [0, 1), or an eps or a decay below 0.
    explicit Adam(std::vector<nn::Named<T>> parameters, const AdamOptions& options = {})
        : Adam(std::move(parameters), options, false) {}
    template <class M>
    explicit Adam(M& model, const AdamOptions& options = {}) : Adam(nn::parameters(model), options) {}

    nn::Arrays state() override;

protected:
    Adam(std::vector<nn::Named<T>> parameters, const AdamOptions& options, bool decoupled);

    void take_step(double grad_scale) override;

private:
    using Moments = std::vector<T, detail::PoolAllocator<T>>;
    struct State {
        Moments m, v;
        double steps = 0;
        bool decays = true;
    };

    AdamOptions options_;
    bool decoupled_;
    std::vector<State> states_;  ///< one for each of the parameters
};

struct AdamWOptions {
    double lr = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0.01;
    Decays decays{};  ///< which Parameters decay: all, or for example `matrices`
};

/// Loshchilov and Hutter (2019): Adam with decoupled decay, w −= lr weight_decay w, of the value before the step.
template <Real T> class AdamW : public Adam<T> {
public:
    explicit AdamW(std::vector<nn::Named<T>> parameters, const AdamWOptions& options = {});
    template <class M>
    explicit AdamW(M& model, const AdamWOptions& options = {}) : AdamW(nn::parameters(model), options) {}
};

template <class M> Adam(M&, const AdamOptions&) -> Adam<nn::ScalarOf<M>>;
template <class M> Adam(M&) -> Adam<nn::ScalarOf<M>>;
template <class M> AdamW(M&, const AdamWOptions&) -> AdamW<nn::ScalarOf<M>>;
template <class M> AdamW(M&) -> AdamW<nn::ScalarOf<M>>;

}  // namespace xtape
