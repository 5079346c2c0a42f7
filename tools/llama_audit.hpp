#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// `xtape audit llama`: as many and fewer key and value heads, tied and untied, both forms of rope, one sequence and a
/// ragged batch, with inputs that expose.
Exit audit_llama(const AuditSettings& settings);

}  // namespace xtape::tools
