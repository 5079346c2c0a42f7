#include <xtape/tools/terminal.hpp>

#include <cctype>
#include <cstdlib>
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

namespace {

/// Whether a word starts at `begin` and a verdict may end at `end`: with its line, or before its padding, its diagnosis
/// or a remark in brackets.
bool stands_as_verdict(std::string_view text, std::size_t begin, std::size_t end) {
    if (begin > 0 && (std::isalnum(static_cast<unsigned char>(text[begin - 1])) != 0 || text[begin - 1] == '_'))
        return false;
    const std::string_view rest = text.substr(end);
    return rest.empty() || rest.starts_with("  ") || rest.starts_with(" (") || rest[0] == ':' || rest[0] == '\n';
}

}  // namespace

std::string with_coloured_verdicts(const std::string& text) {
    std::string painted = text;
    for (const auto& [words, colour] : {std::pair{"agree", 32},
                                        {"DIFFERS", 31},
                                        {"differs", 31},
                                        {"differ", 31},
                                        {"never written", 31},
                                        {"vacuous", 33},
                                        {"unreached", 33}}) {
        const std::string paint = fmt::format("\033[{}m{}\033[0m", colour, words);
        const std::size_t length = std::string_view(words).size();
        for (std::size_t at = painted.find(words); at != std::string::npos; at = painted.find(words, at)) {
            const bool verdict = stands_as_verdict(painted, at, at + length);
            if (verdict) painted.replace(at, length, paint);
            at += verdict ? paint.size() : length;
        }
    }
    return painted;
}

}  // namespace xtape::tools
