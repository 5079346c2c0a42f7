#include <xtape/models/gate/data.hpp>
#include <xtape/nn/init.hpp>
#include <xtape/nn/json.hpp>

#include <cmath>
#include <map>
#include <utility>

#include <fmt/format.h>

namespace xtape::models {
namespace {

using Json = nn::ForeignJson;

double number(const Json& value, std::string_view name, std::string_view where) {
    if (!value.is_number()) throw FileError(fmt::format("{}: {} must be a number", where, name));
    return value.get<double>();
}

std::string text(const Json& value, std::string_view name, std::string_view where) {
    if (!value.is_string() || value.get_ref<const std::string&>().empty())
        throw FileError(fmt::format("{}: {} must be a text that is not empty", where, name));
    return value.get<std::string>();
}

Json parse_object(std::string_view line, std::string_view where) {
    try {
        Json object = nn::parse_foreign_json(line);
        if (object.is_object()) return object;
    } catch (const FileError&) {}  // said below, with the line
    throw FileError(
        fmt::format("{}: not a JSON object: `{}{}`", where, line.substr(0, 40), line.size() > 40 ? "..." : ""));
}

std::string input_of(const Json& object, std::string_view where) {
    if (!object.contains("input")) throw FileError(fmt::format("{}: no input", where));
    return text(object["input"], "input", where);
}

}  // namespace

std::string parse_gate_input(std::string_view line, std::string_view where) {
    return input_of(parse_object(line, where), where);
}

GateLine parse_gate_line(std::string_view line, std::string_view where) {
    const Json object = parse_object(line, where);
    GateLine result{.input = input_of(object, where)};
    if (object.contains("label") == object.contains("next"))
        throw FileError(fmt::format("{}: a line has a label or a next token, one of the two", where));
    if (object.contains("next")) {
        result.next = text(object["next"], "next", where);
    } else {
        result.label = number(object["label"], "label", where);
        if (!(result.label >= -1 && result.label <= 1.5))
            throw FileError(fmt::format("{}: a label is from -1 (false positive) to 1.5 (override to allow): it is {}",
                                        where, result.label));
    }
    if (object.contains("weight")) {
        result.weight = number(object["weight"], "weight", where);
        if (!(result.weight > 0 && std::isfinite(result.weight)))
            throw FileError(fmt::format("{}: a weight is above 0 and finite: it is {}", where, result.weight));
    }
    return result;
}

std::vector<GateLine> read_gate_lines(std::string_view text, std::string_view source) {
    std::vector<GateLine> lines;
    for (Index number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
        lines.push_back(parse_gate_line(line, fmt::format("{}: line {}", source, number)));
    }
    if (lines.empty()) throw FileError(fmt::format("{}: no lines: one JSON object a line is wanted", source));
    return lines;
}

std::string to_json(const GateLine& line) {
    nn::Json object{{"input", line.input}};
    if (line.next)
        object["next"] = *line.next;
    else
        object["label"] = line.label;
    object["weight"] = line.weight;
    return nn::print_json(object);
}

GateExamples encode(std::span<const GateLine> lines, const Tokenizer& tokenizer, int context, std::string_view source) {
    GateExamples result;
    const auto tokens_of = [&](const std::string& text) {
        std::vector<std::int32_t> tokens = tokenizer.encode(text);
        if (tokens.empty()) throw FileError(fmt::format("{}: `{}` has no tokens", source, text));
        return tokens;
    };
    for (const GateLine& line : lines) {
        GateExample example{.tokens = tokens_of(line.input), .label = line.label, .weight = line.weight};
        if (line.next) example.next = tokens_of(*line.next).front();
        if (example.tokens.size() > static_cast<std::size_t>(context))
            ++result.too_long;
        else
            result.examples.push_back(std::move(example));
    }
    return result;
}

GateSplit split(std::vector<GateExample> examples, double fraction, std::uint64_t seed) {
    nn::Rng rng(seed);
    std::map<std::vector<std::int32_t>, bool> held_out;
    GateSplit parts;
    for (GateExample& example : examples) {
        const auto [known, fresh] = held_out.try_emplace(example.tokens, false);
        if (fresh) known->second = rng.uniform() < fraction;
        (known->second ? parts.held_out : parts.training).push_back(std::move(example));
    }
    return parts;
}

}  // namespace xtape::models
