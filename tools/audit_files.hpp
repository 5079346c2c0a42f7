#pragma once
// A stranger's kernel, judged through files: a case is exported as arrays with a README, and what comes back is
// compared with the tape. Arrays are in safetensors files and again as .npy, each as its reader likes.

#include <xtape/tools/audit.hpp>

#include <filesystem>

namespace xtape::tools {

/// What is exported, and judged.
struct FileCase {
    std::string subject;   ///< "microgpt", "op rms_norm"
    std::string settings;  ///< in a few words
    std::string flags;     ///< that make `xtape audit SUBJECT` take this case again
    MakeSubject make;
    std::vector<NamedFactor> factors;  ///< that a diagnosis may name
};

/// The case that a number (from 1) or a part of its settings chooses; a usual one for none. Throws UsageError, which
/// lists them, for no or several cases.
FileCase choose_case(const std::string& model, std::span<const AuditCase> cases, const std::string& which);

struct ExportOptions {
    bool activations = false;  ///< values and gradients of all intermediates
    bool answers = false;      ///< the gradients that are to be found
};

/// Writes parameters, inputs, logits and loss into a folder, with a README.md that says what they are and what to write
/// back. Throws FileError.
void export_case(const FileCase& item, const std::filesystem::path& folder, const ExportOptions& options);

/// Judges gradients by the names of the parameters: of a safetensors file, or of a folder that holds
/// gradients.safetensors, a folder gradients of .npy files, or .npy files; with them, where they are there, logits and
/// loss (judged first) and gradients of intermediates (for the first departure). Throws FileError for no such file, or
/// one that is not in its format.
AuditReport judge_files(const FileCase& item, const std::filesystem::path& path);

}  // namespace xtape::tools
