#include <xtape/engine/error.hpp>
#include <xtape/models/text/sampler.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <fmt/format.h>

namespace xtape::models {

std::int32_t sample(std::span<const float> logits, const SamplerOptions& options, nn::Rng& rng) {
    if (options.temperature < 0 || options.top_k < 0 || !(options.top_p > 0 && options.top_p <= 1))
        throw ValueError(
            fmt::format("sample: temperature and top_k must be at least 0, top_p above 0 and at most 1: "
                        "temperature is {}, top_k is {}, top_p is {}",
                        options.temperature, options.top_k, options.top_p));
    if (!std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }))
        throw ValueError("sample: the logits are not finite; the model is broken");
    std::vector<std::int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto logit = [&](std::int32_t token) { return static_cast<double>(logits[static_cast<std::size_t>(token)]); };
    std::ranges::stable_sort(order, std::ranges::greater(), logit);
    if (options.temperature == 0) return order.front();

    std::size_t kept = order.size();
    if (options.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options.top_k));
    std::vector<double> weight(kept);
    for (std::size_t i = 0; i < kept; ++i)
        weight[i] = std::exp((logit(order[i]) - logit(order[0])) / options.temperature);
    const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
    double mass = 0;
    for (std::size_t i = 0; i < kept; ++i) {
        mass += weight[i];
        if (mass >= options.top_p * total) kept = i + 1;
    }
    double left =
        rng.uniform() * std::accumulate(weight.begin(), weight.begin() + static_cast<std::ptrdiff_t>(kept), 0.0);
    for (std::size_t i = 0; i + 1 < kept; ++i) {
        left -= weight[i];
        if (left < 0) return order[i];
    }
    return order[kept - 1];
}

}  // namespace xtape::models
