#pragma once
// JSON for the files of a run and for datasets. To parse and to print are most of what the library costs to compile, so
// both are compiled once, here. For sources only: no other header of a library includes this one.

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace xtape::nn {

using Json = nlohmann::ordered_json;

/// Throws Json::exception for what is no JSON, and what `check` throws: it sees each value as it is parsed.
Json parse_json(std::string_view text, const Json::parser_callback_t& check = nullptr);

/// What others wrote may have an object of very many members, among which this one finds its way.
using ForeignJson = nlohmann::json;
ForeignJson parse_foreign_json(std::string_view text, const ForeignJson::parser_callback_t& check = nullptr);

/// On one line, or with so many spaces for each level. Throws Json::exception for a string that is not UTF-8.
std::string print_json(const Json& json, int indent = -1);

/// On one line; bytes that are not UTF-8 are replaced.
std::string one_line(const Json& json);

}  // namespace xtape::nn
