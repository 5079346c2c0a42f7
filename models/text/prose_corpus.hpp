#pragma once
// The corpus of prose that is built in.

#include <string_view>

namespace xtape::models {

/// More than 60 kB of English in paragraphs of one line, with an empty line between two: short tales, essays and
/// dialogues, written for this library, and between them letters of a village, which a grammar puts together.
std::string_view built_in_text();

}  // namespace xtape::models
