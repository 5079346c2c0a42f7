#pragma once
// The corpus of names that is built in.

#include <string_view>

namespace xtape::models {

/// 5,000 distinct given names from many cultures, in alphabetical order and 3 to 12 letters a to z long, each followed
/// by a line break.
std::string_view built_in_names();

}  // namespace xtape::models
