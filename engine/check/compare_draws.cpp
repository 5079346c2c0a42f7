// compare: draws of inputs and cotangents, on which the tape in f64 and f32 and the candidate run.
#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/check/diagnose.hpp>
#include <xtape/engine/check/hypotheses.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::check {
namespace {

constexpr std::size_t draws = 4;
constexpr double eps32 = std::numeric_limits<float>::epsilon();
constexpr double most_rounding = 1e-5;  // no more than this passes for a candidate's own rounding

template <class T> Tensor<T> converted(const Tensor<double>& x) {
    return {x.shape(), std::vector<T>(x.values().begin(), x.values().end())};
}

template <class T> std::vector<double> widened(const std::vector<T>& values) { return {values.begin(), values.end()}; }

std::vector<double> widened(const Tensor<double>& x) {
    return x ? std::vector<double>(x.values().begin(), x.values().end()) : std::vector<double>();
}

/// Rounded to f32, so that both precisions see the same numbers.
Tensor<double> rounded(const Tensor<double>& x, const auto& change) {
    std::vector<double> values(x.values().begin(), x.values().end());
    for (double& v : values) v = static_cast<float>(change(v));
    return {x.shape(), values};
}

/// One set of inputs with its cotangent, and the tape's gradients there.
struct Draw {
    std::vector<Tensor<double>> inputs;
    Tensor<double> cotangent = {};
    TapeGradients<double> truth = {};
    TapeGradients<float> f32 = {};
};

/// Random, and correlated with the output: a term that is orthogonal to the one may not be to the other.
Tensor<double> random_cotangent(const Tensor<double>& y, Random& random) {
    double largest = 1e-30;
    for (const double v : y.values()) largest = std::max(largest, std::abs(v));
    return rounded(y, [&](double v) { return 0.5 * v / largest + random.uniform(-1, 1); });
}

/// The function in both precisions.
struct Forward {
    const TensorFunction<double>& f64;
    const TensorFunction<float>& f32;
};

Draw make_draw(const Forward& forward, std::vector<Tensor<double>> inputs, const MakeCotangent<double>& cotangent) {
    Draw draw{.inputs = std::move(inputs)};
    draw.truth = tape_gradients<double>(forward.f64, draw.inputs,
                                        [&](const Tensor<double>& y) { return draw.cotangent = cotangent(y); });
    if (!draw.cotangent) draw.cotangent = cotangent(draw.truth.y);
    std::vector<Tensor<float>> inputs32;
    for (const Tensor<double>& x : draw.inputs) inputs32.push_back(converted<float>(x));
    draw.f32 = tape_gradients<float>(forward.f32, inputs32,
                                     [&](const Tensor<float>&) { return converted<float>(draw.cotangent); });
    return draw;
}

std::vector<Tensor<double>> perturbed(std::span<const Tensor<double>> inputs, double by, Random& random) {
    std::vector<Tensor<double>> result;
    for (const Tensor<double>& x : inputs)
        result.push_back(rounded(x, [&](double v) { return v * (1 + random.uniform(-by, by)); }));
    return result;
}

std::vector<Draw> make_draws(const Forward& forward, std::span<const Tensor<double>> inputs, bool scalar,
                             double perturb, Random& random) {
    const auto cotangent = [&](const Tensor<double>& y) {
        if (!scalar) return random_cotangent(y, random);
        if (y.size() != 1)
            throw ShapeError(
                fmt::format("compare: a backward without a cotangent needs a scalar: output is {}; let it take "
                            "(inputs, dy, gradients)",
                            to_string(y.shape())));
        return Tensor<double>::full(y.shape(), 1);
    };
    std::vector<Draw> all;
    for (std::size_t draw = 0; draw < draws; ++draw)
        all.push_back(make_draw(forward, perturbed(inputs, draw == 0 ? 0 : perturb, random), cotangent));
    return all;
}

/// What a hand-written backward gives.
template <class T> struct HandRun {
    std::vector<T> output;
    Arrays<T> gradients;
};

template <class T> HandRun<T> run_by_hand(const Backward<T>& backward, const Draw& draw, int passes) {
    Arrays<T> inputs;
    HandRun<T> run;
    for (const Tensor<double>& x : draw.inputs) {
        inputs.emplace_back(x.values().begin(), x.values().end());
        run.gradients.emplace_back(x.values().size());
    }
    const std::vector<T> dy(draw.cotangent.values().begin(), draw.cotangent.values().end());
    for (int pass = 0; pass < passes; ++pass) run.output = backward(inputs, dy, run.gradients);
    return run;
}

/// How far the errors of a candidate spread, relative to the largest element of the truth.
double spread_of(std::span<const std::vector<double>> errors, const Tensor<double>& truth) {
    double spread = 0, largest = 0;
    for (std::size_t i = 0; i < truth.values().size(); ++i) {
        double mean = 0;
        for (const auto& error : errors) mean += error[i] / static_cast<double>(errors.size());
        for (const auto& error : errors) spread = std::max(spread, std::abs(error[i] - mean));
        largest = std::max(largest, std::abs(truth.data()[i]));
    }
    return largest > 0 && std::isfinite(spread) ? std::min(spread / largest, most_rounding) : 0;
}

/// The candidate's own rounding, which in sequential sums is more than the tape's: at inputs that differ in their last
/// bits the error of rounding differs, while that of a fault stays.
void raise_by_rounding(std::vector<double>& noise, const Forward& forward, const Draw& base,
                       const Backward<float>& backward, Random& random) {
    std::vector<std::vector<std::vector<double>>> errors(noise.size());
    const auto keep = [&](std::size_t i, const std::vector<float>& candidate, const Tensor<double>& truth) {
        if (!truth || candidate.size() != truth.values().size()) return;
        auto& error = errors[i].emplace_back(candidate.begin(), candidate.end());
        for (std::size_t k = 0; k < error.size(); ++k) error[k] -= truth.data()[k];
    };
    for (std::size_t k = 0; k < draws; ++k) {
        const Draw draw = make_draw(forward, perturbed(base.inputs, 16 * eps32, random),
                                    [&](const Tensor<double>&) { return base.cotangent; });
        const HandRun<float> run = run_by_hand(backward, draw, 1);
        for (std::size_t i = 0; i < run.gradients.size(); ++i) keep(i, run.gradients[i], draw.truth.dx[i]);
        keep(run.gradients.size(), run.output, draw.truth.y);
    }
    for (std::size_t i = 0; i < noise.size(); ++i) {
        const Tensor<double>& truth = i < base.inputs.size() ? base.truth.dx[i] : base.truth.y;
        if (!errors[i].empty()) noise[i] = std::max(noise[i], spread_of(errors[i], truth));
    }
}

/// The noise floor of each gradient, and (last) of the output: the largest over the draws.
std::vector<double> noise_floors(std::span<const Draw> all) {
    std::vector<double> noise(all.front().inputs.size() + 1);
    for (const Draw& draw : all) {
        for (std::size_t i = 0; i < draw.inputs.size(); ++i) {
            if (!draw.truth.dx[i] || !draw.f32.dx[i]) continue;
            noise[i] = std::max(noise[i], noise_of(draw.f32.dx[i].values(), draw.truth.dx[i].values()));
        }
        noise.back() = std::max(noise.back(), noise_of(draw.f32.y.values(), draw.truth.y.values()));
    }
    return noise;
}

int weight(const GradRow& row) {
    constexpr std::array<Verdict, 5> order{Verdict::unreached, Verdict::vacuous, Verdict::agree, Verdict::never_written,
                                           Verdict::differs};
    return static_cast<int>(std::ranges::find(order, row.verdict) - order.begin());
}

bool worse(const GradRow& a, const GradRow& b) {
    return std::pair(weight(a), a.noise_ratio) > std::pair(weight(b), b.noise_ratio);
}

std::string name_of(const CompareOptions& options, std::size_t input) {
    return input < options.names.size() ? options.names[input] : fmt::format("input {}", input);
}

/// What the candidate says on one draw.
template <class T>
GradReport judge_draw(const Forward& forward, const Draw& draw, const Backward<T>& backward,
                      std::span<const double> noise, const CompareOptions& options) {
    const auto [output, gradients] = run_by_hand(backward, draw, options.accumulates ? 2 : 1);
    std::vector<Evidence> evidence;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
        Evidence& one = evidence.emplace_back(Evidence{name_of(options, i),
                                                       draw.inputs[i].shape(),
                                                       widened(draw.truth.dx[i]),
                                                       widened(gradients[i]),
                                                       noise[i],
                                                       {}});
        if (!options.accumulates) continue;
        for (double& v : one.candidate) v /= 2;
        one.hypotheses.push_back({"overwritten instead of accumulated", one.truth});
        for (double& v : one.hypotheses.back().gradient) v /= 2;
    }
    const JudgeOptions judging{.precision = sizeof(T) == 4 ? "f32" : "f64",
                               .factor = options.factor,
                               .f64_tolerance = options.f64_tolerance,
                               .factors = options.factors,
                               .seed = options.seed};
    GradReport report = judge(evidence, judging);
    if (!output.empty())
        report.forward = judge_forward(
            {"forward", draw.truth.y.shape(), widened(draw.truth.y), widened(output), noise.back(), {}}, judging);
    explain(report, forward.f64, draw.inputs, draw.cotangent, evidence);
    return report;
}

/// The worst row of each gradient over the draws.
template <class T>
void judge_all(GradReport& report, const Forward& forward, std::span<const Draw> all, const Backward<T>& backward,
               std::span<const double> noise, const CompareOptions& options) {
    GradReport first = judge_draw(forward, all[0], backward, noise, options);
    GradReport worst = first;
    for (const Draw& draw : all.subspan(1)) {
        const GradReport other = judge_draw(forward, draw, backward, noise, options);
        if (other.forward && worse(*other.forward, *worst.forward)) worst.forward = other.forward;
        if (!worst.explanation) worst.explanation = other.explanation;
        for (std::size_t i = 0; i < other.rows.size(); ++i) {
            if (worse(other.rows[i], worst.rows[i])) worst.rows[i] = other.rows[i];
        }
    }
    worst.notes.clear();
    add_notes(worst);
    for (std::size_t i = 0; i < worst.rows.size(); ++i) {
        if (weight(worst.rows[i]) > weight(first.rows[i]) && first.rows[i].verdict == Verdict::agree)
            worst.notes.push_back(
                fmt::format("{} agrees at the given inputs, and differs where they are perturbed", worst.rows[i].name));
    }
    if (worst.forward && (!report.forward || worse(*worst.forward, *report.forward))) report.forward = worst.forward;
    if (worst.explanation) report.explanation = worst.explanation;
    report.rows.insert(report.rows.end(), worst.rows.begin(), worst.rows.end());
    for (const std::string& note : worst.notes) {
        if (std::ranges::find(report.notes, note) == report.notes.end()) report.notes.push_back(note);
    }
}

}  // namespace

GradReport compare(const TensorFunction<double>& forward64, const TensorFunction<float>& forward32,
                   const Backward<double>& backward64, const Backward<float>& backward32,
                   std::span<const Tensor<double>> inputs, bool scalar, const CompareOptions& options) {
    Random random(options.seed);
    const Forward forward{forward64, forward32};
    const std::vector<Draw> all = make_draws(forward, inputs, scalar, options.perturb, random);
    std::vector<double> noise = noise_floors(all);
    if (backward32) raise_by_rounding(noise, forward, all[0], backward32, random);
    GradReport report{.check = "compare", .seed = options.seed, .factor = options.factor};
    if (backward32) judge_all(report, forward, all, backward32, noise, options);
    if (backward64) judge_all(report, forward, all, backward64, noise, options);
    if (!report.forward) report.notes.push_back("the forward was not compared: return its output from the backward");
    return report;
}

}  // namespace xtape::check
