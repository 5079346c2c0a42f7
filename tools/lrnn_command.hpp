#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// lrnn: a linear recurrent network with slot memory that learns text and speaks from a state of fixed size.
std::unique_ptr<ModelCommand> lrnn_command();

}  // namespace xtape::tools
