#include <xtape/engine/check/kinks.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace xtape::check {
namespace {

constexpr int point_pairs = 6;  // of points, one on either side

using Elements = std::vector<std::vector<double>>;

/// The least and the greatest of each gradient.
struct Range {
    Elements least, greatest;

    explicit Range(std::span<const Tensor<double>> inputs) {
        for (const Tensor<double>& x : inputs) {
            least.emplace_back(x.values().size(), std::numeric_limits<double>::infinity());
            greatest.emplace_back(x.values().size(), -std::numeric_limits<double>::infinity());
        }
    }

    void add(const std::vector<Tensor<double>>& gradients) {
        for (std::size_t i = 0; i < least.size(); ++i) {
            for (std::size_t k = 0; gradients[i] && k < least[i].size(); ++k) {
                least[i][k] = std::min(least[i][k], gradients[i].data()[k]);
                greatest[i][k] = std::max(greatest[i][k], gradients[i].data()[k]);
            }
        }
    }

    double width(std::size_t i, std::size_t k) const { return greatest[i][k] - least[i][k]; }
};

/// inputs + step · direction, the step relative to the largest element of each input.
std::vector<Tensor<double>> moved(std::span<const Tensor<double>> inputs, std::span<const Tensor<double>> direction,
                                  double step) {
    std::vector<Tensor<double>> result;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        std::vector<double> values(inputs[i].values().begin(), inputs[i].values().end());
        double largest = 0;
        for (const double v : values) largest = std::max(largest, std::abs(v));
        const double scale = step * (largest > 0 ? largest : 1);
        for (std::size_t k = 0; k < values.size(); ++k) values[k] += scale * direction[i].data()[k];
        result.emplace_back(inputs[i].shape(), values);
    }
    return result;
}

/// Raises `jumps` to the spread of the gradients at points that are `near`, where it is much the same `farther` times
/// as far away: of a smooth gradient it grows with the distance.
void raise_by_spread(Elements& jumps, const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
                     const Tensor<double>& dy, double near) {
    constexpr double farther = 16;
    Random random(1);
    Range close(inputs), wide(inputs);
    for (int pair = 0; pair < point_pairs; ++pair) {
        std::vector<Tensor<double>> direction;
        for (const Tensor<double>& x : inputs) direction.push_back(random.tensor(x.shape(), -1, 1));
        const auto gradients_at = [&](double step) {
            const auto x = moved(inputs, direction, step);
            return tape_gradients<double>(f, x, [&](const Tensor<double>&) { return dy; }).dx;
        };
        for (const double side : {-near, near}) {
            close.add(gradients_at(side));
            wide.add(gradients_at(side * farther));
        }
    }
    for (std::size_t i = 0; i < jumps.size(); ++i) {
        for (std::size_t k = 0; k < jumps[i].size(); ++k) {
            const double width = close.width(i, k);
            if (width >= wide.width(i, k) / 2 && std::isfinite(width)) jumps[i][k] = std::max(jumps[i][k], width);
        }
    }
}

}  // namespace

std::vector<std::vector<double>> gradient_jumps(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
                                                const Tensor<double>& dy) {
    Elements jumps;
    for (const Tensor<double>& x : inputs) jumps.emplace_back(x.values().size());
    raise_by_spread(jumps, f, inputs, dy, 0x1p-36);  // at the inputs: small jumps are seen as well
    raise_by_spread(jumps, f, inputs, dy, 0x1p-19);  // where rounding in f32 gets to
    return jumps;
}

}  // namespace xtape::check
