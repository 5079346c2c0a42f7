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

using Variables = std::vector<std::size_t>;

Variables counting(const Search& search, const std::vector<bool>& reached) {
    Variables variables;
    for (std::size_t i = 0; i < reached.size(); ++i)
        if (reached[i] && search.claims()[i].counts) variables.push_back(i);
    return variables;
}

/// What the node reaches, but not what the same place of the layer before reaches: there are errors of its own.
Variables of_own_layer(const Search& search, const Node& node) {
    std::vector<bool> reached(search.claims().size());
    if (node.variable) reached[*node.variable] = true;
    if (!node.producer) return counting(search, reached);
    reached = search.reach(*node.producer);
    const auto& places = search.places().same_place(*node.producer);
    const auto own = std::ranges::find(places, *node.producer);
    if (own == places.begin()) return counting(search, reached);
    const std::vector<bool> before = search.reach(*std::prev(own));
    for (std::size_t i = 0; i < reached.size(); ++i) reached[i] = reached[i] && !before[i];
    return counting(search, reached);
}

/// What the node reaches, but no earlier one at which gradients meet.
Variables nearest(const Search& search, const Node& node) {
    if (!node.producer) return {};
    std::vector<bool> reached = search.reach(*node.producer);
    for (const Node& other : search.rerun().nodes()) {
        if (!other.producer || other.edges.size() < 2 || other.value >= node.value) continue;
        const std::vector<bool>& before = search.rerun().reach(other.value);
        for (std::size_t i = 0; i < reached.size(); ++i) reached[i] = reached[i] && !before[i];
    }
    return counting(search, reached);
}

/// Errors, or the gradients through an edge, of some variables, each in units of its tolerance.
std::vector<double> flattened(const Search& search, const Variables& variables, const auto& element) {
    std::vector<double> all;
    for (const std::size_t i : variables) {
        const Claim& claim = search.claims()[i];
        for (std::size_t k = 0; k < claim.candidate.size(); ++k) all.push_back(element(i, k) / claim.tolerance);
    }
    return all;
}

bool fits(const Search& search, const Variables& variables, const Columns& columns, const std::vector<double>& c,
          const std::vector<double>& errors) {
    std::size_t at = 0;
    for (const std::size_t i : variables) {
        const Claim& claim = search.claims()[i];
        for (std::size_t n = 0; n < claim.candidate.size(); ++n, ++at) {
            double rest = errors[at];
            for (std::size_t k = 0; k < c.size(); ++k) rest -= c[k] * columns[k][at];
            if (!(std::abs(rest) * claim.tolerance <= claim.limit())) return false;
        }
    }
    return true;
}

/// What is wrong at a node, if that explains the errors of these variables.
std::vector<Share> fitted(Search& search, const Node& node, const std::vector<Rerun::Gradients>& through,
                          const Variables& variables) {
    const auto truth = [&](std::size_t i, std::size_t k) { return search.rerun().right()[i].data()[k]; };
    const std::vector<double> errors = flattened(
        search, variables, [&](std::size_t i, std::size_t k) { return search.claims()[i].candidate[k] - truth(i, k); });
    Columns columns;
    for (const Rerun::Gradients& gradients : through)
        columns.push_back(
            flattened(search, variables, [&](std::size_t i, std::size_t k) { return gradients[i].data()[k]; }));
    const std::vector<double> c = least_squares(columns, errors);
    std::vector<Share> found;
    if (!fits(search, variables, columns, c, errors)) return found;
    for (std::size_t k = 0; k < c.size(); ++k)
        if (std::abs(c[k]) > 1e-3) found.push_back({node.edges[k], rounded(c[k])});
    return found;
}

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

bool same(const Edge& a, const Edge& b) { return a.record == b.record && a.place == b.place; }

/// The edges of a node that have no share in what is wrong.
std::vector<Edge> others(const Node& node, const std::vector<Share>& shares) {
    std::vector<Edge> rest;
    for (const Edge& edge : node.edges)
        if (std::ranges::none_of(shares, [&](const Share& share) { return same(share.edge, edge); }))
            rest.push_back(edge);
    return rest;
}

/// Empty where the shares make no sense together.
std::string diagnosis_of(const Search& search, const Node& node, const std::vector<Share>& shares, bool every_layer) {
    const std::string value = search.places().value_name(node, every_layer);
    std::vector<Edge> wrong;
    for (const Share& share : shares) wrong.push_back(share.edge);
    const std::vector<Edge> right = others(node, shares);
    const double c = shares[0].c;
    const bool alike = std::ranges::all_of(shares, [c](const Share& share) { return std::abs(share.c - c) < 1e-3; });
    if (!alike) return {};
    if (right.empty() && wrong.size() > 1) return single_diagnosis(c, value);
    if (wrong.size() == 1 || c != -1 || right.size() > wrong.size())
        return single_diagnosis(c, value + " through " + readers(search, wrong, every_layer));
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

/// The same at every op of that name.
void consider_every_op(Search& search, const Share& share, std::size_t more_than) {
    std::vector<Share> shares;
    for (const std::size_t record : search.places().same_op(share.edge.record))
        shares.push_back({{record, share.edge.place}, share.c});
    if (shares.size() <= more_than) return;
    Hypothesis every = hypothesis_of(search, shares);
    const std::string op(search.places().op(share.edge.record));
    every.diagnosis = single_diagnosis(share.c, fmt::format("input {} through {}", share.edge.place, op));
    every.scope = "every " + op;
    search.consider(every);
}

/// One op replaces, wherever it stands, what others have sent to its input.
void consider_overwriting_op(Search& search, const std::vector<Edge>& left, std::size_t more_than) {
    if (left.empty()) return;
    const std::string_view op = search.places().op(left[0].record);
    const auto is_op = [&](const Edge& edge) { return search.places().op(edge.record) == op; };
    if (!std::ranges::all_of(left, is_op)) return;
    std::vector<Share> shares;
    for (const Node& node : search.rerun().nodes()) {
        if (std::ranges::none_of(node.edges, is_op)) continue;
        for (const Edge& edge : node.edges)
            if (!is_op(edge)) shares.push_back({edge, -1});
    }
    if (shares.size() <= more_than) return;
    Hypothesis every = hypothesis_of(search, shares);
    every.diagnosis = fmt::format("overwritten instead of accumulated: {} replaces what else its input is sent", op);
    every.scope = fmt::format("every {}", op);
    search.consider(every);
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
    if (shares.size() == 1) consider_every_op(search, shares[0], layers.size());
    if (shares[0].c == -1) consider_overwriting_op(search, others(node, shares), layers.size());
}

void try_node(Search& search, const Node& node) {
    std::vector<Variables> tried;
    std::vector<Rerun::Gradients> through;
    for (const Variables& variables : {of_own_layer(search, node), nearest(search, node)}) {
        const bool wrong = std::ranges::any_of(variables, [&](std::size_t i) { return search.claims()[i].wrong; });
        if (!wrong || search.done() || std::ranges::find(tried, variables) != tried.end()) continue;
        tried.push_back(variables);
        if (through.empty()) {
            if (!node.variable && !search.spend(static_cast<int>(node.edges.size()))) return;
            for (const Edge& edge : node.edges) through.push_back(search.rerun().through(edge, node));
        }
        const std::vector<Share> shares = fitted(search, node, through, variables);
        if (!shares.empty()) consider_shares(search, node, shares);
    }
}

}  // namespace

void try_edges(Search& search) {
    for (const Node& node : search.rerun().nodes()) {
        if (search.done()) return;
        try_node(search, node);
    }
}

}  // namespace xtape::check
