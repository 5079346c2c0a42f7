#include <xtape/engine/check/hooked.hpp>
#include <xtape/engine/check/rerun.hpp>

#include <algorithm>

namespace xtape::check {
namespace {

/// Runs the vjp of a record for a cotangent, its gradients kept apart from what the sweep has added up so far.
Sent apart(Tape<double>& tape, detail::Record<double>& record, const Tensor<double>& dy) {
    const auto inputs = record.inputs();
    Tensor<double>& output = tape.at(record.output).grad;
    const Tensor<double> output_before = std::exchange(output, dy);
    Sent before(inputs.size()), sent(inputs.size());
    const auto exchange_all = [&](std::size_t k, Sent& into, Tensor<double> with) {
        if (inputs[k] != detail::no_value && tape.at(inputs[k]).wants_grad)
            into[k] = std::exchange(tape.at(inputs[k]).cotangent(), std::move(with));
    };
    for (std::size_t k = 0; k < inputs.size(); ++k) exchange_all(k, before, {});
    record.vjp(tape);
    for (std::size_t k = 0; k < inputs.size(); ++k) exchange_all(k, sent, {});
    Sent ignored(inputs.size());
    for (std::size_t k = inputs.size(); k-- > 0;) exchange_all(k, ignored, before[k]);  // x may occur twice
    output = output_before;
    return sent;
}

}  // namespace

Tensor<double> Site::input(std::size_t place) const {
    const auto inputs = rerun.tape().record(index).inputs();
    return place < inputs.size() && inputs[place] != detail::no_value ? rerun.tape().tensor(inputs[place])
                                                                      : Tensor<double>();
}

Tensor<double> Site::output() const { return rerun.tape().at(rerun.tape().record(index).output).data; }

Indices Site::indices(std::size_t place) const {
    const detail::ValueId id = rerun.tape().record(index).index_input(static_cast<int>(place));
    return id == detail::no_value ? Indices() : rerun.tape().index_at(id).current;
}

const void* Site::options_of(const std::type_info& type) const { return rerun.tape().record(index).options(type); }

Sent Site::vjp(const Tensor<double>& cotangent) const {
    return apart(rerun.tape(), rerun.tape().record(index), cotangent);
}

Sent Site::vjp_at(const Tensor<double>& x) const {
    detail::Record<double>& record = rerun.tape().record(index);
    detail::Value<double>& value = rerun.tape().at(record.inputs()[0]);
    const Tensor<double> before = std::exchange(value.data, x);
    record.forward(rerun.tape());  // what the forward saves for the vjp is of x as well
    Sent sent = vjp(dy);
    value.data = before;
    record.forward(rerun.tape());
    return sent;
}

Sent Site::vjp_with_output(const Tensor<double>& y) const {
    Tensor<double>& data = rerun.tape().at(rerun.tape().record(index).output).data;
    const Tensor<double> before = std::exchange(data, y);
    Sent sent = vjp(dy);
    data = before;
    return sent;
}

Rerun::Rerun(Tape<double>& tape, Tensor<double> output, Tensor<double> cotangent, std::vector<const Tensor<double>*> of)
    : tape_(tape),
      output_(std::move(output)),
      cotangent_(std::move(cotangent)),
      of_(std::move(of)),
      cotangents_(tape.size()),
      sent_(tape.size()) {
    find_reach();
    const Hooked<double> hooked(tape_, [&](std::size_t i, detail::Record<double>& record) {
        cotangents_[i] = tape_.at(record.output).grad;
        sent_[i] = apart(tape_, record, cotangents_[i]);
        for (std::size_t k = 0; k < sent_[i].size(); ++k)
            if (sent_[i][k]) tape_.pass(sent_[i][k], record.inputs()[k]);
    });
    right_ = tape_.gradient(output_, cotangent_, of_);
    find_nodes();
}

std::optional<std::size_t> Rerun::variable(ValueId value) const {
    const detail::ParameterState<double>* parameter = tape_.at(value).parameter;
    for (std::size_t i = 0; i < of_.size(); ++i) {
        const auto* body = of_[i]->body();
        if (parameter != nullptr ? body->parameter == parameter
                                 : tape_.at(value).leaf && body->parameter == nullptr && body->value == value)
            return i;
    }
    return {};
}

std::optional<std::size_t> Rerun::producer(ValueId value) const {
    return value < producers_.size() ? producers_[value] : std::nullopt;
}

void Rerun::find_reach() {
    ValueId values = 0;
    for (std::size_t i = 0; i < tape_.size(); ++i) values = std::max(values, tape_.record(i).output + 1);
    reach_.assign(values, std::vector<bool>(of_.size()));
    producers_.assign(values, std::nullopt);
    for (std::size_t i = 0; i < tape_.size(); ++i) {
        const detail::Record<double>& record = tape_.record(i);
        producers_[record.output] = i;
        std::vector<bool>& output = reach_[record.output];
        if (record.reads_parameters) output.assign(of_.size(), true);
        for (const ValueId id : record.inputs()) {
            if (id == detail::no_value) continue;
            if (!producers_[id])
                if (const auto own = variable(id)) reach_[id][*own] = true;
            for (std::size_t v = 0; v < of_.size(); ++v) output[v] = output[v] || reach_[id][v];
        }
    }
}

/// Nearest to the output first.
void Rerun::find_nodes() {
    for (std::size_t i = records(); i-- > 0;) {
        const auto inputs = tape_.record(i).inputs();
        for (std::size_t k = 0; k < sent_[i].size(); ++k) {
            if (!sent_[i][k]) continue;
            const auto own = producer(inputs[k]) ? std::nullopt : variable(inputs[k]);
            const auto known = std::ranges::find_if(
                nodes_, [&](const Node& node) { return own ? node.variable == own : node.value == inputs[k]; });
            Node& node =
                known != nodes_.end() ? *known : nodes_.emplace_back(Node{inputs[k], own, producer(inputs[k]), {}});
            node.edges.push_back({i, k});
        }
    }
}

Rerun::Gradients Rerun::with(std::span<const std::size_t> records, const WrongVjp& wrong) {
    const Hooked<double> hooked(tape_, [&](std::size_t i, detail::Record<double>& record) {
        if (std::ranges::find(records, i) == records.end()) return record.vjp(tape_);
        Site site{*this, i, tape_.at(record.output).grad, {}};
        site.right = site.vjp(site.dy);
        const std::optional<Sent> instead = wrong(site);
        const Sent& sent = instead ? *instead : site.right;
        for (std::size_t k = 0; k < sent.size(); ++k)
            if (sent[k]) tape_.pass(sent[k], record.inputs()[k]);
    });
    return tape_.gradient(output_, cotangent_, of_);
}

Rerun::Gradients Rerun::through(const Edge& edge, const Node& node) {
    if (!node.variable) return tape_.gradient(tape_.tensor(node.value), sent(edge), of_);
    Gradients gradients;
    for (const Tensor<double>* x : of_) gradients.push_back(Tensor<double>::zeros(x->shape()));
    gradients[*node.variable] = sent(edge);
    return gradients;
}

Site Rerun::site(std::size_t record) { return {*this, record, cotangents_[record], sent_[record]}; }

}  // namespace xtape::check
