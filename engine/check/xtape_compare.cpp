#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/check/diagnose.hpp>
#include <xtape/engine/check/host_report.hpp>
#include <xtape/engine/check/variable_check.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xtape::check {
namespace {

constexpr double eps32 = std::numeric_limits<float>::epsilon();
constexpr double eps64 = std::numeric_limits<double>::epsilon();

Shape shape_of(const xtape_tensor& tensor) {
    if (tensor.name == nullptr) throw ValueError("a tensor has no name");
    if (tensor.rank < 0 || tensor.rank > XTAPE_MAX_RANK)
        throw ShapeError(fmt::format("{} has rank {}, and 0 to {} are possible", tensor.name, tensor.rank,
                                     static_cast<int>(XTAPE_MAX_RANK)));
    return Shape(std::span<const Index>(tensor.extents, static_cast<std::size_t>(tensor.rank)));
}

std::vector<double> elements(const void* array, xtape_dtype dtype, Index size) {
    const auto widened = [size](const auto* values) { return std::vector<double>(values, values + size); };
    if (array == nullptr) return {};
    if (dtype != XTAPE_F32 && dtype != XTAPE_F64) throw ValueError("gradients and values are f32 or f64");
    return dtype == XTAPE_F32 ? widened(static_cast<const float*>(array)) : widened(static_cast<const double*>(array));
}

std::string_view precision_of(const xtape_tensor& tensor) { return tensor.gradient_dtype == XTAPE_F32 ? "f32" : "f64"; }

/// The elements that the host's loss reads: put where a difference wants them, and back when it ends.
class HostValues {
public:
    HostValues(const xtape_tensor& tensor, Index size)
        : array_(tensor.values), dtype_(tensor.values_dtype), before_(elements(array_, dtype_, size)) {}
    ~HostValues() { write(before_); }
    HostValues(const HostValues&) = delete;
    HostValues& operator=(const HostValues&) = delete;

    void write(const std::vector<double>& values) const {
        if (dtype_ == XTAPE_F32)
            std::ranges::transform(values, static_cast<float*>(array_), [](double v) { return static_cast<float>(v); });
        else
            std::ranges::copy(values, static_cast<double*>(array_));
    }

private:
    void* array_;
    xtape_dtype dtype_;
    std::vector<double> before_;
};

/// Finite differences of a loss in f32 are no better than its rounding, at steps that are long enough to see beyond it.
GradcheckOptions options_for(const xtape_tensor& tensor) {
    if (tensor.values_dtype == XTAPE_F32) return {.tolerance = 2e-4, .step = 1.0 / 16};
    return {.tolerance = tensor.gradient_dtype == XTAPE_F32 ? 1e-4 : 1e-7};
}

GradReport run_gradcheck(xtape_loss loss, void* context, std::span<const xtape_tensor> parameters) {
    std::vector<Variable> variables;
    std::vector<GradcheckOptions> options;
    std::vector<VariableCheck> checks;
    for (const xtape_tensor& one : parameters) {
        const Shape shape = shape_of(one);
        if (one.values == nullptr) throw ValueError(fmt::format("{} has no values to be moved", one.name));
        std::vector<double> gradient = elements(one.gradient, one.gradient_dtype, shape.size());
        gradient.resize(static_cast<std::size_t>(shape.size()));
        variables.push_back(
            {one.name, shape, elements(one.values, one.values_dtype, shape.size()), Tensor<double>(shape, gradient)});
        options.push_back(options_for(one));
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const auto evaluate = [loss, context, &one = parameters[i],
                               size = variables[i].shape.size()](const std::vector<double>& moved) {
            const HostValues host(one, size);
            host.write(moved);
            const double value = loss(context);
            return Weighed{value, std::abs(value) * (one.values_dtype == XTAPE_F32 ? eps32 / eps64 : 1)};
        };
        checks.emplace_back(variables[i], evaluate, options[i]);
    }
    GradReport report = run_checks(checks, GradcheckOptions{}, "xtape_gradcheck");
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        GradRow& row = report.rows[i];
        row.precision = precision_of(parameters[i]);
        const auto written = variables[i].gradient.values();
        const bool nothing = std::ranges::all_of(written, [](double v) { return v == 0; });
        if (nothing && row.diagnosis.starts_with("never written")) row.verdict = Verdict::never_written;
    }
    return report;
}

}  // namespace

GradReport compare_tensors(std::span<const xtape_tensor> tensors) {
    std::vector<Evidence> evidence;
    for (const xtape_tensor& one : tensors) {
        const Shape shape = shape_of(one);
        evidence.push_back({one.name,
                            shape,
                            elements(one.truth, XTAPE_F64, shape.size()),
                            elements(one.gradient, one.gradient_dtype, shape.size()),
                            one.noise,
                            {}});
    }
    GradReport report = judge(evidence, {.check = "xtape_compare", .precision = "f32"});
    const GradReport f64 = judge(evidence, {.check = "xtape_compare", .precision = "f64"});
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].gradient_dtype == XTAPE_F64) report.rows[i] = f64.rows[i];
    }
    report.notes.clear();
    add_notes(report);
    return report;
}

xtape_row to_c(const GradRow& row) {
    return {row.name.c_str(),
            static_cast<xtape_verdict>(row.verdict),
            row.diagnosis.c_str(),
            row.max_error,
            row.relative,
            row.cosine,
            row.scale,
            row.noise_ratio,
            row.over_tolerance,
            row.worst.value_or(-1),
            row.worst_candidate,
            row.worst_truth};
}

}  // namespace xtape::check

using xtape::Verdict;
static_assert(static_cast<int>(Verdict::differs) == XTAPE_DIFFERS &&
              static_cast<int>(Verdict::vacuous) == XTAPE_VACUOUS);
static_assert(static_cast<int>(Verdict::never_written) == XTAPE_NEVER_WRITTEN);
static_assert(XTAPE_MAX_RANK == xtape::Shape::max_rank);

xtape_report* xtape_gradcheck(xtape_loss loss, void* context, const xtape_tensor* parameters, size_t count) {
    return xtape::check::report_of("xtape_gradcheck", parameters, count, [&](std::span<const xtape_tensor> all) {
        if (loss == nullptr) throw xtape::ValueError("there is no loss");
        return xtape::check::run_gradcheck(loss, context, all);
    });
}

xtape_report* xtape_compare(const xtape_tensor* tensors, size_t count) {
    return xtape::check::report_of("xtape_compare", tensors, count, xtape::check::compare_tensors);
}

int xtape_passed(const xtape_report* report) {
    return report != nullptr && report->error.empty() && report->report.passed() ? 1 : 0;
}

const char* xtape_text(const xtape_report* report) {
    if (report == nullptr) return "out of memory";
    return report->error.empty() ? report->text.c_str() : report->error.c_str();
}

const char* xtape_error(const xtape_report* report) {
    if (report == nullptr) return "out of memory";
    return report->error.empty() ? nullptr : report->error.c_str();
}

size_t xtape_row_count(const xtape_report* report) { return report == nullptr ? 0 : report->rows.size(); }

const xtape_row* xtape_row_at(const xtape_report* report, size_t index) {
    return index < xtape_row_count(report) ? &report->rows[index] : nullptr;
}

void xtape_free(xtape_report* report) { delete report; }
