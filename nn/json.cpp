#include <xtape/nn/json.hpp>

namespace xtape::nn {

Json parse_json(std::string_view text, const Json::parser_callback_t& check) { return Json::parse(text, check); }

ForeignJson parse_foreign_json(std::string_view text, const ForeignJson::parser_callback_t& check) {
    return ForeignJson::parse(text, check);
}

std::string print_json(const Json& json, int indent) { return json.dump(indent); }

std::string one_line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace xtape::nn
