#include <xtape/engine/check/largest.hpp>
#include <xtape/tests/reference/optimizers.hpp>
#include <xtape/tools/audit.hpp>
#include <xtape/tools/report_html.hpp>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::tools {
namespace {

constexpr std::string_view zero_init = "zero-init";

/// The judgement of one case.
struct Verdicts {
    std::string settings;
    GradReport f64;                         ///< the reference against the tape
    GradReport f32;                         ///< the same in f32, by the noise floor
    std::optional<GradReport> differences;  ///< the tape against finite differences
    std::optional<GradReport> training = {};
    bool exact = true;  ///< reported are the parameters that the fault makes wrong, and no others

    bool agree() const {
        return f64.passed() && f32.passed() && (!differences || differences->passed()) &&
               (!training || training->passed());
    }
    const std::optional<Explanation>& explanation() const { return f64.passed() ? f32.explanation : f64.explanation; }
};

Evidence output_evidence(const Evaluation& truth, const Evaluation& candidate, double noise) {
    return {
        "logits and loss", Shape{static_cast<Index>(truth.output.size())}, truth.output, candidate.output, noise, {}};
}

Verdicts judge_case(const AuditCase& item, const std::string& fault, bool quick) {
    const std::unique_ptr<AuditSubject> subject = item.make(0);
    const std::vector<NamedParameter> parameters = subject->parameters();
    const Evaluation truth = subject->tape64();
    const Evaluation reference64 = subject->reference64(fault), reference32 = subject->reference32(fault);
    const NoiseFloors noise = noise_floors(*subject, item.make, truth);
    const auto judged = [&](std::string_view precision, const Evaluation& candidate) {
        std::vector<Evidence> evidence;
        for (std::size_t i = 0; i < parameters.size(); ++i)
            evidence.push_back({parameters[i].name,
                                parameters[i].parameter->shape(),
                                truth.gradients[i],
                                candidate.gradients[i],
                                noise.gradients[i],
                                {}});
        const JudgeOptions options{.check = "audit", .precision = precision, .factors = item.factors};
        GradReport report = judge(evidence, options);
        report.forward = judge_forward(output_evidence(truth, candidate, noise.output), options);
        return report;
    };
    Verdicts verdicts{.settings = item.settings,
                      .f64 = judged("f64", reference64),
                      .f32 = judged("f32", reference32),
                      .differences = {}};
    if (!verdicts.f64.passed())
        explain(verdicts.f64, *subject, reference64.gradients);
    else
        explain(verdicts.f32, *subject, reference32.gradients);
    if (quick) return verdicts;
    const double magnitude = check::largest_of(truth.output);
    verdicts.differences =
        check_parameters([&] { return subject->loss(); }, parameters, {.step = item.step, .magnitude = magnitude});
    return verdicts;
}

/// The row that a reader should see for a parameter: the first instrument that objects, else the f32 comparison.
const GradRow& telling_row(const Verdicts& verdicts, std::size_t i) {
    if (differs(verdicts.f64.rows[i])) return verdicts.f64.rows[i];
    if (verdicts.differences && differs(verdicts.differences->rows[i])) return verdicts.differences->rows[i];
    return verdicts.f32.rows[i];
}

/// How bad a row is, to find the worst case of a parameter.
std::pair<int, double> badness(const GradRow& row) {
    return {differs(row) ? 2 : row.verdict == Verdict::agree ? 1 : 0, row.noise_ratio};
}

}  // namespace

Json to_json(const GradRow& row) {
    return Json{{"name", row.name},
                {"size", row.shape.size()},
                {"max_abs", row.max_error},
                {"relative", row.relative},
                {"cosine", row.cosine},
                {"noise_ratio", row.noise_ratio},
                {"verdict", std::string(to_string(row.verdict))},
                {"diagnosis", row.diagnosis}};
}

namespace {

using tools::to_json;

std::vector<GradRow> telling_rows(const Verdicts& verdicts) {
    std::vector<GradRow> rows;
    for (std::size_t i = 0; i < verdicts.f32.rows.size(); ++i) rows.push_back(telling_row(verdicts, i));
    return rows;
}

bool is_proved(const GradRow& row) { return row.verdict != Verdict::vacuous && row.verdict != Verdict::unreached; }

/// Whether those of `wrong`, and no others, are reported; where the true gradient is zero they need not be.
bool is_exact(const Verdicts& verdicts, const std::vector<std::string>& wrong) {
    return std::ranges::all_of(telling_rows(verdicts), [&](const GradRow& row) {
        const bool named = std::ranges::count(wrong, row.name) > 0;
        return differs(row) ? named : !named || !is_proved(row);
    });
}

AuditCase with_zero_projections(AuditCase item) {
    item.make = [make = std::move(item.make)](std::uint64_t draw) {
        std::unique_ptr<AuditSubject> subject = make(draw);
        subject->zero_projections();
        return subject;
    };
    return item;
}

GradReport judge_training(AuditSubject& subject, const std::string& fault) {
    const TrainingSettings s;
    std::vector<std::vector<double>> start;
    for (const NamedParameter& named : subject.parameters())
        start.emplace_back(named.parameter->values().begin(), named.parameter->values().end());
    const double first = (1 - s.beta1) / std::sqrt(1 - s.beta2);
    return compare_trajectories(subject.train_on_tape(s), subject.train_by_hand(s, fault), start,
                                {.factors = {{"no bias correction", first}}});
}

/// Of `names`, those whose true gradient is zero in all cases: nothing was checked of them.
std::vector<std::string> unproved(const std::vector<std::string>& names, const std::vector<GradRow>& worst) {
    std::vector<std::string> vacuous;
    for (const GradRow& row : worst)
        if (!is_proved(row) && std::ranges::count(names, row.name) > 0) vacuous.push_back(row.name);
    return vacuous;
}

/// The worst row of each parameter over all cases.
std::vector<GradRow> worst_rows(const std::vector<Verdicts>& cases) {
    std::vector<GradRow> worst;
    for (const Verdicts& verdicts : cases) {
        for (const GradRow& row : telling_rows(verdicts)) {
            const auto known = std::ranges::find(worst, row.name, &GradRow::name);
            if (known == worst.end())
                worst.push_back(row);
            else if (badness(row) > badness(*known))
                *known = row;
        }
    }
    return worst;
}

/// Each of them once.
std::vector<std::string> explanations(const std::vector<Verdicts>& cases) {
    std::vector<std::string> all;
    for (const Verdicts& verdicts : cases) {
        if (!verdicts.explanation()) continue;
        const std::string text = to_string(*verdicts.explanation());
        if (std::ranges::find(all, text) == all.end()) all.push_back(text);
    }
    return all;
}

double largest_relative(const GradReport& report) {
    double largest = 0;
    for (const GradRow& row : report.rows) {
        if (row.verdict != Verdict::vacuous && row.verdict != Verdict::unreached)
            largest = std::max(largest, row.relative);
    }
    return largest;
}

Json to_json(const GradReport& training) {
    Json rows = Json::array();
    for (const GradRow& row : training.rows) rows.push_back(to_json(row));
    return {{"agree", training.passed()}, {"notes", training.notes}, {"arrays", rows}};
}

Json to_json(const std::string& model, const std::vector<Verdicts>& cases, bool agree) {
    Json json{{"model", model}, {"agree", agree}, {"cases", Json::array()}, {"parameters", Json::array()}};
    double reference = 0;
    std::optional<double> difference;
    for (const Verdicts& verdicts : cases) {
        Json rows = Json::array();
        for (const GradRow& row : telling_rows(verdicts)) rows.push_back(to_json(row));
        json["cases"].push_back({{"settings", verdicts.settings},
                                 {"agree", verdicts.agree()},
                                 {"forward", to_json(*verdicts.f64.forward)},
                                 {"parameters", rows}});
        if (verdicts.training) json["cases"].back()["training"] = to_json(*verdicts.training);
        if (const auto& found = verdicts.explanation()) json["cases"].back()["explanation"] = to_string(*found);
        reference = std::max(reference, largest_relative(verdicts.f64));
        if (verdicts.differences)
            difference = std::max(difference.value_or(0), largest_relative(*verdicts.differences));
    }
    for (const GradRow& row : worst_rows(cases)) json["parameters"].push_back(to_json(row));
    json["f64"] = {{"max_rel_reference", reference},
                   {"max_rel_finite_difference", difference ? Json(*difference) : Json()}};
    return json;
}

std::string line_of(const Verdicts& verdicts) {
    double ratio = 0;
    for (const GradRow& row : verdicts.f32.rows) ratio = std::max(ratio, row.noise_ratio);
    const std::string difference =
        verdicts.differences ? fmt::format("{:.1e}", largest_relative(*verdicts.differences)) : "";
    return fmt::format("{:<8} {:<67} {:>9.1e} {:>9.1e} {:>9} {:>8.2f}\n", verdicts.agree() ? "agree" : "DIFFERS",
                       verdicts.settings, verdicts.f64.forward->relative, largest_relative(verdicts.f64), difference,
                       ratio);
}

std::string line_of(const GradRow& row, std::size_t name_width) {
    return fmt::format("{:<{}} {:>12} {:>5} {:>10.2e} {:>10.2e} {:>10.7f} {:>9.3g}  {}{}{}\n", row.name, name_width,
                       to_string(row.shape), row.precision, row.max_error, row.relative, row.cosine, row.noise_ratio,
                       to_string(row.verdict), row.diagnosis.empty() ? "" : ": ", row.diagnosis);
}

/// What training, where it was judged, says.
std::string training_text(const std::vector<Verdicts>& cases) {
    constexpr int shown = 6;
    std::string text;
    bool judged = false;
    for (const Verdicts& verdicts : cases) {
        judged = judged || verdicts.training;
        if (!verdicts.training || verdicts.training->passed()) continue;
        text += fmt::format("\ntraining ({}): {}\n", verdicts.settings, verdicts.training->notes.front());
        int departed = 0;
        for (const GradRow& row : verdicts.training->rows) {
            if (row.verdict == Verdict::agree || ++departed > shown) continue;
            text += fmt::format("  {}: relative {:.1e}, {}\n", row.name, row.relative, row.diagnosis);
        }
        if (departed > shown) text += fmt::format("  and {} more\n", departed - shown);
    }
    if (judged && text.empty())
        return "\ntraining: loss, gradients, moments and parameters of ten steps of AdamW, clipped, agree\n";
    return text;
}

std::string text_of(const std::string& model, const std::vector<Verdicts>& cases, bool agree) {
    std::string text = fmt::format(
        "{}: the tape against a hand-written backward pass (relative errors in f64; in f32 as multiples of the "
        "noise floor,\nat most {:.0f} agree) and against finite differences\n\n",
        model, cases.front().f32.factor);
    text += fmt::format("{:<8} {:<67} {:>9} {:>9} {:>9} {:>8}\n", "", "case", "forward", "backward", "differ.", "f32");
    for (const Verdicts& verdicts : cases) text += line_of(verdicts);
    const std::vector<GradRow> worst = worst_rows(cases);
    std::size_t width = 14;
    for (const GradRow& row : worst) width = std::max(width, row.name.size());
    text += fmt::format("\n{:<{}} {:>12} {:>5} {:>10} {:>10} {:>10} {:>9}  {}\n", "worst case of", width, "shape", "",
                        "max error", "relative", "cosine", "ratio", "verdict");
    for (const GradRow& row : worst) text += line_of(row, width);
    for (const std::string& found : explanations(cases)) text += "\none fault behind a case: " + found + "\n";
    text += training_text(cases);
    const auto forwards = std::ranges::count_if(
        cases, [](const Verdicts& verdicts) { return verdicts.f64.forward->verdict != Verdict::agree; });
    if (forwards > 0)
        text += fmt::format("\nthe forward pass differs in {} of {} cases: its gradients are of another function\n",
                            forwards, cases.size());
    if (agree) return text + "\nall parameters agree\n";
    const bool gradients = std::ranges::none_of(worst, differs);
    return text + (gradients ? "\nthe gradients agree, the rest does not\n" : "\nsome parameters differ\n");
}

/// The gradient that the hand-written backward has most wrong, evaluated again.
std::optional<WorstTensor> worst_tensor(std::span<const AuditCase> cases, const std::vector<Verdicts>& judged,
                                        const std::string& fault) {
    std::optional<WorstTensor> worst;
    std::size_t at = 0, parameter = 0;
    for (std::size_t k = 0; k < judged.size(); ++k) {
        for (const GradReport* report : {&judged[k].f64, &judged[k].f32}) {
            for (std::size_t i = 0; i < report->rows.size(); ++i) {
                if (worst && badness(report->rows[i]) <= badness(worst->row)) continue;
                worst = WorstTensor{.row = report->rows[i], .settings = judged[k].settings};
                at = k;
                parameter = i;
            }
        }
    }
    if (!worst) return worst;
    const std::unique_ptr<AuditSubject> subject = cases[at].make(0);
    worst->truth = subject->tape64().gradients[parameter];
    const bool f32 = worst->row.precision == "f32";
    worst->candidate = (f32 ? subject->reference32(fault) : subject->reference64(fault)).gradients[parameter];
    return worst;
}

std::string html_of(const std::string& model, std::span<const AuditCase> cases, const std::vector<Verdicts>& judged,
                    const std::string& fault, const std::string& in_backward, bool agree) {
    HtmlReport report{.title = model,
                      .agree = agree,
                      .summary = agree ? "all parameters agree" : "some parameters differ",
                      .factor = judged.front().f32.factor,
                      .rows = worst_rows(judged),
                      .notes = {"The tape against a hand-written backward pass and against finite differences."},
                      .worst = worst_tensor(cases, judged, in_backward)};
    if (!fault.empty()) report.notes.push_back("The fault that is built in: " + fault);
    for (const std::string& found : explanations(judged)) report.notes.push_back("One fault behind a case: " + found);
    for (const Verdicts& verdicts : judged) {
        const GradRow& forward = *verdicts.f64.forward;
        if (!report.forward || badness(forward) > badness(*report.forward)) report.forward = forward;
        double ratio = 0;
        for (const GradRow& row : verdicts.f32.rows) ratio = std::max(ratio, row.noise_ratio);
        report.cases.push_back(
            {verdicts.settings, verdicts.agree(), forward.relative, largest_relative(verdicts.f64),
             verdicts.differences ? std::optional(largest_relative(*verdicts.differences)) : std::nullopt, ratio});
    }
    return html_section(report);
}

}  // namespace

bool is_optimizer_fault(const std::string& fault) {
    return std::ranges::count(reference::optimizer_faults, fault, &reference::FaultInfo::id) > 0;
}

AuditReport audit(const std::string& model, std::span<const AuditCase> cases, const AuditRequest& request) {
    const std::string& fault = request.fault;
    std::vector<AuditCase> all(cases.begin(), cases.end());
    if (fault == zero_init) std::ranges::transform(all, all.begin(), with_zero_projections);
    const std::string in_backward = fault == zero_init || is_optimizer_fault(fault) ? "" : fault;
    std::vector<Verdicts> judged;
    std::vector<std::string> not_zero;  // parameters that have a gradient other than zero on some input
    try {
        for (const AuditCase& item : all) {
            Verdicts& verdicts = judged.emplace_back(judge_case(item, in_backward, request.quick));
            const std::unique_ptr<AuditSubject> subject = item.make(0);
            verdicts.exact = is_exact(verdicts, subject->wrong_parameters(in_backward));
            for (const std::string& name : subject->wrong_parameters("mean-factor")) not_zero.push_back(name);
            if (item.trains && (!request.quick || in_backward.empty()))
                verdicts.training = judge_training(*subject, fault == zero_init ? "" : fault);
        }
    } catch (const std::invalid_argument& unknown_fault) {
        throw UsageError(
            fmt::format("{}; in training clip-squared-norm, decay-in-gradient, no-bias-correction; in the "
                        "inputs zero-init",
                        unknown_fault.what()));
    }
    std::vector<std::string> vacuous;  // random configurations are too few of each kind to prove all
    if (request.random == 0) vacuous = unproved(not_zero, worst_rows(judged));
    const bool agree = vacuous.empty() && std::ranges::all_of(judged, &Verdicts::agree);
    AuditReport report{agree, to_json(model, judged, agree), text_of(model, judged, agree),
                       html_of(model, all, judged, fault, in_backward, agree)};
    report.json["unproved"] = vacuous;
    if (!fault.empty())
        report.json["fault"] = {{"id", fault}, {"exact", std::ranges::all_of(judged, &Verdicts::exact)}};
    if (!vacuous.empty())
        report.text +=
            fmt::format("vacuous in every case, so that nothing was checked: {}\n", fmt::join(vacuous, ", "));
    return report;
}

}  // namespace xtape::tools
