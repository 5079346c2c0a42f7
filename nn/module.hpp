#pragma once
// Modules are plain structs that list their parameters once:
//     void each_parameter(auto&& visit) { visit("up", up); visit("down", down); }
// A member is a Parameter, a module, a range of those (`layers.0.wq`), or an optional or a pointer to one. What is
// done with all parameters of a model starts at `parameters`; whatever takes a model takes such a list as well.

#include <xtape/engine/parameter.hpp>
#include <xtape/nn/init.hpp>

#include <algorithm>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace xtape::nn {

/// A Parameter and its path in the model, `layers.0.wq`.
template <Real T> struct Named {
    std::string name;
    Parameter<T>* parameter;
};
/// The same to read from.
template <Real T> struct NamedConst {
    std::string name;
    const Parameter<T>* parameter;
};

namespace detail {

template <class M> struct ScalarIn { static_assert(sizeof(M) == 0, "give the model a line `using Scalar = T;`"); };
template <Real T> struct ScalarIn<T> { using type = T; };
template <class M>
requires requires { typename M::Scalar; }
struct ScalarIn<M> {
    using type = typename M::Scalar;
};
template <template <class...> class M, class First, class... Rest>
requires(!requires { typename M<First, Rest...>::Scalar; }) struct ScalarIn<M<First, Rest...>> : ScalarIn<First> {
};

}  // namespace detail

/// The scalar type of a model: its `Scalar`, or the T of `Model<T>`.
template <class M> using ScalarOf = typename detail::ScalarIn<std::remove_cv_t<M>>::type;

namespace detail {

/// What `each_parameter` calls: gathers the Parameters below a model, each once.
template <Real T> class Collector {
public:
    explicit Collector(bool names) : names_(names) {}

    template <class Member> void operator()(std::string_view name, Member& member) {
        if constexpr (std::is_same_v<Member, Parameter<T>>) {
            add(name, member);
        } else if constexpr (requires { member.each_parameter(*this); }) {
            const std::size_t outer = enter(name);
            member.each_parameter(*this);
            prefix_.resize(outer);
        } else if constexpr (std::ranges::range<Member>) {
            const std::size_t outer = enter(name);
            int i = 0;
            for (auto& item : member) (*this)(names_ ? std::to_string(i++) : std::string(), item);
            prefix_.resize(outer);
        } else if constexpr (requires {
                                 *member;
                                 member ? 0 : 1;
                             }) {
            if (member) (*this)(name, *member);
        } else {
            static_assert(!sizeof(Member),
                          "visit takes a Parameter of the model's scalar type, a module with "
                          "each_parameter, a range of those, or an optional or a pointer to one");
        }
    }

    std::vector<Named<T>> take();

private:
    std::size_t enter(std::string_view name);
    void add(std::string_view name, Parameter<T>& parameter);

    bool names_;
    std::string prefix_;
    std::vector<Named<T>> found_;
};

/// The one place where a const model is visited by an each_parameter that is not: nobody writes through it.
template <class M> M& visited(const M& model) { return const_cast<M&>(model); }

template <class M> std::vector<Named<ScalarOf<M>>> collect(const M& model, bool names) {
    Collector<ScalarOf<M>> collector(names);
    visited(model).each_parameter(collector);
    return collector.take();
}

template <Real T> std::vector<Named<T>> collect(const std::vector<Named<T>>& parameters, bool) { return parameters; }

template <Real T> std::vector<NamedConst<T>> read_only(const std::vector<Named<T>>& parameters);
template <Real From, Real To> void copy(const std::vector<NamedConst<From>>& from, const std::vector<Named<To>>& to);

/// Throws ValueError when a Parameter of `constructed` (in that order) is not among `visited`.
template <Real T> void check_visited(const std::vector<const void*>& constructed, const std::vector<Named<T>>& visited);

template <class M> struct ConfigOf {};
template <class M>
requires requires { typename M::Config; }
struct ConfigOf<M> {
    using type = typename M::Config;
};

}  // namespace detail

/// All Parameters of a model with their paths, in the order of each_parameter. One that two owners list appears once,
/// under its first name. Throws ValueError when two have one name. The pointers hold while the model stays in place.
template <class M> std::vector<Named<ScalarOf<M>>> parameters(M& model) requires(!std::is_const_v<M>) {
    return detail::collect(model, true);
}
template <class M> std::vector<NamedConst<ScalarOf<M>>> parameters(const M& model) {
    return detail::read_only(detail::collect(model, true));
}

/// Calls f(name, parameter) for every Parameter of a model.
template <class M, class F> void for_each_parameter(M& model, F&& f) {
    for (auto& [name, parameter] : parameters(model)) f(std::string_view(name), *parameter);
}

/// The number of trainable elements.
template <class M> Index count(const M& model) {
    Index total = 0;
    for (const auto& named : detail::collect(model, false)) total += named.parameter->size();
    return total;
}

/// Drops all gradients.
template <class M> void zero_grad(M& model) {
    for (auto& named : detail::collect(model, false)) named.parameter->zero_grad();
}

/// Copies the values from one model to another with the same names and shapes, rounded to its scalar type.
/// Throws ValueError or ShapeError, with nothing changed, when names or shapes differ.
template <class From, class To> void copy_parameters(const From& from, To& to) {
    detail::copy(parameters(from), parameters(to));
}

/// M(config, rng) with a fresh Rng of that seed. Throws ValueError, naming the Parameter as well as it can, when
/// each_parameter forgets one that was constructed.
template <class M, class Config = typename detail::ConfigOf<M>::type>
M build(const Config& config, std::uint64_t seed) {
    const xtape::detail::ConstructionLog log;
    Rng rng(seed);
    M model(config, rng);
    detail::check_visited(log.states, detail::collect(model, true));
    return model;
}

}  // namespace xtape::nn
