#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// `xtape ... microgpt`: names, one a line.
std::unique_ptr<ModelCommand> microgpt_command();

}  // namespace xtape::tools
