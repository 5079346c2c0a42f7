#pragma once

#include <xtape/tools/audit.hpp>

namespace xtape::tools {

/// `xtape audit lrnn`: 1, 2 and 4 heads and slots, one sequence and a ragged batch, sequences longer than a chunk of
/// the reference's scan, usual decays and decays near 1.
std::vector<AuditCase> lrnn_cases();
AuditReport audit_lrnn(const AuditRequest& request);

}  // namespace xtape::tools
