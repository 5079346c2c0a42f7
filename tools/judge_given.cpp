#include <xtape/engine/check/diagnose.hpp>
#include <xtape/tools/given_arrays.hpp>

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::tools {
namespace {

constexpr double f32_rounding = 1e-5;  // f64 files that are off by less were computed in f32

/// A gradient of another shape than its parameter's is wrong, whatever its elements.
void refuse_shape(GradRow& row, const GivenArrays& given) {
    const auto array = given.find(row.name);
    if (array == given.end() || array->second.shape == row.shape) return;
    row.verdict = Verdict::differs;
    row.diagnosis = fmt::format("is {}, should be {}", to_string(array->second.shape), to_string(row.shape));
}

/// A place that only follows from which gradients are wrong may join mistakes that have nothing to do with each other:
/// where none of them has a diagnosis of its own it is a hint, elsewhere not even that.
void keep_what_is_proved(GradReport& report, const std::vector<GradRow>& before) {
    if (!report.explanation || !report.explanation->inferred) return;
    const auto has_own = [](const GradRow& row) {
        return differs(row) && !row.diagnosis.empty() && !row.diagnosis.ends_with('?');
    };
    if (std::ranges::none_of(before, has_own))
        report.notes.push_back(fmt::format("perhaps one fault: {}", to_string(*report.explanation)));
    report.explanation.reset();
    report.rows = before;
}

/// The judgement of one set of files.
class GivenJudge {
public:
    GivenJudge(const FileCase& item, Subject& subject, const GivenArrays& given)
        : item_(item),
          subject_(subject),
          given_(given),
          brief_(subject.brief()),
          truth_(subject.tape64()),
          noise_(noise_floors(subject, item.make, truth_)) {}

    GradReport judge_all(const std::string& source) {
        GradReport report = gradients();
        report.check = fmt::format("audit {} ({}) against {}", item_.subject, item_.settings, source);
        forward(report);
        for (GradRow& row : report.rows) refuse_shape(row, given_);
        check::add_notes(report);
        if (only_rounded(report))
            report.notes.emplace_back("off by no more than f32 rounds: write f32 files, where it was computed in f32");
        else
            explain_all(report);
        name_notes(report);
        departure(report);
        return report;
    }

    const std::optional<std::string>& departed() const { return departed_; }

private:
    JudgeOptions options(std::string_view precision) const {
        return {.check = "audit", .precision = precision, .factors = item_.factors};
    }

    GradReport gradients() {
        std::vector<Evidence> evidence;
        const auto parameters = subject_.parameters();
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            const auto array = given_.find(parameters[i].name);
            evidence.push_back({parameters[i].name,
                                parameters[i].parameter->shape(),
                                truth_.gradients[i],
                                array == given_.end() ? std::vector<double>() : array->second.values,
                                noise_.gradients[i],
                                {}});
        }
        GradReport report = judge(evidence, options("f32"));
        const GradReport f64 = judge(evidence, options("f64"));
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            const auto array = given_.find(parameters[i].name);
            if (array != given_.end() && array->second.precision == "f64") report.rows[i] = f64.rows[i];
        }
        report.notes.clear();
        return report;
    }

    /// Logits and loss, those that are there, as one row.
    void forward(GradReport& report) const {
        Evidence evidence{{}, {}, {}, {}, noise_.output, {}};
        std::string_view precision = "f64";
        std::string wrong_shape;
        std::span<const double> rest = truth_.output;
        for (const auto& [name, shape] : brief_.outputs) {
            const auto truth = rest.first(static_cast<std::size_t>(shape.size()));
            rest = rest.subspan(truth.size());
            const auto array = given_.find(name);
            if (array == given_.end()) continue;
            const auto& [given_precision, given_shape, values] = array->second;
            if (given_precision == "f32") precision = "f32";
            evidence.name += (evidence.name.empty() ? "" : ", ") + name;
            evidence.truth.insert(evidence.truth.end(), truth.begin(), truth.end());
            evidence.candidate.insert(evidence.candidate.end(), values.begin(), values.end());
            if (given_shape.size() != shape.size())
                wrong_shape = fmt::format("{} is {}, should be {}", name, to_string(given_shape), to_string(shape));
        }
        if (evidence.name.empty()) {
            report.notes.emplace_back("the forward was not compared: write back the loss, or the logits");
            return;
        }
        evidence.shape = Shape{static_cast<Index>(evidence.truth.size())};
        report.forward = judge_forward(evidence, options(precision));
        if (wrong_shape.empty()) return;
        report.forward->verdict = Verdict::differs;
        report.forward->diagnosis = wrong_shape;
    }

    /// One fault explains all gradients or none: so only where all were given, in their shapes.
    void explain_all(GradReport& report) {
        std::vector<std::vector<double>> candidates;
        for (const GradRow& row : report.rows) {
            const auto array = given_.find(row.name);
            if (array == given_.end() || array->second.shape != row.shape) return;
            candidates.push_back(array->second.values);
        }
        const std::vector<GradRow> before = report.rows;
        explain(report, subject_, candidates);
        keep_what_is_proved(report, before);
    }

    bool is_output(const std::string& name) const {
        return std::ranges::any_of(brief_.outputs, [&](const auto& output) { return output.first == name; });
    }

    /// What is missing, and names that this case does not have.
    void name_notes(GradReport& report) {
        std::vector<std::string> missing, unknown;
        for (const GradRow& row : report.rows)
            if (!given_.contains(row.name)) missing.push_back(row.name);
        for (const auto& [name, array] : given_) {
            if (is_output(name) || std::ranges::count(report.rows, name, &GradRow::name) > 0) continue;
            if (trace().end() == std::ranges::find(trace(), name, &Intermediate::name))
                unknown.push_back(name);
            else
                intermediates_ = true;
        }
        if (!missing.empty()) report.notes.push_back(fmt::format("missing: {}", fmt::join(missing, ", ")));
        if (!unknown.empty())
            report.notes.push_back(
                fmt::format("unknown, neither a parameter nor an output or intermediate of this case: {}",
                            fmt::join(unknown, ", ")));
    }

    /// Whether all that differs are f64 files of numbers in f32.
    bool only_rounded(const GradReport& report) const {
        const auto rounded = [this](const GradRow& row) {
            const auto array = given_.find(row.name);
            return !differs(row) || (row.precision == "f64" && row.relative < f32_rounding && array != given_.end() &&
                                     array->second.shape == row.shape);
        };
        return std::ranges::any_of(report.rows, differs) && std::ranges::all_of(report.rows, rounded);
    }

    /// Only where gradients of intermediates were given: those of parameters alone are in the table.
    void departure(GradReport& report) {
        if (!intermediates_) return;
        NamedArrays arrays;
        std::string_view precision = "f64";
        for (const auto& [name, array] : given_) {
            if (std::ranges::find(trace(), name, &Intermediate::name) == trace().end()) continue;
            arrays[name] = array.values;
            if (array.precision == "f32") precision = "f32";
        }
        const auto found = first_departure(trace(), arrays, options(precision));
        if (found) departed_ = found->text;
        report.notes.push_back(found ? found->text : "the gradients of intermediates that were given agree");
    }

    const Trace& trace() {
        if (trace_.empty()) trace_ = trace_with_noise(subject_, item_.make);
        return trace_;
    }

    const FileCase& item_;
    Subject& subject_;
    const GivenArrays& given_;
    Brief brief_;
    Evaluation truth_;
    NoiseFloors noise_;
    Trace trace_;
    bool intermediates_ = false;
    std::optional<std::string> departed_;
};

}  // namespace

AuditReport judge_given(const FileCase& item, Subject& subject, const std::string& source, const GivenArrays& given) {
    GivenJudge judge(item, subject, given);
    const GradReport report = judge.judge_all(source);
    const bool agree = report.passed() && !judge.departed();
    Json rows = Json::array();
    double largest = 0;
    bool f64 = false;
    for (const GradRow& row : report.rows) {
        rows.push_back(to_json(row));
        if (row.precision != "f64" || row.verdict == Verdict::vacuous || row.verdict == Verdict::unreached) continue;
        f64 = true;
        largest = std::max(largest, row.relative);
    }
    Json json{{"model", item.subject},
              {"agree", agree},
              {"cases", {{{"settings", item.settings}, {"agree", agree}, {"parameters", rows}}}},
              {"parameters", rows},
              {"f64", {{"max_rel_reference", f64 ? Json(largest) : Json()}, {"max_rel_finite_difference", nullptr}}},
              {"forward", report.forward ? to_json(*report.forward) : Json()},
              {"first_departure", judge.departed() ? Json(*judge.departed()) : Json()},
              {"notes", report.notes}};
    if (report.explanation) json["cases"][0]["explanation"] = to_string(*report.explanation);
    return {agree, std::move(json), report.text() + "\n"};
}

}  // namespace xtape::tools
