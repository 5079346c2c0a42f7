#include <xtape/engine/check/wrong_vjps.hpp>
#include <xtape/engine/ops.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xtape::check {
namespace {

// An op is known by its name alone: each checks that it finds the inputs and options that it expects.

// ---- softmax and losses

std::optional<Sent> softmax_diagonal(const Site& site) {
    const Tensor<double> y = site.output();
    return with_first(site, filled(y.shape(), [&](std::size_t i) { return y.data()[i] * site.dy.data()[i]; }));
}

std::optional<Sent> softmax_own_slope(const Site& site) {
    const Tensor<double> y = site.output();
    return with_first(
        site, filled(y.shape(), [&](std::size_t i) { return y.data()[i] * (1 - y.data()[i]) * site.dy.data()[i]; }));
}

/// dlogits with `change` (target or not) times dy / count added to it, in rows that count.
std::optional<Sent> cross_entropy_plus(const Site& site, const auto& change) {
    const Indices targets = site.indices(1);
    if (!targets || !site.right[0]) return {};
    const auto columns = static_cast<std::size_t>(site.input(0).shape().columns());
    const auto right = site.right[0].values();
    const auto counts = [&](std::size_t row) {
        return std::ranges::any_of(right.subspan(row * columns, columns), [](double v) { return v != 0; });
    };
    double count = 0;
    for (std::size_t row = 0; row < targets.values().size(); ++row) count += counts(row) ? 1 : 0;
    const double d = site.dy.item() / count;
    return with_first(site, filled(site.input(0).shape(), [&](std::size_t i) {
                          const bool is_target = static_cast<std::size_t>(targets.data()[i / columns]) == i % columns;
                          return right[i] + (counts(i / columns) ? d * change(is_target) : 0);
                      }));
}

/// Of the loss smoothed by `epsilon` more.
std::optional<Sent> smoothed_by(const Site& site, double epsilon) {
    const double V = static_cast<double>(site.input(0).shape().columns());
    return cross_entropy_plus(site, [&](bool is_target) { return epsilon * ((is_target ? 1 : 0) - 1 / V); });
}

std::optional<Sent> not_smoothed(const Site& site) {
    const auto* options = site.options<CrossEntropyOptions>();
    return options != nullptr ? smoothed_by(site, -options->label_smoothing) : std::nullopt;
}

std::optional<Sent> target_not_subtracted(const Site& site) {
    return cross_entropy_plus(site, [](bool is_target) { return is_target ? 1 : 0; });
}

/// The clamp of a probability to [1e-7, 1 − 1e-7], and its slope of zero.
std::optional<Sent> clamped_probability(const Site& site) {
    const Tensor<double> logits = site.input(0);
    if (!site.right[0]) return {};
    const double limit = std::log((1 - 1e-7) / 1e-7);
    return with_first(site, filled(logits.shape(), [&](std::size_t i) {
                          return std::abs(logits.data()[i]) < limit ? site.right[0].data()[i] : 0;
                      }));
}

/// A row of the table gets only the gradient of the last position that reads it.
std::optional<Sent> embedding_overwritten(const Site& site) {
    if (!site.indices(1) || !site.right[0]) return {};
    const auto ids = site.indices(1).values();
    const auto width = static_cast<std::size_t>(site.dy.shape().columns());
    std::vector<double> table(site.right[0].values().size());
    for (std::size_t t = 0; t < ids.size(); ++t)
        std::ranges::copy(site.dy.values().subspan(t * width, width),
                          table.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(ids[t]) * width));
    return with_first(site, {site.right[0].shape(), table});
}

void add_losses(std::vector<KnownMistake>& all) {
    all.push_back({"softmax", "the sum over the row is missing from softmax's vjp", softmax_diagonal});
    all.push_back({"softmax", "softmax's vjp is only the diagonal of its Jacobian", softmax_own_slope});
    all.push_back({"log_softmax", "the sum over the row is missing from log_softmax's vjp",
                   [](const Site& s) { return with_first(s, s.dy); }});
    for (const double epsilon : {0.1, 0.05, 0.2})
        all.push_back({"cross_entropy",
                       fmt::format("the gradient is that of a loss with {} more label smoothing", epsilon),
                       [epsilon](const Site& s) { return smoothed_by(s, epsilon); }});
    all.push_back({"cross_entropy", "the label smoothing of the loss is left out of its gradient", not_smoothed});
    all.push_back(
        {"cross_entropy", "the target is not subtracted: the gradient is the softmax alone", target_not_subtracted});
    all.push_back({"binary_cross_entropy_with_logits",
                   "the probability is clamped to [1e-7, 1 - 1e-7]: no gradient beyond a logit of 16",
                   clamped_probability});
    all.push_back({"embedding", "rows are overwritten instead of accumulated: the last position of an id counts alone",
                   embedding_overwritten});
}

// ---- products

/// dx = dy W in place of dy Wᵀ, for a square W.
std::optional<Sent> weight_not_transposed(const Site& site) {
    const Tensor<double> w = site.input(1);
    const auto* options = site.options<MatmulOptions>();
    if (options == nullptr || options->transpose_a) return {};
    if (!w || w.shape().rank() != 2 || w.shape()[0] != w.shape()[1]) return {};
    Tensor<double> dz = site.dy;
    if (options->relu) {
        const Tensor<double> y = site.output();
        dz = filled(y.shape(), [&](std::size_t i) { return y.data()[i] > 0 ? site.dy.data()[i] : 0; });
    }
    return with_first(site, matmul(dz, w, {.transpose_b = options->transpose_b}));
}

std::optional<Sent> weight_gradient_transposed(const Site& site) {
    Sent sent = site.right;
    if (sent.size() < 2 || !sent[1] || sent[1].shape().rank() != 2 || sent[1].shape()[0] != sent[1].shape()[1])
        return {};
    sent[1] = transpose(sent[1]);
    return sent;
}

void add_products(std::vector<KnownMistake>& all) {
    for (const std::string_view op : products) {
        all.push_back({op, "the weight is not transposed in the gradient of the input", weight_not_transposed});
        all.push_back({op, "the weight's gradient is transposed", weight_gradient_transposed});
    }
    all.push_back({"silu", "the second term of the product rule is missing from silu's vjp: only σ(x) dy",
                   [](const Site& s) { return with_first(s, mul(s.dy, sigmoid(s.input(0)))); }});
}

}  // namespace

Tensor<double> scaled(const Tensor<double>& x, double c) {
    return x ? filled(x.shape(), [&](std::size_t i) { return c * x.data()[i]; }) : x;
}

std::optional<Sent> with_first(const Site& site, Tensor<double> dx) {
    if (!site.right[0]) return {};
    Sent sent = site.right;
    sent[0] = std::move(dx);
    return sent;
}

const std::vector<KnownMistake>& known_mistakes() {
    static const std::vector<KnownMistake> all = [] {
        std::vector<KnownMistake> mistakes;
        add_norm_mistakes(mistakes);
        add_mistakes_in_time(mistakes);
        add_losses(mistakes);
        add_products(mistakes);
        add_mistakes_of_any_op(mistakes);
        return mistakes;
    }();
    return all;
}

}  // namespace xtape::check
