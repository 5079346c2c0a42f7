#include <xtape/engine/error.hpp>
#include <xtape/models/text/sampler.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <fmt/format.h>

namespace xtape::models {

namespace {

/// A token and its probability, but for a common factor.
struct Candidate {
    std::int32_t token;
    float logit;
    double weight;
};

bool likelier(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

double mass(const std::vector<Candidate>& candidates) {
    return std::accumulate(candidates.begin(), candidates.end(), 0.0,
                           [](double sum, const Candidate& candidate) { return sum + candidate.weight; });
}

void keep_top_k(std::vector<Candidate>& candidates, std::size_t k) {
    if (k >= candidates.size()) return;
    std::ranges::nth_element(candidates, candidates.begin() + static_cast<std::ptrdiff_t>(k), likelier);
    candidates.resize(k);
}

void keep_top_p(std::vector<Candidate>& candidates, double p) {
    const double total = mass(candidates);
    // All those below this weight together weigh less than 1 − p: they need not be sorted.
    const double negligible = (1 - p) * total / static_cast<double>(candidates.size());
    std::erase_if(candidates, [&](const Candidate& candidate) { return candidate.weight < negligible; });
    std::ranges::sort(candidates, likelier);
    double reached = 0;
    const auto last = std::ranges::find_if(
        candidates, [&](double weight) { return (reached += weight) >= p * total; }, &Candidate::weight);
    if (last != candidates.end()) candidates.erase(last + 1, candidates.end());
}

}  // namespace

std::int32_t sample(std::span<const float> logits, const SamplerOptions& options, nn::Rng& rng) {
    if (!(options.temperature >= 0) || options.top_k < 0 || !(options.top_p > 0 && options.top_p <= 1))
        throw ValueError(
            fmt::format("sample: temperature and top_k must be at least 0, top_p above 0 and at most 1: "
                        "temperature is {}, top_k is {}, top_p is {}",
                        options.temperature, options.top_k, options.top_p));
    if (logits.empty()) throw ValueError("sample: there are no logits to choose from");
    if (!std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }))
        throw ValueError("sample: the logits are not finite; the model is broken");
    const auto likeliest = std::ranges::max_element(logits);
    if (options.temperature == 0) return static_cast<std::int32_t>(likeliest - logits.begin());

    std::vector<Candidate> candidates;
    candidates.reserve(logits.size());
    for (const float logit : logits) {
        const double below = static_cast<double>(logit) - static_cast<double>(*likeliest);
        candidates.push_back(
            {static_cast<std::int32_t>(candidates.size()), logit, std::exp(below / options.temperature)});
    }
    if (options.top_k > 0) keep_top_k(candidates, static_cast<std::size_t>(options.top_k));
    if (options.top_p < 1) keep_top_p(candidates, options.top_p);
    double left = rng.uniform() * mass(candidates);
    for (const Candidate& candidate : candidates) {
        left -= candidate.weight;
        if (left < 0) return candidate.token;
    }
    return static_cast<std::int32_t>(likeliest - logits.begin());
}

}  // namespace xtape::models
