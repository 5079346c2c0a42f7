#include <xtape/engine/error.hpp>
#include <xtape/models/text/corpus.hpp>
#include <xtape/nn/init.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace xtape::models {

TextCorpus::TextCorpus(const Text& text, const Tokenizer& tokenizer, double val_fraction, std::string_view source) {
    if (!(val_fraction >= 0 && val_fraction < 1))
        throw ValueError(
            fmt::format("corpus: the validation fraction is at least 0 and below 1: it is {}", val_fraction));
    if (tokenizer.vocab() > 65536) tokens_.emplace<std::deque<std::int32_t>>();
    std::visit(
        [&](auto& tokens) {
            using Stored = typename std::remove_reference_t<decltype(tokens)>::value_type;
            const auto push = [&](std::int32_t token) { tokens.push_back(static_cast<Stored>(token)); };
            text.for_each_piece([&](std::string_view piece) { tokenizer.encode(piece, push); });
        },
        tokens_);
    training_end_ = size() - static_cast<Index>(val_fraction * static_cast<double>(size()));
    if (training().size() < 2 || (val_fraction > 0 && validation().size() < 2))
        throw FileError(fmt::format("{}: too short: {} tokens to train on and {} to validate; a part needs at least 2",
                                    source, training().size(), validation().size()));
}

Index TextCorpus::size() const {
    return std::visit([](const auto& tokens) { return static_cast<Index>(tokens.size()); }, tokens_);
}

Batch TextCorpus::batch(std::span<const Window> windows) const {
    std::vector<std::vector<std::int32_t>> sequences;
    for (const Window& window : windows) {
        if (window.begin < 0 || window.positions < 1 || window.positions >= size() - window.begin)
            throw ValueError(fmt::format("corpus: a window of {} positions at {} reaches outside the {} tokens",
                                         window.positions, window.begin, size()));
        std::visit(
            [&](const auto& tokens) {
                const auto first = tokens.begin() + window.begin;
                sequences.emplace_back(first, first + window.positions + 1);
            },
            tokens_);
    }
    return pack(sequences);
}

std::vector<Window> random_windows(TokenRange range, Index context, Index count, std::uint64_t seed, Index draw) {
    if (range.size() < 2 || context < 1 || count < 1)
        throw ValueError(fmt::format("windows: {} windows of {} positions cannot be drawn from {} tokens", count,
                                     context, range.size()));
    const Index positions = std::min(context, range.size() - 1);
    nn::Rng rng(seed + 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(draw + 1));
    std::vector<Window> windows;
    for (Index i = 0; i < count; ++i) windows.push_back({range.begin + rng.below(range.size() - positions), positions});
    return windows;
}

std::vector<Window> side_by_side_windows(TokenRange range, Index context, Index offset) {
    if (context < 1 || offset < 0)
        throw ValueError(fmt::format("windows: {} positions from {} tokens on are not possible", context, offset));
    std::vector<Window> windows;
    for (Index begin = range.begin + offset; begin + 1 < range.end; begin += context)
        windows.push_back({begin, std::min(context, range.end - 1 - begin)});
    return windows;
}

}  // namespace xtape::models
