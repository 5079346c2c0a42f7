#include <xtape/tools/audit_op.hpp>
#include <xtape/tools/file_audit.hpp>
#include <xtape/tools/flags.hpp>
#include <xtape/tools/given_arrays.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

FileCase file_case(std::span<const std::unique_ptr<ModelCommand>> models, const std::string& name,
                   const FileAudit& files) {
    if (name == "op") return op_case(files.op, files.shapes, files.heads);
    const auto model = std::ranges::find(models, name, [](const auto& one) { return one->name(); });
    if (model == models.end()) throw UsageError("audit: --export and --against take one model, or op NAME");
    return choose_case(name, (*model)->audit_cases(),
                       files.which.empty() ? exported_case(files.against, name) : files.which);
}

}  // namespace

void check_flags(const std::string& name, const FileAudit& files, const AuditRequest& request,
                 const std::string& html) {
    const bool op = name == "op";
    if (!op && (!files.op.empty() || !files.shapes.empty() || files.heads > 1 || files.list))
        throw UsageError("audit: NAME, --shape, --heads and --list are for `audit op`");
    if (!files.which.empty() && (op || !files.any()))
        throw UsageError("audit: --case is for --export and --against of a model");
    const bool of_reference = !request.fault.empty() || request.random > 0 || request.quick || !html.empty();
    if (of_reference && (op || files.any()))
        throw UsageError(
            "audit: --fault, --random, --quick and --html are for a model's own reference, not for files or an op");
}

Exit audit_files(std::span<const std::unique_ptr<ModelCommand>> models, const std::string& name, const FileAudit& files,
                 bool json) {
    if (files.list) {
        fmt::print("{}", list_ops());
        return Exit::done;
    }
    const FileCase item = file_case(models, name, files);
    if (!files.out.empty()) {
        export_case(item, files.out, files.options);
        fmt::print("{}\n",
                   json ? one_line({{"exported", files.out}, {"settings", item.settings}})
                        : fmt::format("{} ({}) is in {}: see README.md there", item.subject, item.settings, files.out));
        return Exit::done;
    }
    const AuditReport report = files.against.empty() ? gradcheck_op(item) : judge_files(item, files.against);
    fmt::print("{}", json ? one_line(report.json) + "\n" : report.text);
    return report.agree ? Exit::done : Exit::failed;
}

void add_file_audit(CLI::App& sub, FileAudit& files) {
    sub.add_option("NAME", files.op, "For MODEL op: which op");
    sub.add_option("--export", files.out, "Write parameters, inputs, logits and loss of a case into a folder")
        ->type_name("DIR")
        ->check(not_empty());
    sub.add_option("--against", files.against, "Judge gradients that another program has written")
        ->type_name("FILE|DIR")
        ->check(not_empty())
        ->excludes("--export");
    sub.add_option("--case", files.which, "The case to export or judge: its number, or a part of its settings");
    sub.add_flag("--activations", files.options.activations, "Export intermediates and their gradients too")
        ->needs("--export");
    sub.add_flag("--answers", files.options.answers, "Export the gradients that are to be found too")
        ->needs("--export");
    sub.add_option("--shape", files.shapes, "For an op: the shape of an input, as 8,16; once for each")
        ->allow_extra_args(false);
    sub.add_flag("--list", files.list, "List the ops")->excludes("--json", "--export", "--against");
    sub.add_option("--heads", files.heads, "For attention and rope")->check(positive());
}

}  // namespace xtape::tools
