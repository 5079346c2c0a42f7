#include <xtape/engine/check/hypotheses.hpp>
#include <xtape/engine/check/search.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xtape::check {
namespace {

constexpr int fewest_runs = 64, most_runs = 4096;
constexpr double work = 4e8;  // elements of all outputs, over all runs

double difference(std::span<const double> a, std::span<const double> b) {
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double d = std::abs(a[i] - b[i]);
        if (std::isnan(d)) return std::numeric_limits<double>::infinity();
        largest = std::max(largest, d);
    }
    return largest;
}

bool all_finite(std::span<const double> values) {
    return std::ranges::all_of(values, [](double v) { return std::isfinite(v); });
}

/// How often the backward may run: fewer times on a large tape.
int affordable_runs(const Tape<double>& tape) {
    double elements = 1;
    for (const RecordInfo& record : tape.records()) elements += static_cast<double>(record.shape.size());
    return static_cast<int>(std::clamp(work / elements, double{fewest_runs}, double{most_runs}));
}

std::vector<Claim> claims_of(const GradReport& report, std::span<const std::vector<double>> candidates) {
    std::vector<Claim> claims;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        const GradRow& row = report.rows[i];
        claims.push_back({.candidate = candidates[i],
                          .tolerance = report.factor * row.noise,
                          .error = row.max_error,
                          .counts = row.verdict != Verdict::vacuous && row.verdict != Verdict::unreached,
                          .wrong = differs(row)});
    }
    return claims;
}

/// With zeros where there are none; nothing where one cannot be compared.
std::optional<std::vector<std::vector<double>>> filled_in(std::span<const Tensor<double>* const> of,
                                                          std::span<const std::vector<double>> candidates) {
    std::vector<std::vector<double>> all(candidates.begin(), candidates.end());
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i].empty()) all[i].resize(of[i]->values().size());
        if (all[i].size() != of[i]->values().size() || !all_finite(all[i])) return {};
    }
    return all;
}

/// Puts what was found into the report.
void tell(GradReport& report, const Hypothesis& found, bool inferred = false) {
    report.explanation = Explanation{found.diagnosis, found.scope, {}, inferred};
    for (GradRow& row : report.rows) {
        if (!differs(row)) continue;
        report.explanation->parameters.push_back(row.name);
        const bool guessed = row.diagnosis.ends_with('?');
        if (row.diagnosis.empty() || guessed) row.diagnosis = to_string(*report.explanation);
    }
}

}  // namespace

Search::Search(Rerun& rerun, std::span<const std::string> names, std::vector<Claim> claims, int runs)
    : rerun_(rerun), places_(rerun, names), claims_(std::move(claims)), runs_(runs) {
    for (const Claim& claim : claims_) wrong_.push_back(claim.wrong);
}

/// The largest distance of a prediction from what counts, in tolerances; infinity where that explains nothing.
double Search::misfit_of(const Rerun::Gradients& predicted) const {
    double misfit = 0, best_part = 1;
    for (std::size_t i = 0; i < claims_.size(); ++i) {
        const Claim& claim = claims_[i];
        if (!claim.counts) continue;
        const double distance = difference(predicted[i].values(), claim.candidate);
        if (!(distance <= claim.limit())) return std::numeric_limits<double>::infinity();
        if (!claim.wrong) continue;
        misfit = std::max(misfit, distance / claim.tolerance);
        best_part = std::min(best_part, distance / claim.error);
    }
    return best_part <= 1e-2 ? misfit : std::numeric_limits<double>::infinity();
}

bool Search::spend(int runs) {
    capped_ = capped_ || runs > runs_;
    if (!capped_) runs_ -= runs;
    return !capped_;
}

void Search::consider(const Hypothesis& hypothesis) {
    if (done()) return;
    for (std::size_t i = 0; i < wrong_.size(); ++i)
        if (wrong_[i] && !hypothesis.reach[i]) return;
    if (!spend(1)) return;
    const double misfit = misfit_of(rerun_.with(hypothesis.records, hypothesis.vjp));
    if (!(misfit < misfit_)) return;
    misfit_ = misfit;
    best_ = hypothesis;
}

std::vector<bool> Search::reach(std::span<const std::size_t> records, std::span<const std::size_t> places) const {
    std::vector<bool> all(claims_.size());
    for (const std::size_t record : records) {
        const auto inputs = rerun_.tape().record(record).inputs();
        for (const std::size_t place : places) {
            if (place >= inputs.size() || inputs[place] == detail::no_value) continue;
            const std::vector<bool>& one = rerun_.reach(inputs[place]);
            for (std::size_t i = 0; i < all.size(); ++i) all[i] = all[i] || one[i];
        }
    }
    return all;
}

std::vector<bool> Search::reach(std::size_t record) const { return rerun_.reach(rerun_.tape().record(record).output); }

void explain(GradReport& report, Tape<double>& tape, const Tensor<double>& output, const Tensor<double>& cotangent,
             std::span<const Tensor<double>* const> of, std::span<const std::vector<double>> candidates) {
    if (std::ranges::none_of(report.rows, differs) || !tape.wants_grad(output)) return;
    const auto all = filled_in(of, candidates);
    if (!all) return;
    std::vector<std::string> names;
    for (const GradRow& row : report.rows) names.push_back(row.name);
    Rerun rerun(tape, output, cotangent, {of.begin(), of.end()});
    Search search(rerun, names, claims_of(report, *all), affordable_runs(tape));
    for (const auto& attempt : {try_known_ops, try_edges, try_any_op, try_structures})
        if (!search.done()) attempt(search);
    if (search.best()) return tell(report, *search.best());
    if (report.forward && report.forward->verdict != Verdict::agree)
        tell(report, {.diagnosis = "no mistake of the backward alone", .scope = "the forward differs too"});
    else if (const auto place = locate(search))
        tell(report, *place, true);
    if (search.capped())
        report.notes.push_back(
            fmt::format("the search for one fault gave up after {} backward passes", affordable_runs(tape)));
}

void explain(GradReport& report, const TensorFunction<double>& f, std::span<const Tensor<double>> inputs,
             const Tensor<double>& cotangent, std::span<const Evidence> evidence) {
    if (std::ranges::none_of(report.rows, differs)) return;
    Tape<double> tape({.keep_records = true});
    std::vector<Tensor<double>> leaves;
    for (const Tensor<double>& x : inputs) leaves.push_back(tape.leaf(x));
    const Tensor<double> output = f(leaves);
    std::vector<const Tensor<double>*> of;
    std::vector<std::vector<double>> candidates;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        of.push_back(&leaves[i]);
        candidates.push_back(evidence[i].candidate);
    }
    explain(report, tape, output, cotangent, of, candidates);
}

}  // namespace xtape::check
