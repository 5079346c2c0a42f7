#pragma once
// What the built-in prose is made from.

#include <string_view>

namespace xtape::models {

/// Tales, essays and dialogues, wrapped; an empty line between paragraphs, two between pieces.
std::string_view prose_tales();

/// The rules of a grammar: `name:`, then lines of alternatives: `- ` begins a sentence (a line that is indented goes on
/// with it), `= ` a list separated by ` / `. In an alternative `$name` is one of that rule's.
std::string_view prose_grammar();

}  // namespace xtape::models
