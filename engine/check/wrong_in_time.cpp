#include <xtape/engine/check/wrong_vjps.hpp>
#include <xtape/engine/ops.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xtape::check {
namespace {

// ---- rope

std::optional<Sent> rope_forward(const Site& site) {
    if (site.options<RopeOptions>() == nullptr || !site.indices(1)) return {};
    return with_first(site, rope(site.dy, site.indices(1), *site.options<RopeOptions>()));
}

/// Back is forward at the negative position.
std::optional<Sent> rope_other_pairs(const Site& site) {
    const Indices positions = site.indices(1);
    if (site.options<RopeOptions>() == nullptr || !positions) return {};
    std::vector<std::int32_t> back;
    for (const std::int32_t position : positions.values()) back.push_back(-position);
    RopeOptions options = *site.options<RopeOptions>();
    options.form = options.form == RopeForm::interleaved ? RopeForm::half_split : RopeForm::interleaved;
    return with_first(site, rope(site.dy, indices(back), options));
}

// ---- along time: attention and scans

constexpr Index most_chunks = 256;

/// Where the sequences of a record begin and end.
std::vector<Index> offsets_of(const Site& site, std::size_t place, Index steps) {
    const Indices offsets = site.indices(place);
    if (!offsets) return {0, steps};
    return {offsets.values().begin(), offsets.values().end()};
}

/// Adds rows [begin, end) along time of one tensor to another.
void add_rows(const Tensor<double>& from, std::vector<double>& to, Index steps, Index begin, Index end) {
    const bool in_time = from.shape().rank() > 0 && from.shape()[0] == steps;
    const auto row = static_cast<std::size_t>(in_time ? from.shape().size() / steps : 0);
    const std::size_t first = static_cast<std::size_t>(begin) * row;
    const std::size_t last = in_time ? static_cast<std::size_t>(end) * row : to.size();
    for (std::size_t i = first; i < last; ++i) to[i] += from.data()[i];
}

/// dS = P ⊙ dP in place of P ⊙ (dP − Σ P dP): the kernel takes the sum from the output.
std::optional<Sent> attention_without_sum(const Site& site) {
    return site.vjp_with_output(Tensor<double>::zeros(site.output().shape()));
}

/// dS = P ⊙ (dP + Σ P dP).
std::optional<Sent> attention_with_added_sum(const Site& site) {
    return site.vjp_with_output(scaled(site.output(), -1));
}

std::optional<Sent> attention_scaled(const Site& site, bool twice) {
    const auto* options = site.options<AttentionOptions>();
    if (options == nullptr) return {};
    const Index width = site.input(0).shape()[1] / options->heads;
    const double scale = options->scale == 0 ? 1 / std::sqrt(static_cast<double>(width)) : options->scale;
    Sent sent = site.right;
    for (const std::size_t k : {0u, 1u}) sent[k] = scaled(sent[k], twice ? scale : 1 / scale);
    return sent;
}

}  // namespace

std::optional<Sent> lost_past(const Site& site, int time_axis, std::size_t offsets_place, Index chunk) {
    const Tensor<double> x = site.input(0);
    if (site.dy.shape().rank() <= time_axis || !x || x.shape().rank() == 0) return {};
    const Index steps = site.dy.shape()[time_axis], columns = site.dy.shape().columns();
    if (steps / chunk > most_chunks || x.shape()[0] != steps) return {};
    std::vector<std::vector<double>> sums;
    for (const Tensor<double>& sent : site.right) sums.emplace_back(sent ? sent.values().size() : 0);
    const std::vector<Index> offsets = offsets_of(site, offsets_place, steps);
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
        for (Index begin = offsets[s]; begin < offsets[s + 1]; begin += chunk) {
            const Index end = std::min(begin + chunk, offsets[s + 1]);
            const Sent part = site.vjp(filled(site.dy.shape(), [&](std::size_t i) {
                const Index t = static_cast<Index>(i) / columns % steps;
                return t >= begin && t < end ? site.dy.data()[i] : 0;
            }));
            for (std::size_t k = 0; k < sums.size(); ++k)
                if (site.right[k] && part[k]) add_rows(part[k], sums[k], steps, begin, end);
        }
    }
    Sent sent = site.right;
    for (std::size_t k = 0; k < sent.size(); ++k)
        if (sent[k]) sent[k] = Tensor<double>(sent[k].shape(), sums[k]);
    return sent;
}

void add_mistakes_in_time(std::vector<KnownMistake>& all) {
    all.push_back({"rope", "the gradient is rotated forward instead of back", rope_forward});
    all.push_back({"rope", "the gradient is rotated in the wrong pairs: interleaved for half-split, or the reverse",
                   rope_other_pairs});
    all.push_back({"causal_attention", "the gradient to past keys and values is dropped",
                   [](const Site& s) { return lost_past(s, 0, 3, 1); }});
    all.push_back({"causal_attention", "the sum over the row is missing from the vjp of attention's softmax",
                   attention_without_sum});
    all.push_back({"causal_attention",
                   "the sum over the row is added, not subtracted, in the vjp of attention's softmax",
                   attention_with_added_sum});
    all.push_back({"causal_attention", "attention's scale is left out of the gradients of queries and keys",
                   [](const Site& s) { return attention_scaled(s, false); }});
    all.push_back({"causal_attention", "attention's scale is applied twice to the gradients of queries and keys",
                   [](const Site& s) { return attention_scaled(s, true); }});
    for (const Index chunk : {8, 16, 32, 64, 128, 256}) {
        const std::string what = fmt::format("the carry between chunks of {} steps is lost in the reverse scan", chunk);
        all.push_back({"slot_memory", what, [chunk](const Site& s) { return lost_past(s, 1, 5, chunk); }});
        all.push_back({"causal_scan", what, [chunk](const Site& s) { return lost_past(s, 0, 2, chunk); }});
    }
    for (const auto& [op, axis, place] : {std::tuple{"slot_memory", 1, 5u}, {"causal_scan", 0, 2u}})
        all.push_back({op, "the reverse scan carries nothing from one step to the one before it",
                       [axis = axis, place = place](const Site& s) { return lost_past(s, axis, place, 1); }});
}

}  // namespace xtape::check
