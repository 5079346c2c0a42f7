#pragma once
// Whole files: read with a limit, and written so that a kill at any moment leaves the old one or the new one.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace xtape::nn {

/// The bytes of a file. Throws FileError when it is missing, a folder, unreadable, or longer than `limit` bytes.
std::string read_file(const std::filesystem::path& path, std::uint64_t limit = std::uint64_t{1} << 34);

/// Replaces a file by these bytes (or parts, end to end): a new file beside it is written, synced and renamed over it.
/// Throws FileError, with the old file untouched.
void atomic_write(const std::filesystem::path& path, std::string_view bytes);
void atomic_write(const std::filesystem::path& path, std::span<const std::string_view> parts);

}  // namespace xtape::nn
