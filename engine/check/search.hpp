#pragma once
// The search behind `explain`: what a candidate claims, hypotheses about it, and which of them is true.

#include <xtape/engine/check/places.hpp>
#include <xtape/engine/check/report.hpp>

#include <limits>

namespace xtape::check {

/// A candidate's gradient of one variable.
struct Claim {
    std::span<const double> candidate;
    double tolerance;  ///< absolute
    double error;      ///< of the candidate
    bool counts;       ///< its true gradient is not zero
    bool wrong;

    /// How far from it a prediction may be that explains it.
    double limit() const { return wrong ? std::max(tolerance, 1e-3 * error) : 2 * tolerance; }
};

/// A wrong backward pass, with a name.
struct Hypothesis {
    std::vector<std::size_t> records = {};  ///< whose vjp is wrong
    WrongVjp vjp = {};
    std::string diagnosis = {}, scope = {};
    std::vector<bool> reach = {};  ///< the variables whose gradients it may change
};

class Search {
public:
    Search(Rerun& rerun, std::span<const std::string> names, std::vector<Claim> claims, int runs);

    /// Runs the backward with the hypothesis, where it reaches all that is wrong, and keeps the best.
    void consider(const Hypothesis& hypothesis);
    /// Takes backward passes from those that are left; false when there are not so many.
    bool spend(int runs);
    /// Whether a hypothesis explains everything to within tolerance, or there are no runs left.
    bool done() const { return misfit_ <= 1 || capped_; }

    const std::optional<Hypothesis>& best() const { return best_; }
    bool capped() const { return capped_; }
    Rerun& rerun() const { return rerun_; }
    const Places& places() const { return places_; }
    std::span<const Claim> claims() const { return claims_; }
    const std::vector<bool>& wrong() const { return wrong_; }
    /// The variables that the inputs of a record at these places are made of.
    std::vector<bool> reach(std::span<const std::size_t> records, std::span<const std::size_t> places) const;
    std::vector<bool> reach(std::size_t record) const;

private:
    double misfit_of(const Rerun::Gradients& predicted) const;

    Rerun& rerun_;
    Places places_;
    std::vector<Claim> claims_;
    std::vector<bool> wrong_;
    std::optional<Hypothesis> best_;
    double misfit_ = std::numeric_limits<double>::infinity();
    int runs_;
    bool capped_ = false;
};

/// A gradient that is dropped, added twice, negated, scaled or overwritten, at every value of the tape.
void try_edges(Search& search);
/// The known mistakes of the vjps of known ops, and those of any op.
void try_known_ops(Search& search);
void try_any_op(Search& search);
/// Mistakes that concern several records: norms at the wrong side of a residual, past keys and values that give
/// gradients to weights only, weight gradients formed with another tensor.
void try_structures(Search& search);
/// Where an unknown mistake must be, if all that differs, and nothing else, hangs on one gradient, or is one input of
/// one op.
std::optional<Hypothesis> locate(const Search& search);

}  // namespace xtape::check
