#include <xtape/nn/json.hpp>

#include <algorithm>

namespace xtape::nn {
namespace {

/// `byte` is the last one that was read, from 1 on.
std::string where_broken(std::string_view text, std::size_t byte) {
    if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return "it is empty, and should be JSON";
    const std::string_view before = text.substr(0, std::max<std::size_t>(byte, 1) - 1);
    const auto line = 1 + std::ranges::count(before, '\n');
    if (byte > text.size()) return fmt::format("the JSON is cut off: it ends too early, in line {}", line);
    const std::size_t begin = before.rfind('\n') + 1;  // 0 in the first line
    return fmt::format("line {} is not JSON, from column {} on", line, before.size() - begin + 1);
}

template <class AnyJson, class... Check> AnyJson parse(std::string_view text, const Check&... check) {
    try {
        return AnyJson::parse(text, check...);
    } catch (const typename AnyJson::parse_error& error) {
        throw FileError(where_broken(text, error.byte));
    } catch (const typename AnyJson::exception&) {
        throw FileError("a number of the JSON is out of range");
    }
}

}  // namespace

Json parse_json(std::string_view text, const Json::parser_callback_t& check) { return parse<Json>(text, check); }

ForeignJson parse_foreign_json(std::string_view text) { return parse<ForeignJson>(text); }

std::string print_json(const Json& json, int indent) { return json.dump(indent); }

std::string one_line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace xtape::nn
