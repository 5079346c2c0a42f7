#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// `xtape ... llama`: text of any kind.
std::unique_ptr<ModelCommand> llama_command();

}  // namespace xtape::tools
