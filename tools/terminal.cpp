#include <xtape/tools/terminal.hpp>

#include <cstdlib>
#include <regex>
#include <string_view>

#include <fmt/format.h>
#include <unistd.h>

namespace xtape::tools {

bool takes_colour() {
    const char* no_colour = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    return isatty(STDOUT_FILENO) != 0 && (no_colour == nullptr || *no_colour == '\0') && terminal != nullptr &&
           std::string_view(terminal) != "dumb";
}

std::string with_coloured_verdicts(const std::string& text) {
    // Where a verdict stands: at the end of a line, or before its padding, its diagnosis or a remark in brackets.
    const std::string stands = R"((?=  | \(|:|\n|$))";
    std::string painted = text;
    for (const auto& [words, colour] :
         {std::pair{R"(\bagree)", 32}, {R"(\b(DIFFERS|differs?|never written))", 31}, {R"(\b(vacuous|unreached))", 33}})
        painted = std::regex_replace(painted, std::regex(words + stands), fmt::format("\033[{}m$&\033[0m", colour));
    return painted;
}

}  // namespace xtape::tools
