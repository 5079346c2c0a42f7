#pragma once
// The safetensors format: named arrays in a file. `save` and `load` take a model; `save_arrays` and `load_arrays` any
// arrays (an optimizer's state); SafetensorsFile is what a file holds.

#include <xtape/nn/module.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace xtape::nn {

using Metadata = std::map<std::string, std::string>;

/// Elements that someone owns, to be written to a file or filled from one.
struct Array {
    std::string name;
    Shape shape;
    std::variant<std::span<float>, std::span<double>> values;
};
using Arrays = std::vector<Array>;
/// The same to read from.
struct ConstArray {
    ConstArray(std::string name, const Shape& shape, std::span<const float> values)
        : name(std::move(name)), shape(shape), values(values) {}
    ConstArray(std::string name, const Shape& shape, std::span<const double> values)
        : name(std::move(name)), shape(shape), values(values) {}
    ConstArray(std::string name, const Shape& shape, std::span<const std::int32_t> values)
        : name(std::move(name)), shape(shape), values(values) {}
    ConstArray(const Array& array);

    std::string name;
    Shape shape;
    std::variant<std::span<const float>, std::span<const double>, std::span<const std::int32_t>> values;
};

/// What a safetensors file holds, checked from its first byte to its last.
class SafetensorsFile {
public:
    enum class Dtype { f16, bf16, f32, f64, i32 };
    struct Entry {
        std::string name;
        Dtype dtype;
        Shape shape;
        std::size_t begin, end;  ///< of its bytes, behind the header
    };

    /// Throws FileError for a file that is missing, longer than `limit` bytes, or not exactly in the format.
    explicit SafetensorsFile(const std::filesystem::path& path, std::uint64_t limit = std::uint64_t{1} << 34);

    const std::string& path() const { return path_; }
    const Metadata& metadata() const { return metadata_; }
    /// In the order of their bytes.
    const std::vector<Entry>& entries() const { return entries_; }
    /// The entry of that name, or null.
    const Entry* find(std::string_view name) const;
    /// The elements, converted to T, into a span of the entry's size.
    template <Real T> void read(const Entry& entry, std::span<T> into) const;
    /// The array of that name. Throws FileError when there is none.
    template <Real T> Tensor<T> tensor(std::string_view name) const;

private:
    std::string path_;
    std::string bytes_;
    std::string_view data_;
    Metadata metadata_;
    std::vector<Entry> entries_;
};

/// Writes arrays as F32, F64 and I32, replacing the file atomically. Throws FileError, and ValueError when two have one
/// name.
void save_arrays(const std::filesystem::path& path, std::span<const ConstArray> arrays, const Metadata& metadata = {});
void save_arrays(const std::filesystem::path& path, const Arrays& arrays, const Metadata& metadata = {});

/// Fills arrays from a file that holds these and no others, converting to their scalar type; gives its metadata.
/// Throws FileError, with nothing changed, when a name or a shape differs; `wanted_by` names their owner in its text.
Metadata load_arrays(const std::filesystem::path& path, std::span<const Array> arrays,
                     std::string_view wanted_by = "the model");

namespace detail {

template <Real T> std::vector<ConstArray> readable(const std::vector<NamedConst<T>>& parameters);
template <Real T> Arrays writable(const std::vector<Named<T>>& parameters);

}  // namespace detail

/// Writes all parameters of a model: `save("model.safetensors", model, {{"step", "100"}})`. Throws FileError.
template <class M> void save(const std::filesystem::path& path, const M& model, const Metadata& metadata = {}) {
    save_arrays(path, detail::readable(parameters(model)), metadata);
}

/// Fills all parameters of a model, converting to its scalar type; gives the file's metadata.
/// Throws FileError, with nothing changed, when the file is broken or does not hold exactly this model.
template <class M> Metadata load(const std::filesystem::path& path, M& model) {
    return load_arrays(path, detail::writable(parameters(model)));
}

}  // namespace xtape::nn
