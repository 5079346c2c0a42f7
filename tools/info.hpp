#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// `xtape info DIR`: the settings, how far the training came, and the tensors of model.safetensors.
Exit print_info(const RunFolder& run, bool json);

}  // namespace xtape::tools
