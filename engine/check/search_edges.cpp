// Faults of single gradients: for each value, the errors are fitted by what its readers send.

#include <xtape/engine/check/search.hpp>
#include <xtape/engine/check/wrong_vjps.hpp>

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::check {
namespace {

using Edge = Rerun::Edge;
using Node = Rerun::Node;
using Columns = std::vector<std::vector<double>>;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

/// The c for which Σ c_k columns_k is nearest to y, by Gram-Schmidt; 0 for a column that adds nothing to those before.
std::vector<double> least_squares(Columns columns, std::vector<double> y) {
    const std::size_t n = columns.size();
    std::vector<std::vector<double>> r(n, std::vector<double>(n));
    std::vector<double> c(n);
    std::vector<char> used(n);
    for (std::size_t k = 0; k < n; ++k) {
        const double size = std::sqrt(dot(columns[k], columns[k]));
        for (int twice = 0; twice < 2; ++twice) {
            for (std::size_t j = 0; j < k; ++j) {
                if (used[j] == 0) continue;
                const double share = dot(columns[j], columns[k]);
                r[j][k] += share;
                for (std::size_t i = 0; i < y.size(); ++i) columns[k][i] -= share * columns[j][i];
            }
        }
        r[k][k] = std::sqrt(dot(columns[k], columns[k]));
        used[k] = r[k][k] > 1e-9 * size ? 1 : 0;
        if (used[k] == 0) continue;
        for (double& v : columns[k]) v /= r[k][k];
        c[k] = dot(columns[k], y);
        for (std::size_t i = 0; i < y.size(); ++i) y[i] -= c[k] * columns[k][i];
    }
    for (std::size_t k = n; k-- > 0;) {
        if (used[k] == 0) {
            c[k] = 0;
            continue;
        }
        for (std::size_t j = k + 1; j < n; ++j) c[k] -= r[k][j] * c[j];
        c[k] /= r[k][k];
    }
    return c;
}

/// An edge and what is wrong with it: its gradient comes 1 + c times.
struct Share {
    Edge edge;
    double c;
};

/// −1, 1 and −2 where it is nearly that; nothing for what has no effect.
double rounded(double c) {
    const double whole = std::round(c);
    return std::abs(c - whole) < 1e-3 && std::abs(whole) <= 2 ? whole : c;
}

class NodeFit {
public:
    NodeFit(Search& search, const Node& node) : search_(search), node_(node), variables_(fitted_variables()) {}

    /// What is wrong at this node, if that explains the errors of the variables that only it explains.
    std::vector<Share> shares() {
        if (std::ranges::none_of(variables_, [&](std::size_t i) { return search_.claims()[i].wrong; })) return {};
        if (!node_.variable && !search_.spend(static_cast<int>(node_.edges.size()))) return {};
        Columns columns;
        for (const Edge& edge : node_.edges) columns.push_back(flattened(search_.rerun().through(edge, node_)));
        const std::vector<double> c = least_squares(columns, errors());
        if (!fits(columns, c)) return {};
        std::vector<Share> found;
        for (std::size_t k = 0; k < c.size(); ++k)
            if (std::abs(c[k]) > 1e-3) found.push_back({node_.edges[k], rounded(c[k])});
        return found;
    }

private:
    /// What the node reaches, but not what the same place of the layer before reaches: there are errors of its own.
    std::vector<std::size_t> fitted_variables() const {
        std::vector<bool> reached(search_.claims().size());
        if (node_.variable) reached[*node_.variable] = true;
        if (node_.producer) {
            reached = search_.reach(*node_.producer);
            const auto& places = search_.places().same_place(*node_.producer);
            const auto own = std::ranges::find(places, *node_.producer);
            if (own != places.begin()) {
                const std::vector<bool> before = search_.reach(*std::prev(own));
                for (std::size_t i = 0; i < reached.size(); ++i) reached[i] = reached[i] && !before[i];
            }
        }
        std::vector<std::size_t> variables;
        for (std::size_t i = 0; i < reached.size(); ++i)
            if (reached[i] && search_.claims()[i].counts) variables.push_back(i);
        return variables;
    }

    /// Of the fitted variables, each in units of its tolerance.
    std::vector<double> flattened(const Rerun::Gradients& gradients) const {
        std::vector<double> all;
        for (const std::size_t i : variables_)
            for (const double v : gradients[i].values()) all.push_back(v / search_.claims()[i].tolerance);
        return all;
    }

    std::vector<double> errors() const {
        std::vector<double> all;
        for (const std::size_t i : variables_) {
            const Claim& claim = search_.claims()[i];
            const auto truth = search_.rerun().right()[i].values();
            for (std::size_t k = 0; k < truth.size(); ++k)
                all.push_back((claim.candidate[k] - truth[k]) / claim.tolerance);
        }
        return all;
    }

    bool fits(const Columns& columns, const std::vector<double>& c) const {
        const std::vector<double> error = errors();
        std::size_t at = 0;
        for (const std::size_t i : variables_) {
            const Claim& claim = search_.claims()[i];
            for (std::size_t n = 0; n < claim.candidate.size(); ++n, ++at) {
                double rest = error[at];
                for (std::size_t k = 0; k < c.size(); ++k) rest -= c[k] * columns[k][at];
                if (!(std::abs(rest) * claim.tolerance <= claim.limit())) return false;
            }
        }
        return true;
    }

    Search& search_;
    const Node& node_;
    std::vector<std::size_t> variables_;
};

std::string readers(const Search& search, const std::vector<Edge>& edges, bool every_layer) {
    std::vector<std::string> names;
    for (const Edge& edge : edges) names.push_back(search.places().name(edge.record, every_layer));
    std::ranges::reverse(names);  // in the order of the forward
    return fmt::format("{}", fmt::join(names, ", "));
}

std::string single_diagnosis(double c, const std::string& gradient) {
    if (c == -1) return "term missing: the gradient of " + gradient + " is dropped";
    if (c == 1) return "accumulated twice: the gradient of " + gradient;
    if (c == -2) return "sign: the gradient of " + gradient + " is negated";
    return fmt::format("constant factor {:.6g}: the gradient of {}", 1 + c, gradient);
}

/// Empty where the shares make no sense together.
std::string diagnosis_of(const Search& search, const Node& node, const std::vector<Share>& shares, bool every_layer) {
    const std::string value = search.places().value_name(node, every_layer);
    std::vector<Edge> wrong, right;
    for (const Share& share : shares) wrong.push_back(share.edge);
    if (shares.size() == 1)
        return single_diagnosis(shares[0].c, value + " through " + readers(search, wrong, every_layer));
    const double c = shares[0].c;
    if (!std::ranges::all_of(shares, [c](const Share& share) { return std::abs(share.c - c) < 1e-3; })) return {};
    if (shares.size() == node.edges.size()) return single_diagnosis(c, value);
    if (c != -1) return single_diagnosis(c, value + " through " + readers(search, wrong, every_layer));
    for (const Edge& edge : node.edges)
        if (std::ranges::none_of(wrong,
                                 [&](const Edge& e) { return e.record == edge.record && e.place == edge.place; }))
            right.push_back(edge);
    if (right.size() > wrong.size())
        return single_diagnosis(-1, value + " through " + readers(search, wrong, every_layer));
    return fmt::format("overwritten instead of accumulated: of the {} gradients of {} only that through {} is left",
                       node.edges.size(), value, readers(search, right, every_layer));
}

Hypothesis hypothesis_of(const Search& search, const std::vector<Share>& shares) {
    std::map<std::size_t, std::vector<std::pair<std::size_t, double>>> wrong;
    Hypothesis hypothesis{.reach = std::vector<bool>(search.claims().size())};
    for (const auto& [edge, c] : shares) {
        wrong[edge.record].emplace_back(edge.place, c);
        const std::vector<bool> reach = search.reach(std::span(&edge.record, 1), std::span(&edge.place, 1));
        for (std::size_t i = 0; i < reach.size(); ++i) hypothesis.reach[i] = hypothesis.reach[i] || reach[i];
    }
    for (const auto& [record, places] : wrong) hypothesis.records.push_back(record);
    hypothesis.vjp = [wrong](const Site& site) {
        Sent sent = site.right;
        for (const auto& [place, c] : wrong.at(site.index))
            sent[place] = c == -1 ? Tensor<double>() : scaled(sent[place], 1 + c);
        return sent;
    };
    return hypothesis;
}

/// The same at the same place of every layer.
std::vector<Share> in_every_layer(const Search& search, const std::vector<Share>& shares) {
    std::vector<Share> all;
    for (const auto& [edge, c] : shares)
        for (const std::size_t record : search.places().same_place(edge.record))
            all.push_back({{record, edge.place}, c});
    return all;
}

void consider_shares(Search& search, const Node& node, const std::vector<Share>& shares) {
    Hypothesis one = hypothesis_of(search, shares);
    one.diagnosis = diagnosis_of(search, node, shares, false);
    if (one.diagnosis.empty()) return;
    one.scope = "in one place";
    search.consider(one);
    const std::vector<Share> layers = in_every_layer(search, shares);
    if (layers.size() > shares.size()) {
        Hypothesis every = hypothesis_of(search, layers);
        every.diagnosis = diagnosis_of(search, node, shares, true);
        every.scope = "in every layer";
        search.consider(every);
    }
    if (shares.size() > 1) return;
    std::vector<Share> ops;
    for (const std::size_t record : search.places().same_op(shares[0].edge.record))
        ops.push_back({{record, shares[0].edge.place}, shares[0].c});
    if (ops.size() <= layers.size()) return;
    Hypothesis every = hypothesis_of(search, ops);
    const std::string op(search.places().op(shares[0].edge.record));
    every.diagnosis = single_diagnosis(shares[0].c, fmt::format("input {} through {}", shares[0].edge.place, op));
    every.scope = "every " + op;
    search.consider(every);
}

}  // namespace

void try_edges(Search& search) {
    for (const Node& node : search.rerun().nodes()) {
        if (search.done()) return;
        const std::vector<Share> shares = NodeFit(search, node).shares();
        if (!shares.empty()) consider_shares(search, node, shares);
    }
}

}  // namespace xtape::check
