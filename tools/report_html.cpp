#include <xtape/tools/report_html.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

constexpr std::string_view style = R"(
:root { color-scheme: light dark; --ink: #1c2128; --soft: #59636e; --paper: #fff; --line: #d1d9e0; --cell: #eef1f4;
        --good: #1a7f37; --bad: #cf222e; --open: #9a6700; --hot: #cf222e; --nan: #8250df; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --line: #3d444d; --cell: #1f2630;
          --good: #3fb950; --bad: #f85149; --open: #d29922; --hot: #ff6b5e; --nan: #bc8cff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 75rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; width: 100%; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.text { white-space: normal; min-width: 10rem; }
.agree { color: var(--good); } .wrong { color: var(--bad); } .open { color: var(--open); }
.verdict { font-weight: 600; border-left: .3rem solid; padding: .4rem .8rem; background: var(--cell); }
.note { color: var(--soft); font-size: .85rem; }
.bar { position: relative; width: 11rem; height: .8rem; margin-top: .3rem; background: var(--cell); }
.bar i { position: absolute; inset: 0 auto 0 0; background: currentcolor; }
.bar b { position: absolute; top: -.15rem; bottom: -.15rem; width: 2px; background: var(--ink); }
svg { background: var(--cell); max-width: 100%; height: auto; border: 1px solid var(--line); }
svg .h { fill: var(--hot); } svg .n { fill: var(--nan); } svg .w { fill: none; stroke: var(--ink); stroke-width: .12; }
.scale { display: inline-block; width: 10rem; height: .7rem;
         background: linear-gradient(to right, var(--cell), var(--hot)); }
)";

constexpr std::size_t most_cells = 64;   // of the heat map, each way
constexpr double faintest_error = 1e-8;  // relative; what is below has no colour

std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text) {
        switch (c) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '"':
                result += "&quot;";
                break;
            case '\'':
                result += "&#39;";
                break;
            default:
                result += c;
        }
    }
    return result;
}

std::string_view class_of(const GradRow& row) {
    return differs(row) ? "wrong" : row.verdict == Verdict::agree ? "agree" : "open";
}

/// 0 to 1 on a log scale.
double on_log_scale(double value, double low, double high) {
    if (!(value > low)) return value > 0 || value <= low ? 0 : 1;  // NaN is as bad as can be
    return std::min(1.0, std::log(value / low) / std::log(high / low));
}

/// The relative error from 1e-16 to 1, with a mark at what still agrees.
std::string bar(const GradRow& row, double factor) {
    constexpr double low = 1e-16;
    const double tolerance = row.truth_max > 0 ? factor * row.noise / row.truth_max : 0;
    return fmt::format(
        "<div class=\"bar {}\" title=\"{:.1e}; up to {:.1e} agrees\"><i style=\"width:{:.1f}%\"></i>"
        "<b style=\"left:{:.1f}%\"></b></div>",
        class_of(row), row.relative, tolerance, 100 * on_log_scale(row.relative, low, 1),
        100 * on_log_scale(tolerance, low, 1));
}

std::string line_of(const GradRow& row, double factor) {
    return fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{:.2e}</td>"
        "<td class=\"number\">{:.2e}</td><td class=\"number\">{:.7f}</td><td class=\"number\">{:.3g}</td>"
        "<td class=\"{}\">{}</td><td class=\"text\">{}</td></tr>\n",
        escaped(row.name), to_string(row.shape), row.precision, bar(row, factor), row.relative, row.max_error,
        row.cosine, row.noise_ratio, class_of(row), to_string(row.verdict), escaped(row.diagnosis));
}

std::string table_of(const HtmlReport& report) {
    std::string html = fmt::format(
        "<h3>{}</h3>\n<div class=\"scroll\"><table>\n<tr><th>name</th><th>shape</th><th>in</th><th>relative error</th>"
        "<th></th><th class=\"number\">max error</th><th class=\"number\">cosine</th><th class=\"number\">noise "
        "floors</th><th>verdict</th><th>diagnosis</th></tr>\n",
        report.cases.empty() ? "Forward and gradients" : "The worst case of each");
    if (report.forward) html += line_of(*report.forward, report.factor);
    for (const GradRow& row : report.rows) html += line_of(row, report.factor);
    return html +
           fmt::format(
               "</table></div>\n<p class=\"note\">The relative error is max|error| / max|truth| of the whole "
               "tensor, its bar on a log scale from 1e-16 to 1. The mark is at {:g} noise floors, up to which it "
               "agrees.</p>\n",
               report.factor);
}

std::string table_of(std::span<const HtmlCase> cases) {
    if (cases.empty()) return {};
    std::string html =
        "<h3>Cases</h3>\n<div class=\"scroll\"><table>\n<tr><th>settings</th><th>verdict</th><th class=\"number\">"
        "forward</th><th class=\"number\">backward</th><th class=\"number\">finite differences</th><th "
        "class=\"number\">in f32, noise floors</th></tr>\n";
    for (const HtmlCase& one : cases)
        html += fmt::format(
            "<tr><td class=\"text\">{}</td><td class=\"{}\">{}</td><td class=\"number\">{:.1e}</td><td "
            "class=\"number\">{:.1e}</td><td class=\"number\">{}</td><td class=\"number\">{:.2f}</td></tr>\n",
            escaped(one.settings), one.agree ? "agree" : "wrong", one.agree ? "agree" : "differs", one.forward,
            one.backward, one.differences ? fmt::format("{:.1e}", *one.differences) : "", one.noise_ratio);
    return html + "</table></div>\n";
}

double error_at(const WorstTensor& tensor, std::size_t i) {
    const double error = std::abs(tensor.candidate[i] - tensor.truth[i]);
    return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

std::string element_at(const WorstTensor& tensor, std::size_t i) {
    return fmt::format("{}: {:.6g}, should be {:.6g}", place_of(static_cast<Index>(i), tensor.row.shape),
                       tensor.candidate[i], tensor.truth[i]);
}

/// The tensor as rows and columns, and how many cells each way stand for them.
struct Grid {
    std::size_t rows, columns, high, wide;

    explicit Grid(const Shape& shape)
        : rows(static_cast<std::size_t>(shape.rows())),
          columns(static_cast<std::size_t>(shape.columns())),
          high(std::min(rows, most_cells)),
          wide(std::min(columns, most_cells)) {}

    bool whole() const { return high == rows && wide == columns; }
    std::size_t cell_of(std::size_t i) const { return i / columns * high / rows * wide + i % columns * wide / columns; }
};

std::string description_of(const WorstTensor& tensor, double factor) {
    const GradRow& row = tensor.row;
    const Grid grid(row.shape);
    std::string html =
        fmt::format("<h3>{}: where it is off</h3>\n<p>{} in {}{}{}. ", escaped(row.name), to_string(row.shape),
                    row.precision, tensor.settings.empty() ? "" : ", ", escaped(tensor.settings));
    std::optional<std::size_t> first;
    std::size_t over = 0;
    for (std::size_t i = 0; i < tensor.truth.size(); ++i) {
        if (error_at(tensor, i) <= factor * row.noise) continue;
        if (!first) first = i;
        ++over;
    }
    if (first) html += fmt::format("First over the tolerance at {}. ", element_at(tensor, *first));
    if (row.worst) html += fmt::format("Worst at {}. ", element_at(tensor, static_cast<std::size_t>(*row.worst)));
    html += fmt::format("{} of {} elements are over the tolerance.</p>\n", over, row.shape.size());
    html += heat_map(tensor);
    html += R"(<p class="note">|error| / max|truth|: 1e-8 <span class="scale"></span> 1; purple is not finite.)";
    if (!grid.whole())
        html += fmt::format(" Each of the {} × {} cells shows the worst of its elements.", grid.high, grid.wide);
    return html + "</p>\n";
}

}  // namespace

std::string heat_map(const WorstTensor& tensor) {
    const Grid grid(tensor.row.shape);
    std::vector<std::optional<std::size_t>> worst(grid.high * grid.wide);
    for (std::size_t i = 0; i < tensor.truth.size(); ++i) {
        std::optional<std::size_t>& cell = worst[grid.cell_of(i)];
        if (!cell || error_at(tensor, i) > error_at(tensor, *cell)) cell = i;
    }
    const double largest = tensor.row.truth_max;
    const std::size_t pixels = std::clamp<std::size_t>(640 / std::max<std::size_t>({grid.high, grid.wide, 1}), 10, 32);
    std::string svg = fmt::format(
        "<svg role=\"img\" aria-label=\"errors of {}\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" "
        "shape-rendering=\"crispEdges\">\n",
        escaped(tensor.row.name), grid.wide, grid.high, grid.wide * pixels, grid.high * pixels);
    for (std::size_t cell = 0; cell < worst.size(); ++cell) {
        if (!worst[cell]) continue;
        const double error = error_at(tensor, *worst[cell]);
        const double relative = largest > 0 ? error / largest : (error > 0 ? 1 : 0);
        svg += fmt::format(
            "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"1\" height=\"1\" "
            "fill-opacity=\"{:.2f}\"><title>{}</title></rect>\n",
            std::isfinite(error) ? "h" : "n", cell % grid.wide, cell / grid.wide,
            on_log_scale(relative, faintest_error, 1), element_at(tensor, *worst[cell]));
    }
    if (tensor.row.worst && !worst.empty()) {
        const std::size_t cell = grid.cell_of(static_cast<std::size_t>(*tensor.row.worst));
        svg += fmt::format("<rect class=\"w\" x=\"{}\" y=\"{}\" width=\"1\" height=\"1\"/>\n", cell % grid.wide,
                           cell / grid.wide);
    }
    return svg + "</svg>\n";
}

std::string html_section(const HtmlReport& report) {
    std::string html = fmt::format("<section>\n<h2>{}</h2>\n<p class=\"verdict {}\">{}</p>\n", escaped(report.title),
                                   report.agree ? "agree" : "wrong", escaped(report.summary));
    for (const std::string& note : report.notes) html += fmt::format("<p>{}</p>\n", escaped(note));
    html += table_of(report);
    if (report.worst) html += description_of(*report.worst, report.factor);
    return html + table_of(report.cases) + "</section>\n";
}

std::string html_page(const std::string& title, std::span<const std::string> sections) {
    std::string html = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n"
        "<h1>{0}</h1>\n",
        escaped(title), style);
    for (const std::string& section : sections) html += section;
    return html + "</body>\n</html>\n";
}

std::string to_html(const GradReport& report, const std::optional<WorstTensor>& worst) {
    const std::vector<std::string> sections{html_section({.title = report.check,
                                                          .agree = report.passed(),
                                                          .summary = report.headline(),
                                                          .factor = report.factor,
                                                          .forward = report.forward,
                                                          .rows = report.rows,
                                                          .notes = report.notes,
                                                          .worst = worst})};
    return html_page("xtape " + report.check, sections);
}

}  // namespace xtape::tools
