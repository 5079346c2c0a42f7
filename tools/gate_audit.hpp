#pragma once

#include <xtape/tools/audit.hpp>

namespace xtape::tools {

/// `xtape audit gate`: both heads, alone and in one batch, with mixed lengths and inputs that expose.
std::vector<AuditCase> gate_cases();
AuditReport audit_gate(const AuditRequest& request);

}  // namespace xtape::tools
