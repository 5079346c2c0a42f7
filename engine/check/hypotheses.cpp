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
        if (!(d <= largest)) largest = d;  // NaN stays
    }
    return largest;
}

bool all_finite(std::span<const double> values) {
    return std::ranges::all_of(values, [](double v) { return std::isfinite(v); });
}

bool differs(const GradRow& row) { return row.verdict == Verdict::differs || row.verdict == Verdict::never_written; }

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

void Search::consider(const Hypothesis& hypothesis) {
    if (done()) return;
    for (std::size_t i = 0; i < wrong_.size(); ++i)
        if (wrong_[i] && !hypothesis.reach[i]) return;
    capped_ = runs_ == 0;
    if (capped_) return;
    --runs_;
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
    std::vector<std::string> names;
    for (std::size_t i = 0; i < of.size(); ++i) {
        if (candidates[i].size() != of[i]->values().size() || !all_finite(candidates[i])) return;
        names.push_back(report.rows[i].name);
    }
    Rerun rerun(tape, output, cotangent, {of.begin(), of.end()});
    Search search(rerun, names, claims_of(report, candidates), affordable_runs(tape));
    for (const auto& attempt : {try_edges, try_vjps, try_structures})
        if (!search.done()) attempt(search);
    if (search.capped() && !search.best())
        report.notes.push_back(
            fmt::format("the search for one fault gave up after {} backward passes", affordable_runs(tape)));
    if (!search.best()) return;
    report.explanation = Explanation{search.best()->diagnosis, search.best()->scope, {}};
    for (GradRow& row : report.rows) {
        if (!differs(row)) continue;
        report.explanation->parameters.push_back(row.name);
        if (row.diagnosis.empty()) row.diagnosis = to_string(*report.explanation);
    }
}

}  // namespace xtape::check
