#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// `xtape ... gate`: tool calls, to be allowed or blocked.
std::unique_ptr<ModelCommand> gate_command();

}  // namespace xtape::tools
