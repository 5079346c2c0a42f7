#include <xtape/nn/file.hpp>
#include <xtape/nn/npy.hpp>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xtl/xhalf_float.hpp>

namespace xtape::nn {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

namespace {

using Dtype = SafetensorsFile::Dtype;
using namespace std::string_view_literals;

constexpr std::string_view magic = "\x93NUMPY"sv;

struct Description {
    Dtype dtype;
    std::string_view name;
    Index bytes;
};
constexpr Description descriptions[] = {
    {Dtype::f16, "<f2", 2}, {Dtype::f32, "<f4", 4}, {Dtype::f64, "<f8", 8}, {Dtype::i32, "<i4", 4}};

[[noreturn]] void fail(const std::string& path, std::string_view what) {
    throw FileError(fmt::format("load: {} is not an npy file: {}", path, what));
}

/// Reads the header, a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class NpyHeader {
public:
    NpyHeader(const std::string& path, std::string_view text) : path_(path), rest_(text) {}

    std::string_view descr;
    bool fortran = false;
    std::vector<Index> extents;

    void parse() {
        expect("{");
        for (int key = 0; key < 3; ++key) {
            const std::string_view name = quoted();
            expect(":");
            if (name == "descr")
                descr = quoted();
            else if (name == "fortran_order")
                fortran = boolean();
            else if (name == "shape")
                tuple();
            else
                fail(path_, "its header has a key that is none of descr, fortran_order and shape");
            if (!accept(",") && key < 2) fail(path_, "its header does not have descr, fortran_order and shape");
        }
        expect("}");
        skip_blanks();
        if (!rest_.empty()) fail(path_, "its header does not end where its dictionary does");
    }

private:
    void skip_blanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n"), rest_.size())); }
    bool accept(std::string_view token) {
        skip_blanks();
        if (!rest_.starts_with(token)) return false;
        rest_.remove_prefix(token.size());
        return true;
    }
    void expect(std::string_view token) {
        if (!accept(token)) fail(path_, fmt::format("its header lacks a {}", token));
    }
    std::string_view quoted() {
        expect("'");
        const std::size_t end = rest_.find('\'');
        if (end == std::string_view::npos) fail(path_, "its header lacks a '");
        const std::string_view text = rest_.substr(0, end);
        rest_.remove_prefix(end + 1);
        return text;
    }
    bool boolean() {
        if (accept("True")) return true;
        expect("False");
        return false;
    }
    void tuple() {
        expect("(");
        while (!accept(")")) {
            skip_blanks();
            Index extent = -1;
            const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), extent);
            if (error != std::errc() || extent < 0) fail(path_, "an extent of its shape is not a whole number");
            rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
            extents.push_back(extent);
            if (accept(",")) continue;
            expect(")");
            break;
        }
    }

    const std::string& path_;
    std::string_view rest_;
};

template <class Stored> void widen(std::string_view bytes, std::span<double> into) {
    for (std::size_t i = 0; i < into.size(); ++i) {
        Stored stored;
        std::memcpy(static_cast<void*>(&stored), bytes.data() + i * sizeof(Stored), sizeof(Stored));
        into[i] = static_cast<double>(static_cast<std::conditional_t<sizeof(Stored) == 2, float, Stored>>(stored));
    }
}

std::vector<double> elements(Dtype dtype, std::string_view bytes, Index size) {
    std::vector<double> values(static_cast<std::size_t>(size));
    switch (dtype) {
        case Dtype::f16:
            widen<xtl::half_float>(bytes, values);
            break;
        case Dtype::f64:
            widen<double>(bytes, values);
            break;
        case Dtype::i32:
            widen<std::int32_t>(bytes, values);
            break;
        default:
            widen<float>(bytes, values);
    }
    return values;
}

/// From the first axis fastest to the last axis fastest.
std::vector<double> row_major(const std::vector<double>& values, const Shape& shape) {
    std::vector<double> result(values.size());
    for (std::size_t to = 0; to < values.size(); ++to) {
        Index rest = static_cast<Index>(to), from = 0, stride = shape.size();
        for (int axis = shape.rank() - 1; axis >= 0; --axis) {
            stride /= shape[axis];
            from += rest % shape[axis] * stride;
            rest /= shape[axis];
        }
        result[to] = values[static_cast<std::size_t>(from)];
    }
    return result;
}

}  // namespace

NpyArray read_npy(const std::filesystem::path& path, std::uint64_t limit) {
    const std::string name = path.string(), bytes = read_file(path, limit);
    const std::string_view all = bytes;
    if (!all.starts_with(magic) || all.size() < 12) fail(name, "it does not begin as one");
    const bool wide = all[6] > 1;  // format 2 and 3 count the header in four bytes
    if (all[6] < 1 || all[6] > 3)
        fail(name, fmt::format("its format is {}, not 1, 2 or 3", static_cast<unsigned char>(all[6])));
    std::uint32_t length = 0;
    std::memcpy(&length, all.data() + 8, wide ? 4 : 2);
    const std::string_view rest = all.substr(wide ? 12 : 10);
    if (length > rest.size())
        fail(name, fmt::format("its header should have {} bytes, and {} are left", length, rest.size()));
    NpyHeader header(name, rest.substr(0, length));
    header.parse();
    const auto* known = std::ranges::find(descriptions, header.descr, &Description::name);
    if (known == std::end(descriptions))
        throw FileError(
            fmt::format("load: {} has elements of the type {}; <f2, <f4, <f8 and <i4 can be read", name, header.descr));
    Shape shape;
    try {
        shape = Shape(header.extents);
    } catch (const ShapeError& error) {
        fail(name, error.what());
    }
    const std::string_view data = rest.substr(length);
    if (static_cast<std::uint64_t>(shape.size()) != data.size() / static_cast<std::uint64_t>(known->bytes) ||
        data.size() % static_cast<std::uint64_t>(known->bytes) != 0)
        fail(name, fmt::format("{} elements of {} bytes do not fill its {} bytes of data", shape.size(), known->bytes,
                               data.size()));
    std::vector<double> values = elements(known->dtype, data, shape.size());
    if (header.fortran) values = row_major(values, shape);
    return {known->dtype, shape, std::move(values)};
}

template <class T> void write_npy(const std::filesystem::path& path, const Shape& shape, std::span<const T> values) {
    constexpr std::string_view descr = std::is_same_v<T, float> ? "<f4" : std::is_same_v<T, double> ? "<f8" : "<i4";
    std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr,
                                     fmt::join(shape, ", "), shape.rank() == 1 ? "," : "");
    header.append(63 - (10 + header.size()) % 64, ' ').push_back('\n');  // the data begin at a multiple of 64
    const auto length = static_cast<std::uint16_t>(header.size());
    const std::string_view parts[] = {"\x93NUMPY\x01\x00"sv,
                                      {reinterpret_cast<const char*>(&length), sizeof(length)},
                                      header,
                                      {reinterpret_cast<const char*>(values.data()), values.size_bytes()}};
    atomic_write(path, parts);
}

template void write_npy(const std::filesystem::path&, const Shape&, std::span<const float>);
template void write_npy(const std::filesystem::path&, const Shape&, std::span<const double>);
template void write_npy(const std::filesystem::path&, const Shape&, std::span<const std::int32_t>);

}  // namespace xtape::nn
