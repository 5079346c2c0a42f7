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
    return random_values(n, random, 0, deviation);
}

/// Checks the gradient of the smooth `loss(x)` along two random directions of length 1, to `tolerance` of the
/// gradient's root mean square.
void check_directions(const Values& x, const Values& gradient, auto&& loss, double tolerance = 1e-7) {
    REQUIRE(x.size() == gradient.size());
    Values moved = x;
    for (const std::uint64_t seed : {11u, 12u}) {
        std::mt19937_64 random(seed);
        CHECK(slope_error(
                  moved, gradient, [&] { return loss(moved); }, random) < tolerance);
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
