// Checks without finite differences: the adjoint identity, and one formula against another.
#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xtape::check {
namespace {

constexpr int pairs = 4;  // of random x and y

double dot(const Tensor<double>& a, const Tensor<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.values().size(); ++i) sum += a.data()[i] * b.data()[i];
    return sum;
}

std::vector<double> elements_of(const Tensor<double>& x) {
    return x ? std::vector<double>(x.values().begin(), x.values().end()) : std::vector<double>();
}

}  // namespace

GradReport adjoint_check(const TensorFunction<double>& op, std::span<const Tensor<double>> inputs, double tolerance,
                         std::uint64_t seed) {
    GradReport report{.check = "adjoint_check", .seed = seed};
    Random random(seed);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        std::vector<Tensor<double>> x;
        for (const Tensor<double>& input : inputs) x.push_back(Tensor<double>::zeros(input.shape()));
        std::vector<double> forward, adjoint;
        double scale = 0;
        bool reached = false;
        for (int pair = 0; pair < pairs; ++pair) {
            x[i] = random.tensor(inputs[i].shape(), -1, 1);
            Tensor<double> dy;
            const auto [y, dx] = tape_gradients<double>(
                op, x, [&](const Tensor<double>& output) { return dy = random.tensor(output.shape(), -1, 1); });
            if (!dy) dy = Tensor<double>::full(y.shape(), 1);
            forward.push_back(dot(y, dy));
            adjoint.push_back(dx[i] ? dot(x[i], dx[i]) : 0);
            scale = std::max(scale, std::sqrt(dot(y, y) * dot(dy, dy)));
            reached = reached || dx[i];
        }
        GradRow row = measure(fmt::format("input {}", i), {pairs}, adjoint, forward);
        row.shape = inputs[i].shape();
        row.worst.reset();
        row.relative = scale > 0 ? row.max_error / scale : row.max_error;
        row.noise = tolerance * scale;
        row.noise_ratio = row.max_error == 0 ? 0 : row.max_error / row.noise;
        row.verdict = scale == 0 ? Verdict::vacuous : reached ? Verdict::agree : Verdict::never_written;
        if (!(row.noise_ratio <= 1)) row.verdict = reached ? Verdict::differs : Verdict::never_written;
        if (row.verdict == Verdict::differs) row.diagnosis = "⟨A x, y⟩ is not ⟨x, Aᵀ y⟩, or A is not linear";
        report.rows.push_back(std::move(row));
    }
    return report;
}

GradReport same_gradient(const TensorFunction<double>& fused, const TensorFunction<double>& composed,
                         std::span<const Tensor<double>> inputs, double tolerance, std::uint64_t seed) {
    const auto run = [&](const TensorFunction<double>& f) {
        Random random(seed);
        return tape_gradients<double>(f, inputs,
                                      [&](const Tensor<double>& y) { return random.tensor(y.shape(), -1, 1); });
    };
    const TapeGradients<double> candidate = run(fused);
    const TapeGradients<double> truth = run(composed);
    const JudgeOptions options{
        .check = "same_gradient", .precision = "f64", .factor = 1, .f64_tolerance = tolerance, .seed = seed};
    std::vector<Evidence> evidence;
    for (std::size_t i = 0; i < inputs.size(); ++i)
        evidence.push_back({fmt::format("input {}", i),
                            inputs[i].shape(),
                            elements_of(truth.dx[i]),
                            elements_of(candidate.dx[i]),
                            0,
                            {}});
    GradReport report = judge(evidence, options);
    report.forward =
        judge_forward({"forward", truth.y.shape(), elements_of(truth.y), elements_of(candidate.y), 0, {}}, options);
    return report;
}

}  // namespace xtape::check
