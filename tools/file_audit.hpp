#pragma once
// The flags of `xtape audit` for a stranger's kernel, and for one op.

#include <xtape/tools/audit_files.hpp>

#include <memory>
#include <span>

namespace xtape::tools {

struct FileAudit {
    std::string op, which, out, against;
    std::vector<std::string> shapes;
    int heads = 1;
    bool list = false;
    ExportOptions options;

    bool any() const { return !out.empty() || !against.empty(); }
};

void add_file_audit(CLI::App& sub, FileAudit& files);

/// Throws UsageError for flags that would be ignored.
void check_flags(const std::string& name, const FileAudit& files, const AuditRequest& request, const std::string& html);

/// Exports a case, judges what came back, or for an op neither: its gradients against finite differences. `name` is a
/// model's, or "op".
Exit audit_files(std::span<const std::unique_ptr<ModelCommand>> models, const std::string& name, const FileAudit& files,
                 bool json);

}  // namespace xtape::tools
