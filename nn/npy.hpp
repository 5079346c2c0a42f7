#pragma once
// NumPy's .npy format: one array in a file, as numpy.save writes it and numpy.load reads it.

#include <xtape/nn/safetensors.hpp>

#include <filesystem>
#include <span>
#include <vector>

namespace xtape::nn {

/// What a .npy file held: row-major elements, widened to f64, whatever their type and order in the file.
struct NpyArray {
    SafetensorsFile::Dtype dtype;
    Shape shape;
    std::vector<double> values;
};

/// Reads float16, float32, float64 and int32 (little-endian), in C or in Fortran order.
/// Throws FileError for a file that is missing, longer than `limit` bytes, or not exactly in the format.
NpyArray read_npy(const std::filesystem::path& path, std::uint64_t limit = std::uint64_t{1} << 34);

/// Writes float, double or std::int32_t, replacing the file atomically. Throws FileError.
template <class T> void write_npy(const std::filesystem::path& path, const Shape& shape, std::span<const T> values);

}  // namespace xtape::nn
