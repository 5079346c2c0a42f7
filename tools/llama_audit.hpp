#pragma once

#include <xtape/tools/audit.hpp>

namespace xtape::tools {

/// `xtape audit llama`: as many and fewer key and value heads, tied and untied, both forms of rope, one sequence and a
/// ragged batch, with inputs that expose.
std::vector<AuditCase> llama_cases();
AuditReport audit_llama(const AuditRequest& request);

}  // namespace xtape::tools
