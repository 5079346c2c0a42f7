#include <xtape/engine/check/places.hpp>

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

namespace xtape::check {
namespace {

/// `layers.*.wq` and "3" from `layers.3.wq`.
std::pair<std::string, std::string> without_numbers(const std::string& path) {
    std::string starred, numbers;
    for (std::size_t begin = 0; begin <= path.size();) {
        const std::size_t end = std::min(path.find('.', begin), path.size());
        const std::string part = path.substr(begin, end - begin);
        const bool number = !part.empty() && std::ranges::all_of(part, [](unsigned char c) { return std::isdigit(c); });
        if (begin > 0) starred += '.';
        starred += number ? "*" : part;
        if (number) numbers += part + ".";
        begin = end + 1;
    }
    return {starred, numbers};
}

std::string ordinal_name(int n) {
    const char* ending = n % 10 == 1 && n != 11   ? "st"
                         : n % 10 == 2 && n != 12 ? "nd"
                         : n % 10 == 3 && n != 13 ? "rd"
                                                  : "th";
    return fmt::format("{}{} ", n, ending);
}

}  // namespace

Places::Places(Rerun& rerun, std::span<const std::string> names) : names_(names) {
    std::map<std::string, int> seen, twins;
    const std::vector<RecordInfo> records = rerun.tape().records();
    for (const RecordInfo& record : records) {
        const auto [starred, numbers] = without_numbers(record.scope);
        Place place{.op = std::string(record.op), .scope = record.scope, .layer = numbers};
        for (const std::uint32_t id : record.inputs) {
            if (id == detail::no_value || rerun.producer(id) || !place.variable.empty()) continue;
            if (const auto variable = rerun.variable(id)) place.variable = names[*variable];
        }
        place.key = fmt::format("{} {} {}", place.op, starred, seen[place.op + ' ' + record.scope]++);
        place.ordinal = ++twins[place.op + ' ' + place.scope + ' ' + place.variable];
        by_key_[place.key].push_back(all_.size());
        by_op_[place.op].push_back(all_.size());
        all_.push_back(std::move(place));
    }
    for (Place& place : all_) place.twins = twins[place.op + ' ' + place.scope + ' ' + place.variable];
}

std::optional<std::size_t> Places::counterpart(std::size_t other, std::size_t record) const {
    for (const std::size_t i : same_place(other))
        if (all_[i].layer == all_[record].layer) return i;
    return {};
}

std::string Places::name(std::size_t record, bool every_layer) const {
    const Place& place = all_[record];
    std::string text = (place.twins > 1 ? ordinal_name(place.ordinal) : "") + place.op;
    const std::string where = place.variable.empty() ? place.scope : place.variable;
    if (where.empty()) return text;
    return fmt::format("{} {} {}", text, place.variable.empty() ? "at" : "with",
                       every_layer ? without_numbers(where).first : where);
}

std::string Places::value_name(const Rerun::Node& node, bool every_layer) const {
    if (node.variable) return every_layer ? without_numbers(names_[*node.variable]).first : names_[*node.variable];
    return "the output of " + name(*node.producer, every_layer);
}

}  // namespace xtape::check
