#pragma once
// What the value of a flag may be; what it may not is said in a few words.

#include <map>
#include <string>

#include <CLI/App.hpp>

namespace xtape::tools {

/// A finite number above 0. (CLI11's own says "not in range" with the largest double in 309 digits, and takes NaN.)
CLI::Validator positive();

/// A finite number that is 0 or more.
CLI::Validator not_negative();

/// A number from low to high.
CLI::Validator between(double low, double high);

/// A name, and then the number it stands for. (CLI11's own shows the numbers to people.)
CLI::Validator one_of(const std::map<std::string, int>& numbers);

/// The name of an enum's value.
template <class Enum> CLI::Validator one_of(const std::map<std::string, Enum>& values) {
    std::map<std::string, int> numbers;
    for (const auto& [name, value] : values) numbers[name] = static_cast<int>(value);
    return one_of(numbers);
}

/// Any text but the empty one, which an unset variable of a shell gives.
CLI::Validator not_empty();

}  // namespace xtape::tools
