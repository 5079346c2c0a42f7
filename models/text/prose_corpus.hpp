#pragma once
// The corpus of prose that is built in.

#include <string_view>

namespace xtape::models {

/// More than 60 kB of English in paragraphs of one line, with an empty line between two: tales, essays and dialogues
/// written for this library, and between them stories and letters that a grammar puts together, always the same.
std::string_view built_in_text();

}  // namespace xtape::models
