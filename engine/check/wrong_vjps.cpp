#include <xtape/engine/check/wrong_vjps.hpp>
#include <xtape/engine/ops.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace xtape::check {
namespace {

/// A tensor of the shape of another, element by element: f(i).
Tensor<double> filled(const Shape& shape, const auto& f) {
    std::vector<double> values(static_cast<std::size_t>(shape.size()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = f(i);
    return {shape, values};
}

/// The right vjp but for what it sends to input 0.
std::optional<Sent> with_first(const Site& site, Tensor<double> dx) {
    if (!site.right[0]) return {};
    Sent sent = site.right;
    sent[0] = std::move(dx);
    return sent;
}

// ---- norms: dx = first − mean − second, with g = w ⊙ dy: rstd g, rstd mean(g), rstd x̂ mean(g x̂)

/// One element of dx, in its parts.
struct NormElement {
    double first, mean, second, rstd, weight, width;
};

using NormFormula = double (*)(const NormElement&);

/// 1 / r of a row, from what the norm made of it: w (x − mean) / r = y − b.
double rstd_of(std::span<const double> x, std::span<const double> y, double mean, const auto& weight,
               const auto& bias) {
    double above = 0, below = 0;
    for (std::size_t j = 0; j < x.size(); ++j) {
        const double t = weight(j) * (x[j] - mean);
        above += t * (y[j] - bias(j));
        below += t * t;
    }
    return below > 0 ? above / below : 0;
}

std::optional<Sent> norm_vjp(const Site& site, bool centred, NormFormula formula) {
    const Tensor<double> x = site.input(0), y = site.output(), w = site.input(1), b = site.input(2);
    const auto weight = [&](std::size_t j) { return w ? w.data()[j] : 1; };
    const auto bias = [&](std::size_t j) { return b ? b.data()[j] : 0; };
    const auto width = static_cast<std::size_t>(x.shape().columns());
    std::vector<double> dx(x.values().size());
    for (std::size_t at = 0; at < dx.size(); at += width) {
        const auto row = x.values().subspan(at, width);
        const double D = static_cast<double>(width);
        const double centre = centred ? std::accumulate(row.begin(), row.end(), 0.0) / D : 0;
        const double rstd = rstd_of(row, y.values().subspan(at, width), centre, weight, bias);
        double g_mean = 0, gx_mean = 0;
        for (std::size_t j = 0; j < width; ++j) {
            const double g = weight(j) * site.dy.data()[at + j];
            if (centred) g_mean += g / D;
            gx_mean += g * (row[j] - centre) * rstd / D;
        }
        for (std::size_t j = 0; j < width; ++j)
            dx[at + j] = formula({.first = rstd * weight(j) * site.dy.data()[at + j],
                                  .mean = rstd * g_mean,
                                  .second = rstd * (row[j] - centre) * rstd * gx_mean,
                                  .rstd = rstd,
                                  .weight = weight(j),
                                  .width = D});
    }
    return with_first(site, {x.shape(), dx});
}

/// g = dy, the weight forgotten.
std::optional<Sent> norm_without_weight(const Site& site) {
    const Tensor<double> w = site.input(1);
    if (!w) return {};
    const auto width = w.values().size();
    return with_first(
        site,
        site.vjp(filled(site.dy.shape(), [&](std::size_t i) { return site.dy.data()[i] / w.data()[i % width]; }))[0]);
}

void add_norms(std::vector<KnownMistake>& all) {
    struct Row {
        const char* what;
        NormFormula dx;
    };
    constexpr Row rows[] = {
        {"the second term of the norm's vjp is missing", [](const NormElement& e) { return e.first - e.mean; }},
        {"the second term of the norm's vjp lacks a factor 1/r: divided by D r², not D r³",
         [](const NormElement& e) { return e.first - e.mean - e.second / e.rstd; }},
        {"the second term of the norm's vjp has a factor 1/r too many",
         [](const NormElement& e) { return e.first - e.mean - e.second * e.rstd; }},
        {"the norm's weight multiplies the second term of its vjp too: an extra factor",
         [](const NormElement& e) { return e.first - e.mean - e.second * e.weight; }},
        {"the second term of the norm's vjp is not divided by the width",
         [](const NormElement& e) { return e.first - e.mean - e.second * e.width; }},
        {"the second term of the norm's vjp has the wrong sign",
         [](const NormElement& e) { return e.first - e.mean + e.second; }},
        {"the norm's vjp lacks the factor 1/r",
         [](const NormElement& e) { return (e.first - e.mean - e.second) / e.rstd; }},
        {"the mean of the cotangent is not subtracted in the norm's vjp",
         [](const NormElement& e) { return e.first - e.second; }},
        {"the norm's vjp is only its first term", [](const NormElement& e) { return e.first; }},
    };
    for (const auto& [op, centred] : {std::pair{"rms_norm", false}, {"layer_norm", true}}) {
        for (const Row& row : rows)
            all.push_back(
                {op, row.what, [centred = centred, dx = row.dx](const Site& s) { return norm_vjp(s, centred, dx); }});
        all.push_back({op, "the norm's weight is left out of the gradient of its input", norm_without_weight});
    }
}

// ---- rope

std::optional<Sent> rope_forward(const Site& site) {
    return with_first(site, rope(site.dy, site.indices(1), *site.options<RopeOptions>()));
}

/// Back is forward at the negative position.
std::optional<Sent> rope_other_pairs(const Site& site) {
    const Indices positions = site.indices(1);
    std::vector<std::int32_t> back;
    for (const std::int32_t position : positions.values()) back.push_back(-position);
    RopeOptions options = *site.options<RopeOptions>();
    options.form = options.form == RopeForm::interleaved ? RopeForm::half_split : RopeForm::interleaved;
    return with_first(site, rope(site.dy, indices(back), options));
}

// ---- along time: attention and scans

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
    const AttentionOptions& options = *site.options<AttentionOptions>();
    const double width = static_cast<double>(site.input(0).shape()[1] / options.heads);
    const double scale = options.scale == 0 ? 1 / std::sqrt(width) : options.scale;
    Sent sent = site.right;
    for (const std::size_t k : {0, 1}) sent[k] = scaled(sent[k], twice ? scale : 1 / scale);
    return sent;
}

void add_along_time(std::vector<KnownMistake>& all) {
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
    return smoothed_by(site, -site.options<CrossEntropyOptions>()->label_smoothing);
}

std::optional<Sent> target_not_subtracted(const Site& site) {
    return cross_entropy_plus(site, [](bool is_target) { return is_target ? 1 : 0; });
}

/// The clamp of a probability to [1e-7, 1 − 1e-7], and its slope of zero.
std::optional<Sent> clamped_probability(const Site& site) {
    const Tensor<double> logits = site.input(0);
    const double limit = std::log((1 - 1e-7) / 1e-7);
    return with_first(site, filled(logits.shape(), [&](std::size_t i) {
                          return std::abs(logits.data()[i]) < limit ? site.right[0].data()[i] : 0;
                      }));
}

/// A row of the table gets only the gradient of the last position that reads it.
std::optional<Sent> embedding_overwritten(const Site& site) {
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
    const MatmulOptions options = *site.options<MatmulOptions>();
    if (w.shape().rank() != 2 || w.shape()[0] != w.shape()[1] || options.transpose_a) return {};
    return with_first(site, matmul(site.dy, w, {.transpose_b = options.transpose_b}));
}

std::optional<Sent> weight_gradient_transposed(const Site& site) {
    if (!site.right[1] || site.right[1].shape().rank() != 2 || site.right[1].shape()[0] != site.right[1].shape()[1])
        return {};
    Sent sent = site.right;
    sent[1] = transpose(sent[1]);
    return sent;
}

void add_products(std::vector<KnownMistake>& all) {
    for (const std::string_view op : {"matmul", "linear"}) {
        all.push_back({op, "the weight is not transposed in the gradient of the input", weight_not_transposed});
        all.push_back({op, "the weight's gradient is transposed", weight_gradient_transposed});
    }
    all.push_back({"silu", "the second term of the product rule is missing from silu's vjp: only σ(x) dy",
                   [](const Site& s) { return with_first(s, mul(s.dy, sigmoid(s.input(0)))); }});
}

// ---- of any op

/// As if the op were not there. Other inputs get what is theirs.
std::optional<Sent> passed_on(const Site& site) {
    if (site.right.empty() || !site.right[0] || site.right[0].shape() != site.dy.shape()) return {};
    return with_first(site, site.dy);
}

/// Its input 0 must be a value that some record made.
std::optional<Sent> evaluated_at(const Site& site, const Tensor<double>& x) {
    const auto inputs = site.rerun.tape().record(site.index).inputs();
    const bool made = !inputs.empty() && inputs[0] != detail::no_value && site.rerun.producer(inputs[0]);
    if (!made || !x || x.shape() != site.input(0).shape()) return {};
    return site.vjp_at(x);
}

/// At an input of the op that made its input.
std::optional<Sent> evaluated_before(const Site& site, std::size_t place) {
    const auto inputs = site.rerun.tape().record(site.index).inputs();
    if (inputs.empty() || inputs[0] == detail::no_value) return {};
    const auto producer = site.rerun.producer(inputs[0]);
    if (!producer) return {};
    const auto earlier = site.rerun.tape().record(*producer).inputs();
    if (place >= earlier.size() || earlier[place] == detail::no_value) return {};
    return evaluated_at(site, site.rerun.tape().tensor(earlier[place]));
}

std::optional<Sent> clamped(const Site& site, double limit) {
    const auto beyond = [limit](double v) { return std::abs(v) > limit; };
    if (std::ranges::none_of(site.dy.values(), beyond)) return {};
    return site.vjp(
        filled(site.dy.shape(), [&](std::size_t i) { return std::clamp(site.dy.data()[i], -limit, limit); }));
}

/// Which part of a cotangent is read.
struct Part {
    bool columns, first, alone;  ///< of its rows or columns the first or last: alone, or all but that
    const char* what;

    Tensor<double> of(const Tensor<double>& dy) const {
        const auto width = static_cast<std::size_t>(dy.shape().rank() == 0 ? 1 : dy.shape().columns());
        const std::size_t rows = dy.values().size() / width, end = (columns ? width : rows) - 1;
        return filled(dy.shape(), [&](std::size_t i) {
            const bool chosen = (columns ? i % width : i / width) == (first ? 0 : end);
            return chosen == alone ? dy.data()[i] : 0;
        });
    }
};

/// What a part of the cotangent sends, to all inputs or to one, the others getting what is theirs.
std::optional<Sent> of_part(const Site& site, const Part& part, std::optional<std::size_t> input) {
    if (site.dy.values().size() < 2 || (input && (*input >= site.right.size() || !site.right[*input]))) return {};
    const Sent sent = site.vjp(part.of(site.dy));
    if (!input) return sent;
    Sent one = site.right;
    one[*input] = sent[*input];
    return one;
}

void add_parts(std::vector<KnownMistake>& all) {
    constexpr Part parts[] = {
        {false, false, true, "only the last row of the cotangent is read"},
        {false, true, true, "only the first row of the cotangent is read"},
        {false, false, false, "the last row of the cotangent is left out"},
        {false, true, false, "the first row of the cotangent is left out"},
        {true, false, false, "the last column of the cotangent is left out"},
        {true, true, false, "the first column of the cotangent is left out"},
    };
    for (const Part& part : parts) {
        all.push_back({"", part.what, [part](const Site& s) { return of_part(s, part, {}); }});
        for (const std::size_t input : {0u, 1u, 2u})
            all.push_back({"",
                           fmt::format("{} in the gradient of input {}{}", part.what, input,
                                       part.alone ? ": overwritten instead of accumulated?" : ""),
                           [part, input](const Site& s) { return of_part(s, part, input); }});
    }
}

/// What is meant for one input goes to another of its shape.
std::optional<Sent> exchanged(const Site& site, std::size_t one, std::size_t other) {
    const Sent& right = site.right;
    if (other >= right.size() || !right[one] || !right[other] || right[one].shape() != right[other].shape()) return {};
    Sent sent = right;
    std::swap(sent[one], sent[other]);
    return sent;
}

void add_any(std::vector<KnownMistake>& all) {
    all.push_back(
        {"", "the gradients of its first two inputs are exchanged", [](const Site& s) { return exchanged(s, 0, 1); }});
    all.push_back({"", "the gradients of its second and third inputs are exchanged",
                   [](const Site& s) { return exchanged(s, 1, 2); }});
    all.push_back({"", "the gradient is passed on unchanged, as if the op were not there", passed_on});
    all.push_back({"", "the vjp is evaluated at the op's output instead of its input",
                   [](const Site& s) { return evaluated_at(s, s.output()); }});
    all.push_back({"", "the vjp is evaluated at another value: the first operand of what made its input",
                   [](const Site& s) { return evaluated_before(s, 0); }});
    all.push_back({"", "the vjp is evaluated at another value: the second operand of what made its input",
                   [](const Site& s) { return evaluated_before(s, 1); }});
    for (const double limit : {1.0, 5.0, 10.0, 50.0, 100.0})
        all.push_back({"", fmt::format("the gradient of the op's output is clamped to ±{}", limit),
                       [limit](const Site& s) { return clamped(s, limit); }});
}

}  // namespace

Tensor<double> scaled(const Tensor<double>& x, double c) {
    return x ? filled(x.shape(), [&](std::size_t i) { return c * x.data()[i]; }) : x;
}

std::optional<Sent> lost_past(const Site& site, int time_axis, std::size_t offsets_place, Index chunk) {
    const Index steps = site.dy.shape()[time_axis];
    const Index columns = site.dy.shape().columns();
    if (steps / chunk > 1024 || site.input(0).shape()[0] != steps) return {};
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

const std::vector<KnownMistake>& known_mistakes() {
    static const std::vector<KnownMistake> all = [] {
        std::vector<KnownMistake> mistakes;
        add_norms(mistakes);
        add_along_time(mistakes);
        add_losses(mistakes);
        add_products(mistakes);
        add_any(mistakes);
        add_parts(mistakes);
        return mistakes;
    }();
    return all;
}

}  // namespace xtape::check
