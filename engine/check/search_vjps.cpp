// Faults of whole vjps: the known mistakes of each op, at one record, at its place in every layer, at every such op.

#include <xtape/engine/check/search.hpp>
#include <xtape/engine/check/wrong_vjps.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include <fmt/format.h>

namespace xtape::check {
namespace {

bool same(const Tensor<double>& a, const Tensor<double>& b) {
    if (!a || !b) return !a && !b;
    double largest = 0, difference = 0;
    for (std::size_t i = 0; i < a.values().size(); ++i) {
        largest = std::max(largest, std::abs(b.data()[i]));
        difference = std::max(difference, std::abs(a.data()[i] - b.data()[i]));
    }
    return difference <= 1e-13 * largest;
}

/// The places among a record's inputs where a mistake sends something else.
std::vector<std::size_t> touched(Search& search, const KnownMistake& mistake, std::size_t record) {
    std::vector<std::size_t> places;
    if (!mistake.op.empty() && search.places().op(record) != mistake.op) return places;
    const bool once = search.rerun().tape().record(record).reads_parameters;  // its vjp writes to them as it runs
    if (!search.rerun().reached(record) || once) return places;
    const Site site = search.rerun().site(record);
    const std::optional<Sent> sent = mistake.vjp(site);
    if (!sent) return places;
    for (std::size_t k = 0; k < sent->size(); ++k)
        if (site.right[k] && !same((*sent)[k], site.right[k])) places.push_back(k);
    return places;
}

/// The variables that a mistake may change, for each record where it changes anything.
using Reaches = std::map<std::size_t, std::vector<bool>>;

void consider_group(Search& search, const KnownMistake& mistake, const Reaches& reaches,
                    const std::vector<std::size_t>& group, const std::string& scope) {
    Hypothesis hypothesis{.vjp = mistake.vjp,
                          .diagnosis = mistake.diagnosis,
                          .scope = scope,
                          .reach = std::vector<bool>(search.claims().size())};
    for (const std::size_t record : group) {
        const auto known = reaches.find(record);
        if (known == reaches.end()) continue;
        hypothesis.records.push_back(record);
        for (std::size_t i = 0; i < hypothesis.reach.size(); ++i)
            hypothesis.reach[i] = hypothesis.reach[i] || known->second[i];
    }
    search.consider(hypothesis);
}

void try_mistake(Search& search, const KnownMistake& mistake) {
    Reaches reaches;
    for (std::size_t record = 0; record < search.rerun().records(); ++record) {
        const std::vector<std::size_t> places = touched(search, mistake, record);
        if (!places.empty()) reaches[record] = search.reach(std::span(&record, 1), places);
    }
    for (const auto& [record, reach] : reaches) {
        const Places& places = search.places();
        consider_group(search, mistake, reaches, {record}, places.name(record));
        const auto& layers = places.same_place(record);
        const auto& ops = places.same_op(record);
        if (layers.size() > 1 && layers.front() == record)
            consider_group(search, mistake, reaches, layers, places.name(record, true) + ", in every layer");
        if (ops.size() > layers.size() && ops.front() == record)
            consider_group(search, mistake, reaches, ops, "every " + std::string(places.op(record)));
    }
}

// ---- norms at the wrong side of a residual

/// An addition to a residual stream, and the norm that its sub-layer begins with.
struct Residual {
    std::size_t addition, norm;
};

std::vector<Residual> residuals_of(Search& search) {
    std::vector<Residual> all;
    Tape<double>& tape = search.rerun().tape();
    for (std::size_t a = 0; a < search.rerun().records(); ++a) {
        const detail::Record<double>& addition = tape.record(a);
        if (addition.name() != "add") continue;
        for (std::size_t n = 0; n < a; ++n) {
            const detail::Record<double>& norm = tape.record(n);
            const bool same_shape = tape.at(norm.output).shape == tape.at(addition.output).shape;
            if (norm.name().ends_with("norm") && norm.inputs()[0] == addition.inputs()[0] && same_shape)
                all.push_back({a, n});
        }
    }
    return all;
}

/// y = x + f(norm(x)), taken for y = norm(x + f(x)): its vjp comes first, and both get what it sends.
Hypothesis norms_last(Search& search, const std::vector<Residual>& residuals) {
    Hypothesis hypothesis{.diagnosis =
                              "the norm's vjp is applied to the residual's gradient, before its sub-layer's, as "
                              "if the norm came last (post-norm)",
                          .reach = std::vector<bool>(search.claims().size())};
    for (const auto& [addition, norm] : residuals) {
        hypothesis.records.insert(hypothesis.records.end(), {addition, norm});
        const std::vector<bool> reach = search.reach(addition);
        for (std::size_t i = 0; i < reach.size(); ++i) hypothesis.reach[i] = hypothesis.reach[i] || reach[i];
    }
    hypothesis.vjp = [residuals](const Site& site) -> std::optional<Sent> {
        const auto own = std::ranges::find(residuals, site.index, &Residual::addition);
        Sent sent(site.right.size());
        sent[0] = site.dy;
        if (own == residuals.end()) return sent;  // a norm, taken for none
        const Sent parts = Site{site.rerun, own->norm, site.dy, {}}.vjp(site.dy);
        const auto inputs = site.rerun.tape().record(own->norm).inputs();
        for (std::size_t k = 1; k < parts.size(); ++k)
            if (parts[k]) site.rerun.tape().pass(parts[k], inputs[k]);
        return Sent{parts[0], parts[0]};
    };
    return hypothesis;
}

void try_norms_last(Search& search) {
    const std::vector<Residual> residuals = residuals_of(search);
    if (residuals.empty()) return;
    for (const Residual& residual : residuals) {
        Hypothesis one = norms_last(search, {residual});
        one.scope = search.places().name(residual.norm);
        search.consider(one);
    }
    Hypothesis every = norms_last(search, residuals);
    every.scope = "every norm of a residual";
    search.consider(every);
}

// ---- past keys and values

/// Whether a record reads a Parameter or leaf.
bool weighted(const Rerun& rerun, std::span<const detail::ValueId> inputs) {
    return std::ranges::any_of(inputs, [&](detail::ValueId id) {
        return id != detail::no_value && !rerun.producer(id) && rerun.variable(id);
    });
}

/// The records between a value and the first that reads a Parameter, that one last.
std::vector<std::size_t> projection_of(Search& search, detail::ValueId value) {
    std::vector<std::size_t> chain;
    for (auto producer = search.rerun().producer(value); producer;) {
        chain.push_back(*producer);
        const auto inputs = search.rerun().tape().record(*producer).inputs();
        if (weighted(search.rerun(), inputs) || inputs.empty() || inputs[0] == detail::no_value) return chain;
        producer = search.rerun().producer(inputs[0]);
    }
    return {};
}

/// Attention as it is, but for each record of the projections of keys and values: weights get what is theirs, inputs
/// only what comes from their own position.
class PresentInputs {
public:
    std::optional<Sent> operator()(const Site& site) {
        const auto inputs = site.rerun.tape().record(site.index).inputs();
        if (site.rerun.tape().record(site.index).name() == "causal_attention") {
            const std::optional<Sent> present = lost_past(site, 0, 3, 1);
            for (const std::size_t k : {1u, 2u})
                if (present) leave(site, inputs[k], (*present)[k]);
            return {};
        }
        const auto own = own_.find(site.index);
        if (own == own_.end()) return {};
        const Sent present = site.vjp(own->second);
        Sent sent = site.right;
        for (std::size_t k = 0; k < sent.size(); ++k) {
            if (!sent[k] || !site.rerun.producer(inputs[k])) continue;
            if (weighted(site.rerun, inputs)) sent[k] = present[k];
            leave(site, inputs[k], present[k]);
        }
        return sent;
    }

private:
    void leave(const Site& site, detail::ValueId value, const Tensor<double>& gradient) {
        if (const auto producer = site.rerun.producer(value)) own_[*producer] = gradient;
    }

    std::map<std::size_t, Tensor<double>> own_;  ///< by record: what its output is sent from its own position
};

/// Keys and values of past positions give gradients to their weights, but send nothing to their inputs.
void try_past_inputs(Search& search) {
    Hypothesis hypothesis{.diagnosis =
                              "past keys and values give gradients to their weights but send nothing to the "
                              "activations that they are made of",
                          .scope = "every causal_attention",
                          .reach = std::vector<bool>(search.claims().size())};
    Tape<double>& tape = search.rerun().tape();
    for (std::size_t i = 0; i < search.rerun().records(); ++i) {
        if (tape.record(i).name() != "causal_attention" || !search.rerun().reached(i)) continue;
        hypothesis.records.push_back(i);
        for (const std::size_t k : {1u, 2u})
            for (const std::size_t record : projection_of(search, tape.record(i).inputs()[k]))
                hypothesis.records.push_back(record);
        const std::vector<bool> reach = search.reach(i);
        for (std::size_t v = 0; v < reach.size(); ++v) hypothesis.reach[v] = hypothesis.reach[v] || reach[v];
    }
    const auto vjp = std::make_shared<PresentInputs>();
    hypothesis.vjp = [vjp](const Site& site) { return (*vjp)(site); };
    if (!hypothesis.records.empty()) search.consider(hypothesis);
}

// ---- weight gradients

/// Another tensor of the tape: the output of a record, or its gradient.
struct Other {
    std::size_t record;
    bool gradient;

    Tensor<double> of(Rerun& rerun) const {
        return gradient ? rerun.cotangent(record) : rerun.tape().at(rerun.tape().record(record).output).data;
    }
};

/// The weight gradient formed with another tensor in place of the product's input, at these records.
Hypothesis formed_with(Search& search, const std::vector<std::size_t>& products, const Other& other) {
    constexpr std::size_t weight = 1;
    Hypothesis hypothesis{.records = products, .reach = search.reach(products, std::span(&weight, 1))};
    hypothesis.vjp = [&search, other](const Site& site) -> std::optional<Sent> {
        const auto same_layer = search.places().counterpart(other.record, site.index);
        if (!same_layer) return {};
        const Tensor<double> x = Other{*same_layer, other.gradient}.of(search.rerun());
        if (!x || x.shape() != site.input(0).shape()) return {};
        Sent sent = site.right;
        sent[weight] = site.vjp_at(x)[weight];
        return sent;
    };
    return hypothesis;
}

void try_weight_inputs(Search& search) {
    for (const Rerun::Node& node : search.rerun().nodes()) {
        if (!node.variable || !search.claims()[*node.variable].wrong || node.edges.size() != 1) continue;
        const auto [product, place] = node.edges[0];
        if (place != 1 || std::ranges::find(products, search.places().op(product)) == products.end()) continue;
        const std::vector<std::size_t> layers = search.places().same_place(product);
        for (std::size_t i = 0; i < search.rerun().records() && !search.done(); ++i) {
            for (const bool gradient : {false, true}) {
                const std::string with =
                    fmt::format("the weight's gradient is formed with {}the output of {} in place of the input",
                                gradient ? "the gradient of " : "", search.places().name(i, true));
                for (const auto& [records, scope] :
                     {std::pair{std::vector{product}, search.places().name(product)},
                      {layers, search.places().name(product, true) + ", in every layer"}}) {
                    Hypothesis hypothesis = formed_with(search, records, {i, gradient});
                    hypothesis.diagnosis = with;
                    hypothesis.scope = scope;
                    search.consider(hypothesis);
                }
            }
        }
        return;
    }
}

}  // namespace

void try_known_ops(Search& search) {
    for (const KnownMistake& mistake : known_mistakes())
        if (!mistake.op.empty() && !search.done()) try_mistake(search, mistake);
}

void try_any_op(Search& search) {
    for (const KnownMistake& mistake : known_mistakes())
        if (mistake.op.empty() && !search.done()) try_mistake(search, mistake);
}

void try_structures(Search& search) {
    for (const auto& attempt : {try_norms_last, try_past_inputs, try_weight_inputs})
        if (!search.done()) attempt(search);
}

}  // namespace xtape::check
