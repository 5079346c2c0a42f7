#include <xtape/tools/subject.hpp>

#include <algorithm>
#include <cmath>

namespace xtape::tools {
namespace {

constexpr std::uint64_t draws = 4;  // of the f32 noise floor

void raise(NoiseFloors& floors, const Evaluation& f32, const Evaluation& f64) {
    floors.output = std::max(floors.output, relative_error(f32.output, f64.output));
    for (std::size_t i = 0; i < floors.gradients.size(); ++i)
        floors.gradients[i] = std::max(floors.gradients[i], relative_error(f32.gradients[i], f64.gradients[i]));
}

void raise(Trace& trace, const Trace& f32, const Trace& f64) {
    for (std::size_t i = 0; i < trace.size(); ++i) {
        trace[i].noise = std::max(trace[i].noise, relative_error(f32[i].gradient, f64[i].gradient));
        trace[i].value_noise = std::max(trace[i].value_noise, relative_error(f32[i].value, f64[i].value));
    }
}

}  // namespace

double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
    double error = 0, size = 0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        error = std::max(error, std::abs(a[i] - b[i]));
        size = std::max(size, std::abs(b[i]));
    }
    return size > 0 ? error / size : 0;
}

NoiseFloors noise_floors(Subject& subject, const MakeSubject& make, const Evaluation& truth) {
    NoiseFloors floors{.gradients = std::vector<double>(truth.gradients.size())};
    raise(floors, subject.tape32(), truth);
    for (std::uint64_t draw = 1; draw < draws; ++draw) {
        const std::unique_ptr<Subject> other = make(draw);
        const Evaluation other_truth = other->tape64();
        raise(floors, other->tape32(), other_truth);
        if (const auto sequential = other->sequential32()) raise(floors, *sequential, other_truth);
    }
    return floors;
}

Trace trace_with_noise(Subject& subject, const MakeSubject& make) {
    Trace trace = subject.trace64();
    raise(trace, subject.trace32(), Trace(trace));
    for (std::uint64_t draw = 1; draw < draws; ++draw) {
        const std::unique_ptr<Subject> other = make(draw);
        raise(trace, other->trace32(), other->trace64());
    }
    return trace;
}

}  // namespace xtape::tools
