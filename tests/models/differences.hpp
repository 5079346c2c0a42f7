#pragma once

/// Central differences of plain functions of doubles, to test the hand-written references without the engine's checks.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

namespace xtape::test {

using Values = std::vector<double>;

inline double dot(const Values& a, const Values& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

/// max |a − b| over max |b|; NaN where a difference is.
template <class A, class B> double relative_error(const std::vector<A>& a, const std::vector<B>& b) {
    double difference = 0, largest = 0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        const double here = std::abs(double(a[i]) - double(b[i]));
        if (std::isnan(here)) return here;
        difference = std::max(difference, here);
        largest = std::max(largest, std::abs(double(b[i])));
    }
    return difference / largest;
}

inline Values random_values(std::size_t n, std::mt19937_64& random, double mean = 0, double deviation = 1) {
    std::normal_distribution<double> normal(mean, deviation);
    Values values(n);
    for (double& value : values) value = normal(random);
    return values;
}

/// Of length 1.
inline Values random_direction(std::size_t n, std::mt19937_64& random) {
    Values direction = random_values(n, random);
    const double length = std::sqrt(dot(direction, direction));
    for (double& d : direction) d /= length;
    return direction;
}

/// Derivative of `loss` at 0 by central differences with step e, by Richardson from steps e and e/2: error O(e⁴).
double slope(auto&& loss, double e) {
    const auto central = [&](double step) { return (loss(step) - loss(-step)) / (2 * step); };
    return (4 * central(e / 2) - central(e)) / 3;
}

/// How far the slope of the smooth function `loss()` of `values`, along a random direction of length 1, is from what
/// `gradient` says, over the gradient's root mean square.
double slope_error(Values& values, const Values& gradient, auto&& loss, std::mt19937_64& random) {
    const Values direction = random_direction(values.size(), random), at = values;
    const auto moved = [&](double distance) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = at[i] + distance * direction[i];
        return loss();
    };
    const double difference = slope(moved, 2e-3) - dot(gradient, direction);
    values = at;
    return std::abs(difference) / std::sqrt(dot(gradient, gradient) / double(gradient.size()));
}

}  // namespace xtape::test
