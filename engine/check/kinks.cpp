#include <xtape/engine/check/kinks.hpp>
#include <xtape/engine/tape.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace xtape::check {
namespace {

constexpr std::size_t most_examined = 4096;
constexpr int smooth_in_a_row = 4;

/// ⟨dy, f⟩ as a function of one element of one input.
class Section {
public:
    Section(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs, const Tensor<double>& dy,
            std::size_t which)
        : f_(f),
          inputs_(inputs.begin(), inputs.end()),
          dy_(dy),
          which_(which),
          elements_(inputs[which].values().begin(), inputs[which].values().end()) {
        double largest = 0;
        for (const double v : elements_) largest = std::max(largest, std::abs(v));
        // Wide enough to reach a kink that rounding in f32 can cross.
        step_ = 256 * static_cast<double>(std::numeric_limits<float>::epsilon()) * (largest > 0 ? largest : 1);
        middle_ = value();
    }

    /// The slope on the right less that on the left: the same at a large and at a small step, which a curvature is not.
    /// 0 where there is no kink.
    double jump(std::size_t element) {
        const double wide = bend(element, step_), narrow = bend(element, step_ / 16);
        const double rounding = 64 * std::numeric_limits<double>::epsilon() * magnitude_ / (step_ / 16);
        const double ratio = narrow / wide;
        return std::abs(narrow) > rounding && ratio > 0.5 && ratio < 2 ? std::abs(narrow) : 0;
    }

private:
    double bend(std::size_t element, double step) {
        const double x = elements_[element];
        elements_[element] = x + step;
        const double right = value() - middle_;
        elements_[element] = x - step;
        const double left = middle_ - value();
        elements_[element] = x;
        return (right - left) / step;
    }

    double value() {
        const Pause pause;
        inputs_[which_] = Tensor<double>(inputs_[which_].shape(), elements_);
        const Tensor<double> y = f_(inputs_);
        double sum = 0;
        magnitude_ = 0;
        for (std::size_t i = 0; i < y.values().size(); ++i) {
            const double term = y.data()[i] * dy_.data()[i];
            sum += term;
            magnitude_ += std::abs(term);
        }
        return sum;
    }

    const TensorFunction<double>& f_;
    std::vector<Tensor<double>> inputs_;
    const Tensor<double>& dy_;
    std::size_t which_;
    std::vector<double> elements_;
    double step_ = 0;
    double middle_ = 0;
    double magnitude_ = 0;  ///< Σ |dy y|, which says how large rounding errors are
};

}  // namespace

Kinks find_kinks(const TensorFunction<double>& f, std::span<const Tensor<double>> inputs, const Tensor<double>& dy,
                 std::size_t which, std::span<const double> candidate, double tolerance,
                 std::span<const double> truth) {
    const auto error = [&](std::size_t i) { return std::abs(candidate[i] - truth[i]); };
    std::vector<std::size_t> suspects;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        if (!(error(i) <= tolerance)) suspects.push_back(i);
    }
    Kinks kinks;
    if (suspects.empty() || std::ranges::any_of(suspects, [&](std::size_t i) { return !std::isfinite(error(i)); }))
        return kinks;
    std::ranges::stable_sort(suspects, std::ranges::greater(), error);
    Section section(f, inputs, dy, which);
    int smooth = 0;
    for (std::size_t k = 0; k < suspects.size() && smooth < smooth_in_a_row; ++k) {
        if (k == most_examined) {
            kinks.unexamined = static_cast<Index>(suspects.size() - k);
            break;
        }
        const bool explains = 2 * section.jump(suspects[k]) >= error(suspects[k]);
        smooth = explains ? 0 : smooth + 1;
        if (explains) kinks.elements.push_back(static_cast<Index>(suspects[k]));
    }
    return kinks;
}

}  // namespace xtape::check
