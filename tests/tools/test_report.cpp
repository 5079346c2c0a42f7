// Reports for people: colour on a terminal, and the HTML page.
#include "../catch.hpp"

#include "scratch.hpp"

#include <xtape/tools/report_html.hpp>
#include <xtape/tools/terminal.hpp>

#include <cmath>
#include <limits>

namespace test_report {

namespace {

using namespace xtape;
using namespace xtape::tools;
using Catch::Matchers::Contains;
using test::Outcome;
using test::Scratch;
using test::xtape_command;

WorstTensor worst_of(const Shape& shape, std::vector<double> candidate, std::vector<double> truth) {
    WorstTensor worst{.row = measure("w", shape, candidate, truth)};
    worst.row.noise = 1e-9;
    worst.candidate = std::move(candidate);
    worst.truth = std::move(truth);
    return worst;
}

std::size_t count(const std::string& text, const std::string& what) {
    std::size_t found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
}

/// Whether each element that is opened is closed, in order.
bool well_formed(const std::string& html) {
    std::vector<std::string_view> open;
    std::size_t end = 0;
    for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', end)) {
        end = html.find('>', at);
        if (end == std::string::npos) return false;
        std::string_view tag = std::string_view(html).substr(at + 1, end - at - 1);
        const bool closes = tag.starts_with('/');
        if (closes) tag.remove_prefix(1);
        const std::string_view name = tag.substr(0, tag.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789"));
        if (name.empty() || name == "meta" || tag.ends_with('/')) continue;  // <!doctype html>, <meta ...>, <rect .../>
        if (!closes) {
            open.push_back(name);
            continue;
        }
        if (open.empty() || open.back() != name) return false;
        open.pop_back();
    }
    return open.empty();
}

/// A pseudo-terminal in the place of standard output.
class Terminal {
public:
    Terminal() : master_(::posix_openpt(O_RDWR | O_NOCTTY)), saved_(::dup(STDOUT_FILENO)) {
        ::grantpt(master_);
        ::unlockpt(master_);
        const int slave = ::open(::ptsname(master_), O_RDWR | O_NOCTTY);
        ::dup2(slave, STDOUT_FILENO);
        ::close(slave);
    }
    ~Terminal() {
        ::dup2(saved_, STDOUT_FILENO);
        ::close(saved_);
        ::close(master_);
    }
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

private:
    int master_, saved_;
};

bool takes_colour_with(const char* terminal, const char* no_colour) {
    const char* of_tests = std::getenv("TERM");
    const std::string before = of_tests == nullptr ? "" : of_tests;
    ::setenv("TERM", terminal, 1);
    ::setenv("NO_COLOR", no_colour, 1);
    const bool takes = takes_colour();
    ::setenv("TERM", before.c_str(), 1);
    ::unsetenv("NO_COLOR");
    return takes;
}

}  // namespace

TEST_CASE("colour: only on a terminal that knows it, and not where NO_COLOR is set") {
    std::fflush(stdout);
    bool colour = false, dumb = true, unwanted = true;
    {
        const Terminal terminal;
        colour = takes_colour_with("xterm", "");
        dumb = takes_colour_with("dumb", "");
        unwanted = takes_colour_with("xterm", "1");
    }
    CHECK(colour);
    CHECK_FALSE(dumb);
    CHECK_FALSE(unwanted);
    CHECK(xtape_command({"audit", "gate"}).out.find('\033') == std::string::npos);
}

TEST_CASE("colour: verdicts have it, other words have not") {
    CHECK(with_coloured_verdicts("agree    norm none\nw  agree\n") ==
          "\033[32magree\033[0m    norm none\nw  \033[32magree\033[0m\n");
    CHECK(with_coloured_verdicts("w  differs: sign\nv  never written: never written") ==
          "w  \033[31mdiffers\033[0m: sign\nv  \033[31mnever written\033[0m: \033[31mnever written\033[0m");
    CHECK(with_coloured_verdicts("x  vacuous\n") == "x  \033[33mvacuous\033[0m\n");
    const std::string plain = "backward   differ.   f32\nat most 16 agree) and two runs differ by 1";
    CHECK(with_coloured_verdicts(plain) == plain);
}

TEST_CASE("html: one page for a report, closed, escaped, and with nothing from elsewhere") {
    GradReport report{.check = "compare", .factor = 16};
    const double a[] = {1, 2}, b[] = {1, 4};
    report.rows = {measure("<w> & \"v\"", {2}, a, b), measure("x", {2}, a, a)};
    report.rows[0].verdict = Verdict::differs;
    report.rows[0].diagnosis = "a < b";
    report.notes = {"one & two"};
    const std::string page = to_html(report, worst_of({2}, {1, 2}, {1, 4}));
    CHECK(well_formed(page));
    CHECK_THAT(page, Contains("&lt;w&gt; &amp; &quot;v&quot;") && Contains("a &lt; b") && Contains("one &amp; two"));
    CHECK_THAT(page, Contains("1 of 2 gradients differ"));
    CHECK_THAT(page, Contains("First over the tolerance at [1]: 2, should be 4. Worst at [1]: 2, should be 4."));
    CHECK_THAT(page, Contains("prefers-color-scheme: dark"));
    for (const char* elsewhere : {"<script", "http", "url(", "<link", "@import", "src="})
        CHECK(page.find(elsewhere) == std::string::npos);
}

TEST_CASE("heat map: a cell an element, with its index and both values") {
    const std::string map = heat_map(worst_of({2, 3}, {1, 2, 3, 4, 5, -6}, {1, 2, 3, 4, 5, 6}));
    CHECK(well_formed(map));
    CHECK(count(map, "<title>") == 6);
    CHECK_THAT(map, Contains("x=\"2\" y=\"1\" width=\"1\" height=\"1\" fill-opacity=\"1.00\"><title>[1, 2]: -6, should "
                             "be 6</title>"));
    CHECK(count(map, "fill-opacity=\"0.00\"") == 5);
    CHECK_THAT(heat_map(worst_of({}, {std::nan("")}, {1})),
               Contains("class=\"n\"") && Contains("[]: nan, should be 1"));
    CHECK(well_formed(heat_map(worst_of({0, 3}, {}, {}))));
}

TEST_CASE("heat map: a large tensor is drawn in 64 x 64 cells, none of which hides the one wrong element") {
    const Shape shape{3, 100, 130};
    std::vector<double> truth(static_cast<std::size_t>(shape.size()), 1.0), candidate = truth;
    candidate[2 * 13000 + 57 * 130 + 99] = 1.5;
    const WorstTensor worst = worst_of(shape, candidate, truth);
    const std::string map = heat_map(worst);
    CHECK(count(map, "<title>") == 64 * 64);
    CHECK(count(map, "<title>[2, 57, 99]: 1.5, should be 1</title>") == 1);
    CHECK(count(map, "fill-opacity=\"0.00\"") == 64 * 64 - 1);
    GradReport report{.check = "compare"};
    report.rows = {worst.row};
    CHECK_THAT(to_html(report, worst), Contains("Each of the 64 × 64 cells shows the worst of its elements."));
}

TEST_CASE("loss.svg: a curve through the finite losses, and a dot for each validation") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const std::vector<xtape::tools::Metric> metrics{{5, 3, nan}, {10, nan, 2}, {20, 1, nan}};
    const std::string svg = xtape::tools::loss_svg(metrics);
    CHECK_THAT(svg, Contains("points=\"198.0,24.0 624.0,320.0 \""));
    CHECK_THAT(svg, Contains("<circle cx=\"340.0\" cy=\"172.0\""));
    CHECK(svg.find("<circle") == svg.rfind("<circle"));
    CHECK_THAT(svg, Catch::Matchers::EndsWith("</svg>\n"));
    CHECK(xtape::tools::loss_svg({}).find("nan") == std::string::npos);
}

TEST_CASE("audit: --html writes a page with verdict, cases, parameters and the map of the worst tensor") {
    const Scratch scratch;
    const Outcome wrong =
        xtape_command({"audit", "microgpt", "--fault", "transposed-weight", "--html", scratch / "page.html"});
    CHECK(wrong.status == 1);
    CHECK_THAT(wrong.out, Contains("written to " + scratch / "page.html"));
    const std::string page = nn::read_file(scratch / "page.html");
    CHECK(well_formed(page));
    CHECK_THAT(page,
               Contains("some parameters differ") && Contains("transposed-weight") && Contains("transposed</td>"));
    CHECK_THAT(page, Contains("norm none, act relu, layers 1, 1 name of 7") && Contains(": where it is off</h3>"));
    const Outcome json = xtape_command({"audit", "gate", "--json", "--html", scratch / "page.html"});
    CHECK(json.status == 0);
    CHECK(parse_json(json.out).at("agree") == true);
    CHECK_THAT(nn::read_file(scratch / "page.html"), Contains("all parameters agree"));
    CHECK(xtape_command({"audit", "gate", "--html", scratch / "none/page.html"}).status == 3);
}

}  // namespace test_report
