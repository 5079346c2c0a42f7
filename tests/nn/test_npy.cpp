#include <xtape/nn/file.hpp>
#include <xtape/nn/npy.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/nn/temporary_folder.hpp>

namespace test_npy {

namespace {

using namespace xtape;
using namespace std::string_literals;
using Catch::Matchers::Contains;

/// A file as numpy.save writes it, in format 1.
std::string npy(const std::string& header, const std::string& data) {
    const char length[] = {static_cast<char>(header.size()), 0};
    return "\x93NUMPY\x01\x00"s + std::string(length, 2) + header + data;
}

std::string bytes_of(const std::vector<float>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace

TEST_CASE("npy: what is written comes back, for every rank and type") {
    const TemporaryFolder folder;
    const auto file = folder / "a.npy";
    for (const Shape& shape : {Shape{}, Shape{3}, Shape{2, 3}, Shape{2, 0, 3}, Shape{1, 2, 3, 1}}) {
        std::vector<std::int32_t> numbers(static_cast<std::size_t>(shape.size()));
        for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::int32_t>(i * i) - 3;
        const std::vector<float> floats(numbers.begin(), numbers.end());
        const std::vector<double> doubles(numbers.begin(), numbers.end());
        nn::write_npy<std::int32_t>(file, shape, numbers);
        CHECK(nn::read_npy(file).values == doubles);
        CHECK(nn::read_npy(file).shape == shape);
        nn::write_npy<float>(file, shape, floats);
        CHECK(nn::read_npy(file).values == doubles);
        nn::write_npy<double>(file, shape, doubles);
        CHECK(nn::read_npy(file).values == doubles);
        CHECK(nn::read_npy(file).dtype == nn::SafetensorsFile::Dtype::f64);
    }
}

TEST_CASE("npy: the data begin at a multiple of 64, as numpy writes them") {
    const TemporaryFolder folder;
    nn::write_npy<float>(folder / "a.npy", {3}, std::vector<float>{1, 2, 3});
    const std::string bytes = nn::read_file(folder / "a.npy");
    CHECK(bytes.size() == 128 + 12);
    CHECK(bytes[127] == '\n');
}

TEST_CASE("npy: Fortran order is turned into rows") {
    const TemporaryFolder folder;
    nn::atomic_write(folder / "a.npy",
                     npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", bytes_of({1, 4, 2, 5, 3, 6})));
    CHECK(nn::read_npy(folder / "a.npy").values == std::vector<double>{1, 2, 3, 4, 5, 6});
}

TEST_CASE("npy: a broken file is refused with one sentence") {
    const TemporaryFolder folder;
    const auto error = [&](const std::string& bytes) {
        nn::atomic_write(folder / "a.npy", bytes);
        try {
            nn::read_npy(folder / "a.npy");
        } catch (const FileError& refused) {
            return std::string(refused.what());
        }
        return "read"s;
    };
    const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    CHECK(error(npy(good, bytes_of({1, 2}))) == "read");
    CHECK_THAT(error(""), Contains("does not begin as one"));
    CHECK_THAT(error(npy(good, bytes_of({1}))), Contains("2 elements of 4 bytes do not fill its 4 bytes"));
    CHECK_THAT(error(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", bytes_of({1, 2}))),
               Contains("elements of the type >f4"));
    CHECK_THAT(error(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }", "")),
               Contains("is not an npy file"));
    CHECK_THAT(error(npy("{'descr': '<f4', 'shape': (2,), }", bytes_of({1, 2}))), Contains("lacks a '"));
    for (std::size_t length = 0; length < good.size(); ++length)
        CHECK(error(npy(good.substr(0, length), bytes_of({1, 2}))) != "read");
    for (std::size_t at = 0; at < good.size(); ++at) {  // no byte of the header makes it crash
        std::string changed = npy(good, bytes_of({1, 2}));
        changed[10 + at] = '(';
        error(changed);
    }
}

}  // namespace test_npy
