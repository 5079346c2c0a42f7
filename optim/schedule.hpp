#pragma once
// Learning rates by step, counted from 0: `adam.lr = schedule(step)`.

#include <xtape/engine/shape.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

namespace xtape {

/// Any of the schedules below, or a function of your own.
using Schedule = std::function<double(Index step)>;

struct ConstantRate {
    double lr;

    double operator()(Index) const { return lr; }
};

/// lr (1 − step/steps), and 0 from there on.
struct LinearDecay {
    double lr;
    Index steps;

    double operator()(Index step) const {
        return step < steps ? lr * (1 - static_cast<double>(step) / static_cast<double>(steps)) : 0;
    }
};

/// lr (step + 1)/warmup for the first `warmup` steps; then half a cosine from lr down to `fraction` lr at `steps`, and
/// that from there on.
struct WarmupCosine {
    double lr;
    Index steps;
    Index warmup = 0;
    double fraction = 0.1;

    double operator()(Index step) const {
        if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
        if (step >= steps) return lr * fraction;
        const double done = static_cast<double>(step - warmup) / static_cast<double>(steps - warmup);
        return lr * (fraction + (1 - fraction) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
    }
};

}  // namespace xtape
