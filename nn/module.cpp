#include <xtape/nn/module.hpp>

#include <map>
#include <set>

#include <fmt/format.h>

namespace xtape::nn::detail {

template <Real T> std::size_t Collector<T>::enter(std::string_view name) {
    const std::size_t outer = prefix_.size();
    if (names_) prefix_.append(name).append(".");
    return outer;
}

template <Real T> void Collector<T>::add(std::string_view name, Parameter<T>& parameter) {
    const auto same = [&](const Named<T>& named) { return named.parameter->state() == parameter.state(); };
    if (std::ranges::any_of(found_, same)) return;
    found_.push_back({names_ ? prefix_ + std::string(name) : std::string(), &parameter});
}

template <Real T> std::vector<Named<T>> Collector<T>::take() {
    std::set<std::string_view> names;
    for (const Named<T>& named : found_) {
        if (names_ && !names.insert(named.name).second)
            throw ValueError(fmt::format("parameters: two of the model's parameters are named {}", named.name));
    }
    return std::move(found_);
}

template <Real T> std::vector<NamedConst<T>> read_only(const std::vector<Named<T>>& parameters) {
    std::vector<NamedConst<T>> result;
    for (const auto& [name, parameter] : parameters) result.push_back({name, parameter});
    return result;
}

template <Real From, Real To> void copy(const std::vector<NamedConst<From>>& from, const std::vector<Named<To>>& to) {
    std::map<std::string_view, const Parameter<From>*> sources;
    for (const auto& [name, parameter] : from) sources.emplace(name, parameter);
    for (const auto& [name, parameter] : to) {
        const auto source = sources.find(name);
        if (source == sources.end())
            throw ValueError(fmt::format("copy_parameters: the source has no {}, the destination wants {}", name,
                                         to_string(parameter->shape())));
        if (source->second->shape() != parameter->shape())
            throw ShapeError(fmt::format("copy_parameters: {} is {} in the source, the destination wants {}", name,
                                         to_string(source->second->shape()), to_string(parameter->shape())));
    }
    if (from.size() != to.size())
        throw ValueError(
            fmt::format("copy_parameters: the source has {} parameters, the destination {}", from.size(), to.size()));
    for (const auto& [name, parameter] : to) parameter->write();  // throws, if it does, before anything changes
    for (const auto& [name, parameter] : to)
        std::ranges::transform(sources.at(name)->values(), parameter->write().begin(),
                               [](From value) { return static_cast<To>(value); });
}

template <Real T>
void check_visited(const std::vector<const void*>& constructed, const std::vector<Named<T>>& visited) {
    std::map<const void*, std::string_view> names;
    for (const auto& [name, parameter] : visited) names.emplace(parameter->state(), name);
    const auto forgotten = std::ranges::find_if(constructed, [&](const void* state) { return !names.contains(state); });
    if (forgotten == constructed.end()) return;

    const Shape& shape = static_cast<const xtape::detail::ParameterState<T>*>(*forgotten)->body->shape;
    const std::string after = forgotten == constructed.begin() ? std::string("the first")
                                                               : fmt::format("next after {}", names.at(forgotten[-1]));
    throw ValueError(
        fmt::format("build: each_parameter does not visit a parameter that the model constructs: "
                    "number {} of {}, {}, is {}",
                    forgotten - constructed.begin() + 1, constructed.size(), after, to_string(shape)));
}

template class Collector<float>;
template class Collector<double>;
template std::vector<NamedConst<float>> read_only(const std::vector<Named<float>>&);
template std::vector<NamedConst<double>> read_only(const std::vector<Named<double>>&);
template void copy(const std::vector<NamedConst<float>>&, const std::vector<Named<float>>&);
template void copy(const std::vector<NamedConst<float>>&, const std::vector<Named<double>>&);
template void copy(const std::vector<NamedConst<double>>&, const std::vector<Named<float>>&);
template void copy(const std::vector<NamedConst<double>>&, const std::vector<Named<double>>&);
template void check_visited(const std::vector<const void*>&, const std::vector<Named<float>>&);
template void check_visited(const std::vector<const void*>&, const std::vector<Named<double>>&);

}  // namespace xtape::nn::detail
