#include <xtape/engine/check/draws.hpp>
#include <xtape/engine/check/kinks.hpp>
#include <xtape/engine/check/largest.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xtape::check {
namespace {

constexpr std::size_t draws = 4;
constexpr double eps32 = std::numeric_limits<float>::epsilon();
constexpr double most_rounding = 1e-5;     // no more than this passes for a candidate's own rounding
constexpr double suspicious_noise = 1e-4;  // of the f32 tape: rounding rarely makes so much, crossing a kink does

template <class T> Tensor<T> converted(const Tensor<double>& x) {
    return {x.shape(), std::vector<T>(x.values().begin(), x.values().end())};
}

/// Changed, and rounded to f32.
Tensor<double> changed(const Tensor<double>& x, const auto& change) {
    std::vector<double> values(x.values().begin(), x.values().end());
    for (double& v : values) v = static_cast<float>(change(v));
    return {x.shape(), values};
}

double nonzero(double low, Random& random) {
    const double sign = random.uniform(-1, 1) < 0 ? -1 : 1;
    return sign * random.uniform(low, 1);
}

Tensor<double> redrawn(const Tensor<double>& x, Random& random) {
    return changed(x, [&](double) { return nonzero(0.25, random); });
}

/// Each element times 1 ± `by`. What is all zero moves away from it: a projection that starts at zero hides all that is
/// behind it. A zero among others stays: it may be a mask.
Tensor<double> perturbed(const Tensor<double>& x, double by, Random& random) {
    if (largest_of(x.values()) == 0) return changed(x, [&](double) { return by * nonzero(0.5, random); });
    return changed(x, [&](double v) { return v * (1 + random.uniform(-by, by)); });
}

std::vector<Tensor<double>> mapped(std::span<const Tensor<double>> inputs, const auto& change) {
    std::vector<Tensor<double>> result;
    for (const Tensor<double>& x : inputs) result.push_back(change(x));
    return result;
}

std::vector<Tensor<double>> scaled(std::span<const Tensor<double>> inputs, std::span<const double> magnitudes) {
    std::vector<Tensor<double>> result(inputs.begin(), inputs.end());
    for (std::size_t i = 0; i < std::min(inputs.size(), magnitudes.size()); ++i) {
        const double largest = largest_of(inputs[i].values());
        if (magnitudes[i] > 0 && largest > 0)
            result[i] = changed(inputs[i], [&](double v) { return v * (magnitudes[i] / largest); });
    }
    return result;
}

/// Random, and correlated with the output and with each input of its shape: a term that is orthogonal to the one may
/// not be to the other.
Tensor<double> random_cotangent(const Tensor<double>& y, std::span<const Tensor<double>> inputs, Random& random) {
    std::vector<double> sum(y.values().size());
    const auto add = [&](const Tensor<double>& x) {
        const double largest = std::max(largest_of(x.values()), 1e-30);
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += 0.5 * x.data()[i] / largest;
    };
    add(y);
    for (const Tensor<double>& x : inputs) {
        if (x.shape() == y.shape()) add(x);
    }
    for (double& v : sum) v = static_cast<float>(v + random.uniform(-1, 1));
    return {y.shape(), sum};
}

Draw make_draw(const Forward& forward, std::string_view place, std::vector<Tensor<double>> inputs,
               const MakeCotangent<double>& cotangent) {
    Draw draw{.place = place, .inputs = std::move(inputs)};
    draw.truth = tape_gradients<double>(forward.f64, draw.inputs,
                                        [&](const Tensor<double>& y) { return draw.cotangent = cotangent(y); });
    if (!draw.cotangent) draw.cotangent = cotangent(draw.truth.y);
    std::vector<Tensor<float>> inputs32;
    for (const Tensor<double>& x : draw.inputs) inputs32.push_back(converted<float>(x));
    draw.f32 = tape_gradients<float>(forward.f32, inputs32,
                                     [&](const Tensor<float>&) { return converted<float>(draw.cotangent); });
    return draw;
}

Draw make_draw(const Forward& forward, std::string_view place, std::vector<Tensor<double>> inputs, Random& random) {
    const std::vector<Tensor<double>> kept = inputs;
    return make_draw(forward, place, std::move(inputs), [&](const Tensor<double>& y) {
        if (!forward.scalar) return random_cotangent(y, kept, random);
        if (y.size() != 1)
            throw ShapeError(
                fmt::format("compare: a backward without a cotangent needs a scalar: output is {}; let it take "
                            "(inputs, dy, gradients)",
                            to_string(y.shape())));
        return Tensor<double>::full(y.shape(), 1);
    });
}

/// Where an element overflows in f32, that is no rounding.
double largest_error(std::span<const float> f32, std::span<const double> truth) {
    double error = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const double one = std::abs(f32[i] - truth[i]);
        if (std::isfinite(one)) error = std::max(error, one);
    }
    return error;
}

/// Takes the truth for what rounding has carried across a kink.
void mend_kinks(std::span<float> f32, std::span<const double> truth, std::span<const double> jumps, double tolerance) {
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const double error = std::abs(f32[i] - truth[i]);
        if (error > tolerance && is_convention(error, jumps[i])) f32[i] = static_cast<float>(truth[i]);
    }
}

/// How far rounding takes the f32 tape from the truth: each gradient, and (last) the output.
std::vector<double> tape_noise(const Forward& forward, const Draw& draw) {
    std::vector<double> noise(draw.inputs.size() + 1);
    std::vector<std::vector<double>> jumps;
    for (std::size_t i = 0; i < draw.inputs.size(); ++i) {
        if (!draw.truth.dx[i] || !draw.f32.dx[i]) continue;
        const std::span<const double> truth = draw.truth.dx[i].values();
        noise[i] = largest_error(draw.f32.dx[i].values(), truth);
        const double tolerance = suspicious_noise * largest_of(truth);
        if (noise[i] <= tolerance) continue;
        if (jumps.empty()) jumps = gradient_jumps(forward.f64, draw.inputs, draw.cotangent);
        std::vector<float> f32(draw.f32.dx[i].values().begin(), draw.f32.dx[i].values().end());
        mend_kinks(f32, truth, jumps[i], tolerance);
        noise[i] = largest_error(f32, truth);
    }
    noise.back() = largest_error(draw.f32.y.values(), draw.truth.y.values());
    return noise;
}

std::vector<double> noise_floors(const Forward& forward, std::span<const Draw> all) {
    std::vector<double> noise(all.front().inputs.size() + 1);
    for (const Draw& draw : all) {
        const std::vector<double> one = tape_noise(forward, draw);
        std::ranges::transform(noise, one, noise.begin(), [](double a, double b) { return std::max(a, b); });
    }
    return noise;
}

/// How far the errors of a candidate spread.
double spread_of(std::span<const std::vector<double>> errors) {
    double spread = 0;
    for (std::size_t i = 0; i < errors.front().size(); ++i) {
        double mean = 0;
        for (const auto& error : errors) mean += error[i] / static_cast<double>(errors.size());
        for (const auto& error : errors) spread = std::max(spread, std::abs(error[i] - mean));
    }
    return std::isfinite(spread) ? spread : 0;
}

}  // namespace

std::vector<Tensor<double>> random_inputs(std::span<const Shape> shapes, std::uint64_t seed) {
    Random random(~seed);  // not the numbers of the later draws
    std::vector<Tensor<double>> inputs;
    for (const Shape& shape : shapes) inputs.push_back(redrawn(Tensor<double>::zeros(shape), random));
    return inputs;
}

std::vector<Trial> make_trials(const Forward& forward, std::span<const Tensor<double>> inputs, bool redraw,
                               const CompareOptions& options, Random& random) {
    const auto other = [&] {
        return mapped(inputs, [&](const Tensor<double>& x) {
            return redraw ? redrawn(x, random) : perturbed(x, options.perturb, random);
        });
    };
    std::vector<Trial> trials(options.magnitudes.empty() ? 1 : 2);
    for (std::size_t k = 0; k < draws; ++k) {
        const std::vector<Tensor<double>> x =
            k > 0 ? other() : mapped(inputs, [](const auto& in) { return changed(in, [](double v) { return v; }); });
        const char* place = redraw ? (k == 0 ? "on the first draw" : "on another draw")
                                   : (k == 0 ? "at the given inputs" : "where they are perturbed");
        trials[0].draws.push_back(make_draw(forward, place, x, random));
        if (trials.size() > 1)
            trials[1].draws.push_back(
                make_draw(forward, "at the magnitudes asked for", scaled(x, options.magnitudes), random));
    }
    for (Trial& trial : trials) trial.noise = noise_floors(forward, trial.draws);
    return trials;
}

void raise_by_rounding(Trial& trial, const Forward& forward, const Backward<float>& backward, Random& random) {
    const Draw& base = trial.draws.front();
    std::vector<std::vector<std::vector<double>>> errors(trial.noise.size());
    const auto keep = [&](std::size_t i, const std::vector<float>& candidate, const Tensor<double>& truth) {
        if (!truth || candidate.size() != truth.values().size()) return;
        auto& error = errors[i].emplace_back(candidate.begin(), candidate.end());
        for (std::size_t k = 0; k < error.size(); ++k) error[k] -= truth.data()[k];
    };
    for (std::size_t k = 0; k < draws; ++k) {
        const auto near = mapped(base.inputs, [&](const auto& x) { return perturbed(x, 16 * eps32, random); });
        const Draw draw = make_draw(forward, base.place, near, [&](const Tensor<double>&) { return base.cotangent; });
        const HandRun<float> run = run_by_hand(backward, draw, 1);
        for (std::size_t i = 0; i < run.gradients.size(); ++i) keep(i, run.gradients[i], draw.truth.dx[i]);
        keep(run.gradients.size(), run.output, draw.truth.y);
    }
    for (std::size_t i = 0; i < trial.noise.size(); ++i) {
        double largest = 0;
        for (const Draw& draw : trial.draws) {
            const Tensor<double>& truth = i < draw.inputs.size() ? draw.truth.dx[i] : draw.truth.y;
            if (truth) largest = std::max(largest, largest_of(truth.values()));
        }
        if (!errors[i].empty())
            trial.noise[i] = std::max(trial.noise[i], std::min(spread_of(errors[i]), most_rounding * largest));
    }
}

template <class T> HandRun<T> run_by_hand(const Backward<T>& backward, const Draw& draw, int passes) {
    Arrays<T> inputs;
    HandRun<T> run;
    for (const Tensor<double>& x : draw.inputs) {
        inputs.emplace_back(x.values().begin(), x.values().end());
        run.gradients.emplace_back(x.values().size());
    }
    const std::vector<T> dy(draw.cotangent.values().begin(), draw.cotangent.values().end());
    for (int pass = 0; pass < passes; ++pass) run.output = backward(inputs, dy, run.gradients);
    run.gradients.resize(inputs.size());
    return run;
}

template HandRun<float> run_by_hand(const Backward<float>&, const Draw&, int);
template HandRun<double> run_by_hand(const Backward<double>&, const Draw&, int);

}  // namespace xtape::check
