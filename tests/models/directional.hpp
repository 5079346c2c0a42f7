#pragma once

/// Central differences of a hand-written forward against its hand-written backward.

#include <xtape/tests/reference/kernels.hpp>

#include "../catch.hpp"
#include "differences.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace xtape::test {

using Inputs = std::vector<Values>;

inline Values normals(std::size_t n, std::uint64_t seed, double deviation = 1) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal(0, deviation);
    Values values(n);
    for (double& value : values) value = normal(random);
    return values;
}

/// Checks the gradient of the smooth `loss(x)` along two random directions of length 1, to `tolerance` of the
/// gradient's root mean square.
void check_directions(const Values& x, const Values& gradient, auto&& loss, double tolerance = 1e-7) {
    constexpr double step = 1e-3;
    REQUIRE(x.size() == gradient.size());
    const double allowed = tolerance * std::sqrt(dot(gradient, gradient) / double(gradient.size()));
    CHECK(allowed > 0);
    for (const std::uint64_t seed : {11u, 12u}) {
        Values direction = normals(x.size(), seed);
        const double length = std::sqrt(dot(direction, direction));
        for (double& d : direction) d /= length;
        const double measured = slope(
            [&](double distance) {
                Values moved = x;
                for (std::size_t j = 0; j < x.size(); ++j) moved[j] += distance * direction[j];
                return loss(moved);
            },
            step);
        CHECK(std::abs(measured - dot(gradient, direction)) < allowed);
    }
}

inline reference::Matrix<double> matrix(int rows, int columns, const Values& values) {
    reference::Matrix<double> m(rows, columns);
    m.values = values;
    return m;
}

/// Checks a kernel's backward against its forward, input by input, for a random cotangent: `forward(inputs)` returns
/// the output's values and `backward(gradients, dy)` adds into gradients, which begin as the 0.5 of every value.
void check_kernel(const Inputs& inputs, auto&& forward, auto&& backward) {
    const Values dy = normals(forward(inputs).size(), 5);
    Inputs gradients = inputs;
    for (Values& gradient : gradients) std::ranges::fill(gradient, 0.5);
    backward(gradients, dy);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        INFO("input " << i);
        for (double& value : gradients[i]) value -= 0.5;
        check_directions(inputs[i], gradients[i], [&](const Values& moved) {
            Inputs all = inputs;
            all[i] = moved;
            return dot(dy, forward(all));
        });
    }
}

}  // namespace xtape::test
