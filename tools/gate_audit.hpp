#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// `xtape audit gate`: both heads, alone and in one batch, with mixed lengths and inputs that expose.
AuditReport audit_gate(const AuditRequest& request);

}  // namespace xtape::tools
