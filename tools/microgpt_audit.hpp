#pragma once

#include <xtape/tools/audit.hpp>

namespace xtape::tools {

/// `xtape audit microgpt`: every norm and act, 1 and 3 layers, one name and a ragged batch, with inputs that expose.
std::vector<AuditCase> microgpt_cases();
AuditReport audit_microgpt(const AuditRequest& request);

}  // namespace xtape::tools
