// The place of a mistake that is not known, from which gradients are wrong and which are not.

#include <xtape/engine/check/search.hpp>

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::check {
namespace {

using Node = Rerun::Node;

bool is_all_that_differs(const Search& search, const std::vector<bool>& reached) {
    for (std::size_t i = 0; i < reached.size(); ++i)
        if (search.claims()[i].counts && reached[i] != search.wrong()[i]) return false;
    return true;
}

/// What some record sends to some value reaches just what is wrong.
std::string gradient_behind_all(const Search& search) {
    std::vector<std::string> sent;
    for (const Node& node : search.rerun().nodes()) {
        if (!node.producer || !is_all_that_differs(search, search.reach(*node.producer))) continue;
        for (const auto& [record, place] : node.edges)
            sent.push_back(fmt::format("what {} sends to its input {}", search.places().name(record), place));
    }
    constexpr std::size_t most = 4;
    const auto shown = std::span(sent).first(std::min(sent.size(), most));
    return fmt::format("{}{}", fmt::join(shown, ", or "), sent.size() > most ? ", or what follows" : "");
}

/// What one record sends to several of its inputs, of which each reaches only what is wrong.
std::string record_behind_all(const Search& search) {
    const Rerun& rerun = search.rerun();
    const auto only_wrong = [&](const std::vector<bool>& reached) {
        for (std::size_t i = 0; i < reached.size(); ++i)
            if (search.claims()[i].counts && reached[i] && !search.wrong()[i]) return false;
        return true;
    };
    for (std::size_t record = rerun.records(); record-- > 0;) {
        const auto inputs = search.rerun().tape().record(record).inputs();
        std::vector<std::size_t> places;
        for (std::size_t k = 0; k < inputs.size(); ++k) {
            const bool sent = rerun.reached(record) && rerun.sent({record, k});
            if (sent && only_wrong(rerun.reach(inputs[k]))) places.push_back(k);
        }
        if (places.size() > 1 && is_all_that_differs(search, search.reach(std::span(&record, 1), places)))
            return fmt::format("what {} sends to its inputs {}, or what follows", search.places().name(record),
                               fmt::join(places, ", "));
    }
    return {};
}

/// All that is wrong is what one op, wherever it stands, sends to the variable at one place among its inputs.
std::string input_behind_all(const Search& search) {
    std::string behind;
    for (const Node& node : search.rerun().nodes()) {
        if (!node.variable || !search.wrong()[*node.variable]) continue;
        if (node.edges.size() != 1) return {};
        const auto [record, place] = node.edges[0];
        const std::string one = fmt::format("input {} of {}", place, search.places().op(record));
        if (!behind.empty() && behind != one) return {};
        behind = one;
    }
    return behind;
}

}  // namespace

std::optional<Hypothesis> locate(const Search& search) {
    if (std::string sent = gradient_behind_all(search); !sent.empty())
        return Hypothesis{.diagnosis = "not a known mistake, but all that differs hangs on one gradient",
                          .scope = std::move(sent)};
    if (std::string sent = record_behind_all(search); !sent.empty())
        return Hypothesis{.diagnosis = "not a known mistake, but all that differs hangs on the gradients of one op",
                          .scope = std::move(sent)};
    if (std::string input = input_behind_all(search); !input.empty())
        return Hypothesis{.diagnosis = "not a known mistake, but all that differs is of one kind",
                          .scope = std::move(input)};
    return {};
}

}  // namespace xtape::check
