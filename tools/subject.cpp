#include <xtape/engine/check/hypotheses.hpp>
#include <xtape/nn/init.hpp>
#include <xtape/tools/subject.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace xtape::tools {
namespace {

constexpr std::uint64_t draws = 4;  // of the f32 noise floor
constexpr double eps64 = std::numeric_limits<double>::epsilon();
constexpr double per_eps64 = std::numeric_limits<float>::epsilon() / eps64;

/// max|a − b| / max|b|; 0 where b is 0, and where it is not finite, as it is no rounding.
double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
    double error = 0, size = 0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        error = std::max(error, std::abs(a[i] - b[i]));
        size = std::max(size, std::abs(b[i]));
    }
    return size > 0 && std::isfinite(error / size) ? error / size : 0;
}

void raise(NoiseFloors& floors, const Evaluation& rounded, const Evaluation& f64, double times = 1) {
    floors.output = std::max(floors.output, times * relative_error(rounded.output, f64.output));
    for (std::size_t i = 0; i < floors.gradients.size(); ++i)
        floors.gradients[i] =
            std::max(floors.gradients[i], times * relative_error(rounded.gradients[i], f64.gradients[i]));
}

void raise(Trace& trace, const Trace& rounded, const Trace& f64, double times = 1) {
    for (std::size_t i = 0; i < trace.size(); ++i) {
        trace[i].noise = std::max(trace[i].noise, times * relative_error(rounded[i].gradient, f64[i].gradient));
        trace[i].value_noise = std::max(trace[i].value_noise, times * relative_error(rounded[i].value, f64[i].value));
    }
}

/// The judged draw with its f64 parameters moved by a few epsilon: what that does to a gradient, rounding may do too.
std::unique_ptr<Subject> near(const MakeSubject& make, std::uint64_t seed) {
    std::unique_ptr<Subject> subject = make(0);
    nn::Rng rng(seed);
    for (const NamedParameter& one : subject->parameters())
        for (double& value : one.parameter->write()) value *= 1 + rng.uniform(-4 * eps64, 4 * eps64);
    return subject;
}

}  // namespace

NoiseFloors noise_floors(Subject& subject, const MakeSubject& make, const Evaluation& truth) {
    NoiseFloors floors{.gradients = std::vector<double>(truth.gradients.size())};
    raise(floors, subject.tape32(), truth);
    for (std::uint64_t draw = 1; draw < draws; ++draw) {
        const std::unique_ptr<Subject> other = make(draw);
        const Evaluation other_truth = other->tape64();
        raise(floors, other->tape32(), other_truth);
        if (const auto sequential = other->sequential32()) raise(floors, *sequential, other_truth);
        raise(floors, near(make, draw)->tape64(), truth, per_eps64);
    }
    return floors;
}

Trace trace_with_noise(Subject& subject, const MakeSubject& make) {
    const Trace truth = subject.trace64();
    Trace trace = truth;
    raise(trace, subject.trace32(), truth);
    for (std::uint64_t draw = 1; draw < draws; ++draw) {
        const std::unique_ptr<Subject> other = make(draw);
        raise(trace, other->trace32(), other->trace64());
        raise(trace, near(make, draw)->trace64(), truth, per_eps64);
    }
    return trace;
}

void explain(GradReport& report, Subject& subject, std::span<const std::vector<double>> candidates) {
    if (std::ranges::none_of(report.rows, differs)) return;
    const std::vector<NamedParameter> parameters = subject.parameters();
    std::vector<const Tensor<double>*> of;
    for (const NamedParameter& named : parameters) of.push_back(named.parameter);
    Tape<double> tape({.keep_records = true});
    const Tensor<double> loss = subject.loss();
    check::explain(report, tape, loss, Tensor<double>::full({}, 1), of, candidates);
}

}  // namespace xtape::tools
