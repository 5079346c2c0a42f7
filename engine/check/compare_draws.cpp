// compare: draws of inputs and cotangents, on which the tape in f64 and f32 and the candidate run.
#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/check/diagnose.hpp>

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::check {
namespace {

constexpr std::size_t draws = 4;

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
    Tensor<double> cotangent;
    TapeGradients<double> truth;
    TapeGradients<float> f32;
};

/// Random, and correlated with the output: a term that is orthogonal to the one may not be to the other.
Tensor<double> random_cotangent(const Tensor<double>& y, Random& random) {
    double largest = 1e-30;
    for (const double v : y.values()) largest = std::max(largest, std::abs(v));
    return rounded(y, [&](double v) { return 0.5 * v / largest + random.uniform(-1, 1); });
}

Draw make_draw(const TensorFunction<double>& forward64, const TensorFunction<float>& forward32,
               std::span<const Tensor<double>> inputs, bool scalar, double perturb, Random& random) {
    Draw draw;
    std::vector<Tensor<float>> inputs32;
    for (const Tensor<double>& x : inputs) {
        draw.inputs.push_back(rounded(x, [&](double v) { return v * (1 + random.uniform(-perturb, perturb)); }));
        inputs32.push_back(converted<float>(draw.inputs.back()));
    }
    draw.truth = tape_gradients<double>(forward64, draw.inputs, [&](const Tensor<double>& y) {
        return draw.cotangent = scalar ? Tensor<double>::full(y.shape(), 1) : random_cotangent(y, random);
    });
    const Tensor<double>& y = draw.truth.y;
    if (scalar && y.size() != 1)
        throw ShapeError(
            fmt::format("compare: a backward without a cotangent needs a scalar: output is {}; let it take "
                        "(inputs, dy, gradients)",
                        to_string(y.shape())));
    if (!draw.cotangent) draw.cotangent = Tensor<double>::full(y.shape(), 1);
    draw.f32 = tape_gradients<float>(forward32, inputs32,
                                     [&](const Tensor<float>&) { return converted<float>(draw.cotangent); });
    return draw;
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
GradReport judge_draw(const Draw& draw, const Backward<T>& backward, std::span<const double> noise,
                      const CompareOptions& options) {
    Arrays<T> inputs, gradients;
    for (const Tensor<double>& x : draw.inputs) {
        inputs.emplace_back(x.values().begin(), x.values().end());
        gradients.emplace_back(x.values().size());
    }
    const std::vector<T> dy(draw.cotangent.values().begin(), draw.cotangent.values().end());
    const std::vector<T> output = backward(inputs, dy, gradients);
    if (options.accumulates) backward(inputs, dy, gradients);

    std::vector<Evidence> evidence;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
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
    return report;
}

/// The worst row of each gradient over the draws.
template <class T>
void judge_all(GradReport& report, std::span<const Draw> all, const Backward<T>& backward,
               std::span<const double> noise, const CompareOptions& options) {
    GradReport first = judge_draw(all[0], backward, noise, options);
    GradReport worst = first;
    for (const Draw& draw : all.subspan(1)) {
        const GradReport other = judge_draw(draw, backward, noise, options);
        if (other.forward && worse(*other.forward, *worst.forward)) worst.forward = other.forward;
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
    std::vector<Draw> all;
    for (std::size_t draw = 0; draw < draws; ++draw)
        all.push_back(make_draw(forward64, forward32, inputs, scalar, draw == 0 ? 0 : options.perturb, random));
    const std::vector<double> noise = noise_floors(all);
    GradReport report{.check = "compare", .seed = options.seed, .factor = options.factor};
    if (backward32) judge_all(report, all, backward32, noise, options);
    if (backward64) judge_all(report, all, backward64, noise, options);
    if (!report.forward) report.notes.push_back("the forward was not compared: return its output from the backward");
    return report;
}

}  // namespace xtape::check
