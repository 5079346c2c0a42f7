#include <xtape/tests/reference/optimizers.hpp>

#include "../catch.hpp"

#include <cmath>
#include <utility>

namespace test_reference_optimizers {

using namespace xtape::reference;

TEST_CASE("reference adam: two steps are those of the formula") {
    Arrays<double> parameters{{"w", {1}, {1.0}}};
    Adam<double> adam;
    adam.step(parameters, {{"w", {1}, {0.5}}}, 0.1);
    CHECK(parameters[0].values[0] == Approx(0.9).epsilon(1e-7));  // m̂ = g and v̂ = g²: one step of lr against the sign
    const double before = parameters[0].values[0];
    adam.step(parameters, {{"w", {1}, {-1.0}}}, 0.05);
    const double m = (0.85 * 0.15 * 0.5 - 0.15) / (1 - 0.85 * 0.85),
                 v = (0.99 * 0.01 * 0.25 + 0.01) / (1 - 0.99 * 0.99);
    CHECK(parameters[0].values[0] == Approx(before - 0.05 * m / (std::sqrt(v) + 1e-8)).epsilon(1e-14));
}

TEST_CASE("reference adam: weight decay lowers the value from before the step, and is no part of the moments") {
    const AdamConfig config{.beta1 = 0.9, .beta2 = 0.999, .weight_decay = 0.1};
    Arrays<double> decayed{{"w", {2}, {1.0, -3.0}}}, plain = decayed;
    Adam<double> adamw(config), adam({.beta1 = 0.9, .beta2 = 0.999});
    for (const double g : {0.5, -1.0}) {
        const double before = decayed[0].values[0], plain_before = plain[0].values[0];
        adamw.step(decayed, {{"w", {2}, {g, 0.0}}}, 0.05);
        adam.step(plain, {{"w", {2}, {g, 0.0}}}, 0.05);
        const double step = plain[0].values[0] - plain_before;
        CHECK(decayed[0].values[0] == Approx(before * (1 - 0.05 * 0.1) + step).epsilon(1e-14));
    }
    CHECK(decayed[0].values[1] == Approx(-3 * (1 - 0.005) * (1 - 0.005)).epsilon(1e-14));
    CHECK(plain[0].values[1] == -3);
}

TEST_CASE("reference adam: its faults are L2 in the gradient and moments that are not corrected") {
    const Arrays<double> start{{"w", {1}, {2.0}}}, gradients{{"w", {1}, {0.5}}};
    const auto stepped = [&](const AdamConfig& config) {
        Arrays<double> parameters = start;
        Adam<double> adam(config);
        adam.step(parameters, gradients, 0.1);
        CHECK(adam.v()[0][0] > 0);
        return std::pair(parameters[0].values[0], adam.m()[0][0]);
    };
    CHECK(stepped({.weight_decay = 0.1}).second == Approx(0.15 * 0.5));
    CHECK(stepped({.weight_decay = 0.1, .decay = Decay::in_gradient}).second == Approx(0.15 * (0.5 + 0.1 * 2)));
    CHECK(stepped({.weight_decay = 0.1, .decay = Decay::in_gradient}).first == Approx(2 - 0.1));
    CHECK(stepped({.bias_correction = false}).first == Approx(2 - 0.1 * 0.15 / std::sqrt(0.01)));
}

TEST_CASE("reference clip: a global norm above the maximum becomes the maximum, one below stays") {
    Arrays<float> gradients{{"a", {2}, {3, 0}}, {"b", {1}, {-4}}};
    CHECK(clip_global_norm(gradients, 6) == 5);
    CHECK(gradients[0].values == std::vector<float>{3, 0});
    CHECK(clip_global_norm(gradients, 2.5) == 5);
    CHECK(gradients[0].values == std::vector<float>{1.5, 0});
    CHECK(gradients[1].values == std::vector<float>{-2});
}

TEST_CASE("reference clip: by the squared norm, as a fault, it clips earlier and further") {
    Arrays<double> gradients{{"a", {2}, {3, -4}}};
    CHECK(clip_global_norm(gradients, 10, ClipBy::squared_norm) == 25);
    CHECK(gradients[0].values[0] == Approx(1.2));
    CHECK(gradients[0].values[1] == Approx(-1.6));
}

}  // namespace test_reference_optimizers
