#include <xtape/nn/file.hpp>
#include <xtape/nn/json.hpp>
#include <xtape/nn/safetensors.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <xtl/xhalf_float.hpp>

namespace xtape::nn {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

namespace {

using Dtype = SafetensorsFile::Dtype;
using Entry = SafetensorsFile::Entry;

constexpr std::uint64_t header_limit = 100'000'000;

struct DtypeInfo {
    Dtype dtype;
    std::string_view name;
    Index bytes;
};
constexpr DtypeInfo dtypes[] = {{Dtype::f16, "F16", 2},
                                {Dtype::bf16, "BF16", 2},
                                {Dtype::f32, "F32", 4},
                                {Dtype::f64, "F64", 8},
                                {Dtype::i32, "I32", 4}};

/// Reads the header of one file; what is wrong is thrown with the file's name.
class HeaderParser {
public:
    HeaderParser(const std::string& path, std::size_t data_bytes) : path_(path), data_bytes_(data_bytes) {}

    void parse(std::string_view header, std::vector<Entry>& entries, Metadata& metadata) const {
        if (!header.starts_with('{')) fail("the header does not begin with {");
        const ForeignJson json = parse_json(header);
        for (const auto& [name, value] : json.items()) {
            if (name == "__metadata__")
                parse_metadata(value, metadata);
            else
                entries.push_back(parse_entry(name, value));
        }
        std::ranges::sort(entries, {},
                          [](const Entry& entry) { return std::tuple(entry.begin, entry.end, entry.name); });
        check_tiling(entries);
    }

    [[noreturn]] void fail(std::string_view what) const {
        throw FileError(fmt::format("load: {} is not a safetensors file: {}", path_, what));
    }

private:
    /// Refuses deep nesting, and a name that an object has twice (the library would take the last).
    ForeignJson parse_json(std::string_view header) const {
        std::vector<std::set<std::string>> names;
        const auto check = [&](int depth, ForeignJson::parse_event_t event, const ForeignJson& parsed) {
            if (depth > 3) fail("the header is nested too deeply");
            if (event == ForeignJson::parse_event_t::object_start) names.emplace_back();
            if (event == ForeignJson::parse_event_t::object_end) names.pop_back();
            if (event == ForeignJson::parse_event_t::key && !names.back().insert(parsed.get<std::string>()).second)
                fail(fmt::format("its header names {} twice", parsed.get<std::string>()));
            return true;
        };
        try {
            return ForeignJson::parse(header, check);
        } catch (const ForeignJson::exception&) {
            fail("its header is broken JSON");
        }
    }

    void parse_metadata(const ForeignJson& json, Metadata& metadata) const {
        const auto is_string = [](const ForeignJson& value) { return value.is_string(); };
        if (!json.is_object() || !std::ranges::all_of(json, is_string)) fail("its metadata are not strings by name");
        metadata = json.get<Metadata>();
    }

    Entry parse_entry(const std::string& name, const ForeignJson& json) const {
        if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
            !json.contains("data_offsets") || !json["dtype"].is_string())
            fail(fmt::format("{} does not have a dtype, a shape and data_offsets, and nothing else", name));
        const auto& dtype_name = json["dtype"].get_ref<const std::string&>();
        const auto* info = std::ranges::find(dtypes, std::string_view(dtype_name), &DtypeInfo::name);
        if (info == std::end(dtypes))
            throw FileError(fmt::format("load: {} in {} has the dtype {}; F16, BF16, F32, F64 and I32 can be read",
                                        name, path_, dtype_name));
        const std::vector<Index> extents = parse_numbers(name, "shape", json["shape"]);
        const std::vector<Index> offsets = parse_numbers(name, "data_offsets", json["data_offsets"]);
        const Shape shape = parse_shape(name, extents);
        if (offsets.size() != 2 || offsets[1] < offsets[0] || offsets[1] - offsets[0] != shape.size() * info->bytes)
            fail(fmt::format("the data_offsets of {} do not span {} elements of {}", name, shape.size(), dtype_name));
        return {name, info->dtype, shape, static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(offsets[1])};
    }

    std::vector<Index> parse_numbers(const std::string& name, std::string_view what, const ForeignJson& json) const {
        const auto in_range = [](const ForeignJson& value) {
            return value.is_number_unsigned() && value.get<std::uint64_t>() <= std::numeric_limits<Index>::max();
        };
        if (!json.is_array() || !std::ranges::all_of(json, in_range))
            fail(fmt::format("the {} of {} are not whole numbers in range", what, name));
        return json.get<std::vector<Index>>();
    }

    Shape parse_shape(const std::string& name, std::span<const Index> extents) const {
        try {
            return Shape(extents);
        } catch (const ShapeError& error) {
            fail(fmt::format("{}: {}", name, error.what()));
        }
    }

    void check_tiling(std::span<const Entry> entries) const {
        std::size_t end = 0;
        for (const Entry& entry : entries) {
            if (entry.begin != end)
                fail(fmt::format("{} begins at byte {} of the data, and what is before it ends at {}", entry.name,
                                 entry.begin, end));
            end = entry.end;
        }
        if (end > data_bytes_)
            fail(fmt::format("it is cut off: {} of the {} bytes of its arrays are missing", end - data_bytes_, end));
        if (end < data_bytes_) fail(fmt::format("{} bytes come after the {} of its arrays", data_bytes_ - end, end));
    }

    const std::string& path_;
    std::size_t data_bytes_;
};

template <class Stored, class T> void convert(std::string_view bytes, std::span<T> into) {
    for (std::size_t i = 0; i < into.size(); ++i) {
        Stored stored;
        std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
        into[i] = static_cast<T>(stored);
    }
}

/// The upper half of a float.
struct BFloat16 {
    std::uint16_t bits;
    explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
    explicit operator double() const { return static_cast<double>(static_cast<float>(*this)); }
};

struct Half {
    std::uint16_t bits;
    explicit operator float() const {
        xtl::half_float half;
        std::memcpy(static_cast<void*>(&half), &bits, sizeof(bits));
        return static_cast<float>(half);
    }
    explicit operator double() const { return static_cast<double>(static_cast<float>(*this)); }
};
static_assert(sizeof(xtl::half_float) == sizeof(std::uint16_t));

std::string_view bytes_of(const ConstArray& array) {
    return std::visit(
        [](const auto& values) {
            return std::string_view(reinterpret_cast<const char*>(values.data()), values.size_bytes());
        },
        array.values);
}

/// Padded, so that the data begin at a multiple of 8 bytes.
std::string header_text(const ForeignJson& header) {
    try {
        std::string text = header.dump();
        return text.append((8 - text.size() % 8) % 8, ' ');
    } catch (const ForeignJson::exception&) {
        throw ValueError("save: a name or the metadata are not UTF-8");
    }
}

}  // namespace

ConstArray::ConstArray(const Array& array)
    : name(array.name),
      shape(array.shape),
      values(std::visit(
          [](const auto& elements) -> decltype(values) {
              return std::span<const typename std::remove_cvref_t<decltype(elements)>::element_type>(elements);
          },
          array.values)) {}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path, std::uint64_t limit)
    : path_(path.string()), bytes_(read_file(path, limit)) {
    const std::string_view all = bytes_;
    std::uint64_t header_bytes = 0;
    if (all.size() < sizeof(header_bytes)) HeaderParser(path_, 0).fail(fmt::format("it has only {} bytes", all.size()));
    std::memcpy(&header_bytes, all.data(), sizeof(header_bytes));
    const std::string_view rest = all.substr(sizeof(header_bytes));
    if (header_bytes > std::min<std::uint64_t>(rest.size(), header_limit))
        HeaderParser(path_, 0).fail(
            header_bytes > header_limit
                ? fmt::format("its first 8 bytes are not the length of a header: they say {}", header_bytes)
                : fmt::format("it is cut off: {} of the {} bytes of its header are missing", header_bytes - rest.size(),
                              header_bytes));
    data_ = rest.substr(header_bytes);
    HeaderParser(path_, data_.size()).parse(rest.substr(0, header_bytes), entries_, metadata_);
}

const SafetensorsFile::Entry* SafetensorsFile::find(std::string_view name) const {
    const auto entry = std::ranges::find(entries_, name, &Entry::name);
    return entry == entries_.end() ? nullptr : &*entry;
}

template <Real T> void SafetensorsFile::read(const Entry& entry, std::span<T> into) const {
    const std::string_view bytes = data_.substr(entry.begin, entry.end - entry.begin);
    switch (entry.dtype) {
        case Dtype::f16:
            return convert<Half>(bytes, into);
        case Dtype::bf16:
            return convert<BFloat16>(bytes, into);
        case Dtype::f32:
            return convert<float>(bytes, into);
        case Dtype::f64:
            return convert<double>(bytes, into);
        case Dtype::i32:
            return convert<std::int32_t>(bytes, into);
    }
}

template <Real T> Tensor<T> SafetensorsFile::tensor(std::string_view name) const {
    const Entry* entry = find(name);
    if (entry == nullptr) throw FileError(fmt::format("load: {} has no {}", path_, name));
    Tensor<T> result = Tensor<T>::unwritten(entry->shape);
    read(*entry, std::span<T>(result.body()->data, static_cast<std::size_t>(result.size())));
    return result;
}

void save_arrays(const std::filesystem::path& path, std::span<const ConstArray> arrays, const Metadata& metadata) {
    ForeignJson header = ForeignJson::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    std::vector<std::string_view> parts(2);  // the first two are the header's length and text
    std::size_t end = 0;
    for (const ConstArray& array : arrays) {
        if (header.contains(array.name) || array.name == "__metadata__")
            throw ValueError(fmt::format("save: the name {} is taken", array.name));
        const std::size_t begin = end;
        parts.push_back(bytes_of(array));
        end += parts.back().size();
        constexpr std::string_view written[] = {"F32", "F64", "I32"};  // in the order of the variant
        const std::string_view dtype = written[array.values.index()];
        header[array.name] = {{"dtype", dtype},
                              {"shape", std::vector<Index>(array.shape.begin(), array.shape.end())},
                              {"data_offsets", {begin, end}}};
    }
    std::string text = header_text(header);
    const std::uint64_t header_bytes = text.size();
    parts[0] = {reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes)};
    parts[1] = text;
    atomic_write(path, parts);
}

void save_arrays(const std::filesystem::path& path, const Arrays& arrays, const Metadata& metadata) {
    save_arrays(path, std::vector<ConstArray>(arrays.begin(), arrays.end()), metadata);
}

Metadata load_arrays(const std::filesystem::path& path, std::span<const Array> arrays, std::string_view wanted_by) {
    const SafetensorsFile file(path);
    std::map<std::string_view, const Entry*> entries;
    for (const Entry& entry : file.entries()) entries.emplace(entry.name, &entry);
    std::set<std::string_view> wanted;
    for (const Array& array : arrays) {
        wanted.insert(array.name);
        const auto found = entries.find(array.name);
        if (found == entries.end())
            throw FileError(fmt::format("load: {} is missing in {}, {} wants {}", array.name, file.path(), wanted_by,
                                        to_string(array.shape)));
        if (found->second->shape != array.shape)
            throw FileError(fmt::format("load: {} is {} in {}, {} wants {}", array.name,
                                        to_string(found->second->shape), file.path(), wanted_by,
                                        to_string(array.shape)));
    }
    for (const Entry& entry : file.entries()) {
        if (!wanted.contains(entry.name))
            throw FileError(fmt::format("load: {} is {} in {}, {} has nothing of that name", entry.name,
                                        to_string(entry.shape), file.path(), wanted_by));
    }
    for (const Array& array : arrays)
        std::visit([&](auto values) { file.read(*entries.at(array.name), values); }, array.values);
    return file.metadata();
}

namespace detail {

template <Real T> std::vector<ConstArray> readable(const std::vector<NamedConst<T>>& parameters) {
    std::vector<ConstArray> arrays;
    for (const auto& [name, parameter] : parameters) arrays.emplace_back(name, parameter->shape(), parameter->values());
    return arrays;
}

template <Real T> Arrays writable(const std::vector<Named<T>>& parameters) {
    Arrays arrays;
    for (const auto& [name, parameter] : parameters) arrays.push_back({name, parameter->shape(), parameter->write()});
    return arrays;
}

template std::vector<ConstArray> readable(const std::vector<NamedConst<float>>&);
template std::vector<ConstArray> readable(const std::vector<NamedConst<double>>&);
template Arrays writable(const std::vector<Named<float>>&);
template Arrays writable(const std::vector<Named<double>>&);

}  // namespace detail

template void SafetensorsFile::read(const Entry&, std::span<float>) const;
template void SafetensorsFile::read(const Entry&, std::span<double>) const;
template Tensor<float> SafetensorsFile::tensor(std::string_view) const;
template Tensor<double> SafetensorsFile::tensor(std::string_view) const;

}  // namespace xtape::nn
