#include <xtape/engine/check/departure.hpp>
#include <xtape/engine/check/hooked.hpp>

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape {
namespace {

constexpr std::size_t most_named = 8;

template <class T> std::vector<double> widened(const Tensor<T>& x) {
    return x ? std::vector<double>(x.values().begin(), x.values().end()) : std::vector<double>();
}

/// Names of the records: scope and op, numbered where a scope has several.
std::vector<std::string> names_of(std::span<const RecordInfo> records) {
    std::map<std::string, int> count, next;
    std::vector<std::string> names;
    for (const RecordInfo& record : records) {
        names.push_back(record.scope + (record.scope.empty() ? "" : ".") + std::string(record.op));
        ++count[names.back()];
    }
    for (std::string& name : names) {
        if (count[name] > 1) name += fmt::format(".{}", next[name]++);
    }
    return names;
}

/// Which elements of a trace a candidate has, and which of those are wrong.
struct Judged {
    std::vector<bool> given, wrong;
};

enum class Of { gradients, values };

Judged judge_given(const Trace& trace, const NamedArrays& candidate, Of of, const JudgeOptions& options) {
    std::vector<Evidence> evidence;
    std::vector<std::size_t> places;
    for (const auto& [name, array] : candidate) {
        const auto at = std::ranges::find(trace, name, &Intermediate::name);
        if (at == trace.end())
            throw ValueError(fmt::format("first_departure: the trace has nothing of the name {}; it ends in {}", name,
                                         trace.empty() ? "nothing" : trace.back().name));
        places.push_back(static_cast<std::size_t>(at - trace.begin()));
        const bool values = of == Of::values;
        evidence.push_back(
            {name, at->shape, values ? at->value : at->gradient, array, values ? at->value_noise : at->noise, {}});
    }
    Judged judged{std::vector<bool>(trace.size()), std::vector<bool>(trace.size())};
    const GradReport report = judge(evidence, options);
    for (std::size_t i = 0; i < places.size(); ++i) {
        judged.given[places[i]] = true;
        judged.wrong[places[i]] = differs(report.rows[i]);
    }
    return judged;
}

/// The ops that read each element, and pass gradient on.
std::vector<std::vector<std::size_t>> readers_of(const Trace& trace) {
    std::vector<std::vector<std::size_t>> readers(trace.size());
    for (std::size_t i = 0; i < trace.size(); ++i) {
        for (const std::size_t input : trace[i].inputs) {
            if (!trace[i].gradient.empty() && (readers[input].empty() || readers[input].back() != i))
                readers[input].push_back(i);
        }
    }
    return readers;
}

/// Everything that `next` leads to from `from`, through what was not given.
template <class Next> std::set<std::size_t> reached(std::size_t from, const Judged& judged, const Next& next) {
    std::set<std::size_t> found;
    std::vector<std::size_t> open{from};
    while (!open.empty()) {
        const std::size_t at = open.back();
        open.pop_back();
        for (const std::size_t other : next(at)) {
            if (found.insert(other).second && !judged.given[other]) open.push_back(other);
        }
    }
    return found;
}

/// Where a trace has the values of a tape: each use of a Parameter is a value of its own.
template <class T> struct Places {
    std::map<detail::ValueId, std::size_t> values;
    std::map<const detail::ParameterState<T>*, std::size_t> parameters;

    std::optional<std::size_t> find(Tape<T>& tape, detail::ValueId id) const {
        if (id == detail::no_value) return {};
        if (const auto known = parameters.find(tape.at(id).parameter); known != parameters.end()) return known->second;
        const auto known = values.find(id);
        return known == values.end() ? std::nullopt : std::optional(known->second);
    }
};

std::string listed(const std::vector<std::string>& names) {
    const auto shown = std::span(names).first(std::min(names.size(), most_named));
    return fmt::format("{}{}", fmt::join(shown, ", "), shown.size() < names.size() ? ", ..." : "");
}

std::string departs_at(const std::vector<std::string>& ops) {
    return fmt::format("first departs at {}{}", ops.size() > 1 ? "one of " : "", listed(ops));
}

}  // namespace

template <Real T> Trace trace_of(Tape<T>& tape, const Tensor<T>& loss, std::span<const NamedLeaf<T>> leaves) {
    if (!tape.options().keep_records)
        throw ValueError("trace: this tape does not keep its records; make it with {.keep_records = true}");
    if (loss.size() != 1)
        throw ShapeError(fmt::format("trace: the loss must be a scalar: loss is {}", to_string(loss.shape())));
    std::vector<const Tensor<T>*> of;
    for (const NamedLeaf<T>& leaf : leaves) of.push_back(leaf.tensor);
    std::vector<Tensor<T>> cotangents(tape.size());
    const check::Hooked<T> hooked(tape, [&](std::size_t i, detail::Record<T>& record) {
        cotangents[i] = tape.at(record.output).grad;
        record.vjp(tape);
    });
    const auto gradients = tape.gradient(loss, Tensor<T>::full(loss.shape(), T(1)), of);
    Trace trace;
    Places<T> places;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        const Tensor<T>& x = *leaves[i].tensor;
        if (x.body()->parameter != nullptr)
            places.parameters[x.body()->parameter] = i;
        else
            places.values[x.body()->value] = i;
        trace.push_back(
            {.name = leaves[i].name, .shape = x.shape(), .value = widened(x), .gradient = widened(gradients[i])});
    }
    const std::vector<RecordInfo> records = tape.records();
    const std::vector<std::string> names = names_of(records);
    for (std::size_t i = 0; i < records.size(); ++i) {
        const detail::Value<T>& output = tape.at(records[i].output);
        Intermediate& made = trace.emplace_back(Intermediate{.name = names[i],
                                                             .shape = output.shape,
                                                             .value = widened(output.data),
                                                             .gradient = widened(cotangents[i])});
        for (const detail::ValueId id : records[i].inputs)
            if (const auto place = places.find(tape, id)) made.inputs.push_back(*place);
        places.values[records[i].output] = trace.size() - 1;
    }
    return trace;
}

template Trace trace_of(Tape<float>&, const Tensor<float>&, std::span<const NamedLeaf<float>>);
template Trace trace_of(Tape<double>&, const Tensor<double>&, std::span<const NamedLeaf<double>>);

std::optional<Departure> first_departure(const Trace& trace, const NamedArrays& gradients,
                                         const JudgeOptions& options) {
    const Judged judged = judge_given(trace, gradients, Of::gradients, options);
    const auto readers = readers_of(trace);
    // A gradient is complete when the oldest reader has been replayed: the first complete one that is wrong tells.
    const auto complete_at = [&](std::size_t i) { return readers[i].empty() ? trace.size() : readers[i].front(); };
    std::optional<std::size_t> first;
    for (std::size_t i = 0; i < trace.size(); ++i) {
        if (judged.wrong[i] && (!first || complete_at(i) > complete_at(*first))) first = i;
    }
    if (!first) return {};
    if (readers[*first].empty())
        return Departure{
            {trace[*first].name},
            fmt::format("first departs at {}: nothing reads it, and its gradient is wrong", trace[*first].name)};
    std::vector<std::string> inputs, ops;
    for (std::size_t i = 0; i < trace.size(); ++i) {
        if (judged.wrong[i] && complete_at(i) == complete_at(*first)) inputs.push_back(trace[i].name);
    }
    const std::set<std::size_t> suspects = reached(*first, judged, [&](std::size_t i) { return readers[i]; });
    for (const std::size_t suspect : suspects) ops.push_back(trace[suspect].name);
    std::ranges::reverse(ops);  // in the order of the sweep
    const bool several = inputs.size() > 1;
    if (suspects.size() == 1)
        return Departure{ops, fmt::format("{} (the gradient of its output agrees, that of its input{} {} does not)",
                                          departs_at(ops), several ? "s" : "", listed(inputs))};
    return Departure{ops, fmt::format("{} (what was given of the gradients before agrees, {} {} not)", departs_at(ops),
                                      (several ? "those of " : "that of ") + listed(inputs), several ? "do" : "does")};
}

std::optional<Departure> first_departure_of_values(const Trace& trace, const NamedArrays& values,
                                                   const JudgeOptions& options) {
    const Judged judged = judge_given(trace, values, Of::values, options);
    const auto first = std::ranges::find(judged.wrong, true) - judged.wrong.begin();
    if (first == static_cast<std::ptrdiff_t>(trace.size())) return {};
    const auto at = static_cast<std::size_t>(first);
    std::set<std::size_t> suspects{at};
    for (const std::size_t i : reached(at, judged, [&](std::size_t j) { return trace[j].inputs; })) {
        if (!judged.given[i] && !trace[i].inputs.empty()) suspects.insert(i);
    }
    std::vector<std::string> ops;
    for (const std::size_t i : suspects) ops.push_back(trace[i].name);
    const std::string how = ops.size() > 1
                                ? fmt::format("the values given before them agree, that of {} does not", trace[at].name)
                                : "its inputs agree, its value does not";
    return Departure{ops, fmt::format("{} ({})", departs_at(ops), how)};
}

}  // namespace xtape
