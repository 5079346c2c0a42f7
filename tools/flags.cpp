#include <xtape/tools/flags.hpp>

#include <cmath>

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

}  // namespace

CLI::Validator positive() {
    return number("POSITIVE", "a number above 0", [](double value) { return value > 0; });
}

CLI::Validator not_negative() {
    return number("NONNEGATIVE", "a number of 0 or more", [](double value) { return value >= 0; });
}

CLI::Validator not_empty() {
    return {[](const std::string& text) { return std::string(text.empty() ? "it is empty" : ""); }, ""};
}

}  // namespace xtape::tools
