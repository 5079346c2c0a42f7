#pragma once
// Colour on a terminal.

#include <string>

namespace xtape::tools {

/// Whether standard output takes colour: it is a terminal that is not dumb, and NO_COLOR is not set (no-color.org).
bool takes_colour();

/// A report with its verdicts in colour: agree green, what differs red, what was not checked yellow.
std::string with_coloured_verdicts(const std::string& text);

}  // namespace xtape::tools
