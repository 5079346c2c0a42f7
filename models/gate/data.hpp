#pragma once
// What a gate learns from: lines of JSON, and their texts as tokens.

#include <xtape/models/gate/batch.hpp>
#include <xtape/models/text/tokenizer.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xtape::models {

/// One line: `{"input": "text", "label": 1.0, "weight": 4.0}` or `{"input": "text", "next": "token"}`.
struct GateLine {
    std::string input;
    std::optional<std::string> next = {};  ///< else the line is a decision
    double label = 1;   ///< −1 false positive, −0.5 override to block, 0 block, 1 allow, 1.5 override to allow
    double weight = 1;  ///< as given, never inferred from the label
};

/// Reads a line. `weight` may be missing, other members may be there. Throws FileError, beginning with `where`, for a
/// line that is not a JSON object, an input that is missing, empty or not text, neither or both of label and next, a
/// label outside [−1, 1.5], or a weight that is not above 0.
GateLine parse_gate_line(std::string_view line, std::string_view where);
/// The input of a line alone; what else it has does not matter. Throws FileError as above.
std::string parse_gate_input(std::string_view line, std::string_view where);
/// Reads all lines but blank ones. Throws FileError that names `source` and the line's number.
std::vector<GateLine> read_gate_lines(std::string_view text, std::string_view source);
/// The line of JSON that `parse_gate_line` reads.
std::string to_json(const GateLine& line);

/// The examples of some lines.
struct GateExamples {
    std::vector<GateExample> examples;
    Index too_long = 0;  ///< left out, for more than `context` tokens: what is cut off may be what is to be blocked
};

/// A next token is the first token of the text `next`. Throws FileError for a text of which the tokenizer makes no
/// tokens, calling the lines `source`.
GateExamples encode(std::span<const GateLine> lines, const Tokenizer& tokenizer, int context, std::string_view source);

/// Examples to learn from and examples to be tested by.
struct GateSplit {
    std::vector<GateExample> training, held_out;
};

/// Holds out about `fraction` of the token sequences: each, with all that is said of it, is on one side only.
GateSplit split(std::vector<GateExample> examples, double fraction, std::uint64_t seed);

}  // namespace xtape::models
