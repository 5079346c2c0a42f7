#pragma once
// What a stranger's program has written, and its judgement.

#include <xtape/tools/audit_files.hpp>

#include <map>

namespace xtape::tools {

/// An array from a file, widened to f64.
struct GivenArray {
    std::string_view precision;  ///< "f64", or "f32" for all that is less
    Shape shape;
    std::vector<double> values;
};
using GivenArrays = std::map<std::string, GivenArray>;

/// The arrays of a safetensors file, a .npy file, or a folder: see `judge_files`. Throws FileError.
GivenArrays read_given(const std::filesystem::path& path);

/// Throws FileError where `path` lies in the exported folder of another case, or of other parameters.
void check_export(const std::filesystem::path& path, const FileCase& item, Subject& subject);

/// The case of the exported folder that `path` lies in; empty where it lies in none of this subject.
std::string exported_case(const std::filesystem::path& path, const std::string& subject);

AuditReport judge_given(const FileCase& item, Subject& subject, const std::string& source, const GivenArrays& given);

}  // namespace xtape::tools
