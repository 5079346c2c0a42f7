#pragma once

#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

/// `xtape audit microgpt`: every norm and act, 1 and 3 layers, one name and a ragged batch, with inputs that expose.
AuditReport audit_microgpt(const AuditRequest& request);

}  // namespace xtape::tools
