#include <xtape/tools/flags.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::tools {
namespace {

CLI::Validator number(const std::string& type, std::string_view wanted, bool (*fits)(double)) {
    const auto check = [=](const std::string& text) {
        double value = 0;
        const bool good = CLI::detail::lexical_cast(text, value) && std::isfinite(value) && fits(value);
        return good ? std::string() : fmt::format("{} is not {}", text, wanted);
    };
    return {check, type};
}

}  // namespace

CLI::Validator positive() {
    return number("POSITIVE", "a number above 0", [](double value) { return value > 0; });
}

CLI::Validator not_negative() {
    return number("NONNEGATIVE", "a number of 0 or more", [](double value) { return value >= 0; });
}

CLI::Validator between(double low, double high) {
    const auto check = [=](const std::string& text) {
        double value = 0;
        const bool good = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
        return good ? std::string() : fmt::format("{} is not from {} to {}", text, low, high);
    };
    return {check, fmt::format("{} to {}", low, high)};
}

CLI::Validator one_of(const std::map<std::string, int>& numbers) {
    std::vector<std::string> names;
    for (const auto& [name, number] : numbers) names.push_back(name);
    const std::string all = fmt::format("{{{}}}", fmt::join(names, ","));
    const auto replace = [=](std::string& text) {
        if (const auto found = numbers.find(text); found != numbers.end()) text = std::to_string(found->second);
        const auto is_text = [&](const auto& one) { return std::to_string(one.second) == text; };
        return std::ranges::any_of(numbers, is_text) ? std::string() : fmt::format("{} not in {}", text, all);
    };
    return {replace, all};
}

CLI::Validator not_empty() {
    return {[](const std::string& text) { return std::string(text.empty() ? "it is empty" : ""); }, ""};
}

}  // namespace xtape::tools
