#include <xtape/engine/check/slope.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace xtape::check {

Slope slope_of(const std::function<Weighed(double)>& phi, double step, double tolerance, double scale) {
    constexpr std::size_t levels = 9;
    constexpr double eps = std::numeric_limits<double>::epsilon();
    const Weighed middle = phi(0);
    if (!std::isfinite(middle.value)) return {.value = middle.value};
    std::array<double, levels> row{};  // of the tableau: row[j] is free of the errors h², ..., h^2j
    Slope best;
    double best_error = std::numeric_limits<double>::infinity();
    double jump = 0, bend_before = 0;
    for (std::size_t k = 0; k < levels; ++k, step /= 2) {
        const Weighed ahead = phi(step);
        const Weighed behind = phi(-step);
        const double rounding = 64 * eps * std::max(middle.magnitude, ahead.magnitude) / step;
        const double bend = ((ahead.value - middle.value) + (behind.value - middle.value)) / step;
        jump = 2 * bend - bend_before;  // the second difference without its smooth part, which is linear in the step
        bend_before = bend;
        std::array<double, levels> next{(ahead.value - behind.value) / (2 * step)};
        double power = 1;
        for (std::size_t j = 1; j <= k; ++j) {
            power *= 4;
            next[j] = (power * next[j - 1] - row[j - 1]) / (power - 1);
            const double error = std::max(std::abs(next[j] - next[j - 1]), std::abs(next[j] - row[j - 1]));
            if (error < best_error) {
                best_error = error;
                best.value = next[j];
                best.rounding = rounding;
            }
        }
        row = next;
        const double wanted = tolerance * std::max(scale, std::abs(next[0]));
        best.smooth = best_error <= 4 * wanted + best.rounding && std::abs(jump) <= 100 * wanted + 4 * rounding;
        if (k > 0 && best_error <= wanted && best.smooth) break;
    }
    return best;
}

}  // namespace xtape::check
