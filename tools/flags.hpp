#pragma once
// What the value of a flag may be; what it may not is said in a few words.

#include <xtape/engine/error.hpp>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/App.hpp>

namespace xtape::tools {

/// A number above 0, to 1e15. (CLI11's own says "not in range" with the largest double in 309 digits, and takes NaN.)
CLI::Validator positive();

/// A finite number that is 0 or more.
CLI::Validator not_negative();

/// A whole number from 0 to 2^64 − 1. (CLI11's own takes -1 for the largest.)
CLI::Validator seed();

/// A number above 0, to 1.
CLI::Validator portion();

/// A number from low to high.
CLI::Validator between(double low, double high);

/// What a flag may be, each value with its name, in the order in which people are shown them.
template <class Value> using Choices = std::vector<std::pair<std::string, Value>>;

template <class Value> std::vector<std::string> names_of(const Choices<Value>& choices) {
    std::vector<std::string> names;
    for (const auto& [name, value] : choices) names.push_back(name);
    return names;
}

template <class Value> std::string name_of(const Choices<Value>& choices, Value value) {
    return std::ranges::find(choices, value, &Choices<Value>::value_type::second)->first;
}

/// Throws ValueError for a name that is none of them.
template <class Value> Value value_of(const Choices<Value>& choices, const std::string& name) {
    const auto found = std::ranges::find(choices, name, &Choices<Value>::value_type::first);
    if (found == choices.end())
        throw ValueError(fmt::format("{} is none of {}", name, fmt::join(names_of(choices), ", ")));
    return found->second;
}

/// A flag that takes a name and sets the value that it stands for; `choices` outlive the app. (CLI11's own transform
/// keeps the number of an enum, not its name.)
template <class Value>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, Value& value, const Choices<Value>& choices,
                        const std::string& what) {
    const auto set = [&value, &choices](const std::string& name) { value = value_of(choices, name); };
    return app.add_option_function<std::string>(flag, set, what)
        ->check(CLI::IsMember(names_of(choices)))
        ->default_str(name_of(choices, value));
}

/// The name that is nearest to a mistyped word, by the letters to add, drop or change; empty where none is near.
std::string nearest(std::string_view word, std::span<const std::string> names);

/// Any text but the empty one, which an unset variable of a shell gives.
CLI::Validator not_empty();

}  // namespace xtape::tools
