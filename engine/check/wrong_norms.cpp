#include <xtape/engine/check/wrong_vjps.hpp>

#include <numeric>

namespace xtape::check {
namespace {

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
    if (!x || x.shape().rank() == 0) return {};
    const auto width = static_cast<std::size_t>(x.shape().columns());
    const auto is_row = [&](const Tensor<double>& row) { return !row || row.values().size() == width; };
    if (y.shape() != x.shape() || !is_row(w) || !is_row(b)) return {};
    std::vector<double> dx(x.values().size());
    for (std::size_t at = 0; at < dx.size(); at += width) {
        const auto row = x.values().subspan(at, width);
        const auto D = static_cast<double>(width);
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

/// dw formed with x in place of x̂ = (x − mean) / r, or with the output.
std::optional<Sent> norm_weight_from(const Site& site, const Tensor<double>& x) {
    if (site.right.size() < 2 || !site.right[1] || x.shape() != site.dy.shape()) return {};
    std::vector<double> dw(site.right[1].values().size());
    if (dw.size() != static_cast<std::size_t>(x.shape().columns())) return {};
    for (std::size_t i = 0; i < x.values().size(); ++i) dw[i % dw.size()] += site.dy.data()[i] * x.data()[i];
    Sent sent = site.right;
    sent[1] = Tensor<double>(sent[1].shape(), dw);
    return sent;
}

/// g = dy, the weight forgotten.
std::optional<Sent> norm_without_weight(const Site& site) {
    const Tensor<double> w = site.input(1);
    if (!w || w.shape() != Shape{site.dy.shape().columns()}) return {};
    const auto width = w.values().size();
    return with_first(
        site,
        site.vjp(filled(site.dy.shape(), [&](std::size_t i) { return site.dy.data()[i] / w.data()[i % width]; }))[0]);
}

}  // namespace

void add_norm_mistakes(std::vector<KnownMistake>& all) {
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
        all.push_back({op, "the gradient of the norm's weight is formed with its input, which is not normalised",
                       [](const Site& s) { return norm_weight_from(s, s.input(0)); }});
        all.push_back({op, "the gradient of the norm's weight is formed with its output, which has the weight in it",
                       [](const Site& s) { return norm_weight_from(s, s.output()); }});
    }
}

}  // namespace xtape::check
