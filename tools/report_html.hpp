#pragma once
// Reports for people: one HTML page that needs nothing else (no scripts, no files, no network), in light and dark.

#include <xtape/engine/check/report.hpp>

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xtape::tools {

/// The tensor that is most wrong, whose errors are drawn.
struct WorstTensor {
    GradRow row;
    std::string settings = {};                       ///< of the case that it is from
    std::vector<double> candidate = {}, truth = {};  ///< both of the size of row.shape
};

/// One case of an audit: the worst errors of its instruments.
struct HtmlCase {
    std::string settings;
    bool agree = true;
    double forward = 0, backward = 0;        ///< relative, in f64
    std::optional<double> differences = {};  ///< against finite differences
    double noise_ratio = 0;                  ///< in f32
};

/// What a section of the page shows.
struct HtmlReport {
    std::string title;
    bool agree = true;
    std::string summary;
    double factor = 1;  ///< how many noise floors agree
    std::optional<GradRow> forward = {};
    std::vector<GradRow> rows = {};
    std::vector<HtmlCase> cases = {};
    std::vector<std::string> notes = {};
    std::optional<WorstTensor> worst = {};
};

/// A section: the verdict, a table of parameters with their errors as bars on a log scale, the cases, the heat map.
std::string html_section(const HtmlReport& report);

/// A whole page of sections.
std::string html_page(const std::string& title, std::span<const std::string> sections);

/// A page of one report, with the heat map of its worst tensor where it is given.
std::string to_html(const GradReport& report, const std::optional<WorstTensor>& worst = {});

/// The errors |candidate − truth| relative to max|truth| as an SVG drawing of at most 64 × 64 cells. A cell of several
/// elements shows the worst of them; leading axes are rows. What a cell stands for is in its title, shown on hovering.
std::string heat_map(const WorstTensor& tensor);

}  // namespace xtape::tools
