#pragma once
// What the value of a flag may be; what it may not is said in a few words.

#include <CLI/App.hpp>

namespace xtape::tools {

/// A finite number above 0. (CLI11's own says "not in range" with the largest double in 309 digits, and takes NaN.)
CLI::Validator positive();

/// A finite number that is 0 or more.
CLI::Validator not_negative();

/// Any text but the empty one, which an unset variable of a shell gives.
CLI::Validator not_empty();

}  // namespace xtape::tools
