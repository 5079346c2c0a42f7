#include <xtape/tools/flags.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <numeric>

#include <fmt/format.h>

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

/// Of Levenshtein.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
        }
    }
    return row.back();
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> names) {
    std::string found;
    std::size_t least = word.size() / 3 + 1;  // as many letters may be wrong, less one
    for (const std::string& name : names) {
        const std::size_t d = distance(word, name);
        if (d < least) found = name;
        least = std::min(least, d);
    }
    return found;
}

CLI::Validator positive() {
    // CLI11 takes the largest integer for what is beyond it.
    return number("POSITIVE", "a number above 0, to 1e15", [](double value) { return value > 0 && value <= 1e15; });
}

CLI::Validator not_negative() {
    return number("NONNEGATIVE", "a number of 0 or more", [](double value) { return value >= 0; });
}

CLI::Validator portion() {
    return number("above 0, to 1", "a number above 0, to 1", [](double value) { return value > 0 && value <= 1; });
}

CLI::Validator seed() {
    const auto check = [](const std::string& text) {
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool good = error == std::errc() && end == text.data() + text.size();
        return good ? std::string() : fmt::format("{} is not a whole number from 0 to 2^64 - 1", text);
    };
    return {check, ""};
}

CLI::Validator between(double low, double high) {
    const auto check = [=](const std::string& text) {
        double value = 0;
        const bool good = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
        return good ? std::string() : fmt::format("{} is not from {} to {}", text, low, high);
    };
    return {check, fmt::format("{} to {}", low, high)};
}

CLI::Validator not_empty() {
    return {[](const std::string& text) { return std::string(text.empty() ? "it is empty" : ""); }, ""};
}

}  // namespace xtape::tools
