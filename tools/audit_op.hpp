#pragma once
// One op as a subject: Σ dy ⊙ op(inputs) at shapes of the user's choice, to be exported, judged, or checked by itself.

#include <xtape/tools/audit_files.hpp>

#include <span>

namespace xtape::tools {

/// The ops that can be audited, each with the shapes that it takes, a line each.
std::string list_ops();

/// An op at shapes such as "8,16". Shapes that are left out follow from those given (a norm's weight, say); `heads` is
/// for attention and rope. Throws UsageError for an op or shapes that there are not.
FileCase op_case(const std::string& name, std::span<const std::string> given, int heads);

/// The op's gradients against finite differences.
AuditReport gradcheck_op(const FileCase& item);

}  // namespace xtape::tools
