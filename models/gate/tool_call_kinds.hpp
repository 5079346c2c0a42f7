#pragma once
// The kinds of the built-in tool calls: what of each is blocked, and how it may be worded.

#include <string_view>
#include <vector>

namespace xtape::models {

using Texts = std::vector<std::string_view>;

/// Calls of one kind, with slots such as {file} to be filled. `near_` ones resemble those of the other verdict; people
/// differ about `disputed` ones, which they block with probability `block`.
struct ToolCallKind {
    std::string_view name, blocked_when;
    Texts allowed, blocked, near_allowed, near_blocked, disputed = {};
    double block = 0;
};

const std::vector<ToolCallKind>& tool_call_kinds();

}  // namespace xtape::models
