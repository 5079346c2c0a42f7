#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// `xtape audit llama`: as many and fewer key and value heads, tied and untied, both forms of rope, one sequence and a
/// ragged batch, with inputs that expose.
AuditReport audit_llama(const AuditRequest& request);

}  // namespace xtape::tools
