#include <xtape/nn/file.hpp>
#include <xtape/nn/safetensors.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/nn/temporary_folder.hpp>

#include <cmath>
#include <cstring>
#include <limits>

namespace test_safetensors {

using namespace xtape;
using Catch::Matchers::Equals;

namespace {

template <class T> struct Model {
    using Scalar = T;
    Parameter<T> a, b;

    explicit Model(std::uint64_t seed = 1) : a(Shape{2, 3}), b(Shape{3}) {
        nn::Rng rng(seed);
        a = Parameter<T>(nn::normal<T>({2, 3}, rng, 1));
        b = Parameter<T>(nn::normal<T>({3}, rng, 1));
    }
    void each_parameter(auto&& visit) {
        visit("a", a);
        visit("b", b);
    }
    bool operator==(const Model& other) const {
        return std::ranges::equal(a.values(), other.a.values()) && std::ranges::equal(b.values(), other.b.values());
    }
};

std::string file_of(std::string_view header, std::string_view data) {
    const std::uint64_t length = header.size();
    std::string bytes(sizeof(length), '\0');
    std::memcpy(bytes.data(), &length, sizeof(length));
    return bytes.append(header).append(data);
}

/// The text of the FileError that a file of this header and so many bytes of data gives, without the path.
std::string error_of(std::string_view header, std::size_t data_bytes) {
    const TemporaryFolder folder;
    const auto path = folder.file("x.safetensors", file_of(header, std::string(data_bytes, '\0')));
    try {
        const nn::SafetensorsFile file(path);
        return "";
    } catch (const FileError& error) {
        std::string text = error.what();
        text.replace(text.find(path.string()), path.string().size(), "FILE");
        return text;
    }
}

}  // namespace

TEMPLATE_TEST_CASE("safetensors: a model and its metadata come back bit for bit", "", float, double) {
    const TemporaryFolder folder;
    Model<TestType> model(1), other(2);
    model.a.write()[0] = std::numeric_limits<TestType>::denorm_min();
    model.a.write()[1] = -std::numeric_limits<TestType>::infinity();
    nn::save(folder / "m", model, {{"step", "3"}, {"note", "\"ü\n"}});
    CHECK(nn::load(folder / "m", other) == nn::Metadata{{"step", "3"}, {"note", "\"ü\n"}});
    CHECK(other == model);
}

TEST_CASE("safetensors: float and double load from each other's files") {
    const TemporaryFolder folder;
    const Model<float> narrow(1);
    Model<double> wide(2);
    nn::save(folder / "m", narrow);
    nn::load(folder / "m", wide);
    CHECK(wide.a.values()[2] == static_cast<double>(narrow.a.values()[2]));
    nn::save(folder / "m", wide);
    Model<float> back(3);
    nn::load(folder / "m", back);
    CHECK(back == narrow);
}

TEST_CASE("safetensors: the bytes are those of the format") {
    const TemporaryFolder folder;
    const float values[] = {1, 2};
    nn::save_arrays(folder / "m", {{nn::ConstArray("w", Shape{2, 1}, std::span(values))}}, {{"k", "v"}});
    std::string header = R"({"__metadata__":{"k":"v"},"w":{"data_offsets":[0,8],"dtype":"F32","shape":[2,1]}})";
    header.append((8 - header.size() % 8) % 8, ' ');
    CHECK(nn::read_file(folder / "m") == file_of(header, std::string("\0\0\x80\x3f\0\0\0\x40", 8)));
}

TEST_CASE("safetensors: scalars and arrays of nothing") {
    const TemporaryFolder folder;
    double step = 12;
    nn::Arrays arrays{{"step", Shape{}, std::span(&step, 1)}, {"none", Shape{0, 4}, std::span<float>()}};
    nn::save_arrays(folder / "m", arrays);
    step = 0;
    nn::load_arrays(folder / "m", arrays);
    CHECK(step == 12);
    nn::save_arrays(folder / "empty", nn::Arrays{});
    CHECK(nn::SafetensorsFile(folder / "empty").entries().empty());
}

TEST_CASE("safetensors: every F16 value is read") {
    const TemporaryFolder folder;
    std::string data(2 * 65536, '\0');
    for (std::size_t bits = 0; bits < 65536; ++bits) std::memcpy(data.data() + 2 * bits, &bits, 2);
    folder.file("h", file_of(R"({"w":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]}})", data));
    const auto w = nn::SafetensorsFile(folder / "h").tensor<double>("w");
    int wrong = 0;
    for (int bits = 0; bits < 65536; ++bits) {
        const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
        double expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
        if (exponent == 31) expected = fraction == 0 ? INFINITY : NAN;
        if (bits >= 32768) expected = -expected;
        const double got = w.values()[static_cast<std::size_t>(bits)];
        const bool same = got == expected && std::signbit(got) == std::signbit(expected);
        if (!(std::isnan(expected) ? std::isnan(got) : same)) ++wrong;
    }
    CHECK(wrong == 0);
}

TEST_CASE("safetensors: BF16 is the upper half of a float") {
    const TemporaryFolder folder;
    const std::uint16_t bits[] = {0x3f80, 0xc000, 0x0001, 0x7f80, 0x7fc0, 0x8000, 0x4049};
    std::string data(sizeof(bits), '\0');
    std::memcpy(data.data(), bits, sizeof(bits));
    folder.file("h", file_of(R"({"w":{"dtype":"BF16","shape":[7],"data_offsets":[0,14]}})", data));
    const auto w = nn::SafetensorsFile(folder / "h").tensor<float>("w");
    CHECK(w.values()[0] == 1);
    CHECK(w.values()[1] == -2);
    CHECK(w.values()[2] == std::ldexp(1.0f, -133));
    CHECK(std::isinf(w.values()[3]));
    CHECK(std::isnan(w.values()[4]));
    CHECK(std::signbit(w.values()[5]));
    CHECK(w.values()[6] == 3.140625f);
}

TEST_CASE("safetensors: what does not fit the model is named, and nothing is changed") {
    const TemporaryFolder folder;
    const std::string path = (folder / "m").string();
    Model<float> model(1);
    const Model<float> before(1);
    const float values[12] = {};
    const auto refused = [&](std::vector<nn::ConstArray> arrays, const std::string& text) {
        nn::save_arrays(path, arrays);
        CHECK_THROWS_AS(nn::load(path, model), FileError);
        CHECK_THROWS_WITH(nn::load(path, model), Equals(text));
        CHECK(model == before);
    };
    const nn::ConstArray a("a", Shape{2, 3}, std::span(values, 6)), b("b", Shape{3}, std::span(values, 3));
    refused({a, {"b", Shape{1, 3}, std::span(values, 3)}}, "load: b is [1, 3] in " + path + ", the model wants [3]");
    refused({a}, "load: b is missing in " + path + ", the model wants [3]");
    refused({a, b, {"c", Shape{12}, std::span(values, 12)}},
            "load: c is [12] in " + path + ", the model has nothing of that name");
    CHECK_THROWS_WITH(nn::SafetensorsFile(path).tensor<float>("d"), "load: " + path + " has no d");
}

TEST_CASE("safetensors: two arrays of one name, and text that is not UTF-8, are not saved") {
    const TemporaryFolder folder;
    const float values[1] = {};
    const nn::ConstArray a("a", Shape{1}, std::span(values));
    CHECK_THROWS_WITH(nn::save_arrays(folder / "m", std::vector{a, a}), "save: the name a is taken");
    CHECK_THROWS_WITH(nn::save_arrays(folder / "m", std::vector{a}, {{"k", "\xff"}}),
                      "save: a name or the metadata are not UTF-8");
    CHECK_FALSE(std::filesystem::exists(folder / "m"));
}

TEST_CASE("safetensors: a broken header says what is wrong") {
    const std::string not_one = "load: FILE is not a safetensors file: ";
    const auto entry = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
        return std::string(R"({"w":{"dtype":")").append(dtype).append(R"(","shape":)").append(shape) +
               R"(,"data_offsets":)" + std::string(offsets) + "}}";
    };
    CHECK(error_of(entry("F32", "[1]", "[0,4]"), 4).empty());
    CHECK(error_of(" {}", 0) == not_one + "the header does not begin with {");
    CHECK(error_of("", 0) == not_one + "the header does not begin with {");
    CHECK(error_of("{", 0) == not_one + "its header is broken JSON");
    CHECK(error_of("{\"\xff\":1}", 0) == not_one + "its header is broken JSON");
    CHECK(error_of(R"({"w":1})", 0) == not_one + "w does not have a dtype, a shape and data_offsets, and nothing else");
    CHECK(error_of(R"({"__metadata__":{"a":1}})", 0) == not_one + "its metadata are not strings by name");
    CHECK(error_of(R"({"w":[[[[1]]]]})", 0) == not_one + "the header is nested too deeply");
    CHECK(error_of(R"({"__metadata__":{"a":"1","a":"2"}})", 0) == not_one + "its header names a twice");
    CHECK(error_of(entry("I64", "[1]", "[0,8]"), 8) ==
          "load: w in FILE has the dtype I64; F16, BF16, F32, F64 and I32 can be read");
    CHECK(error_of(entry("F32", "[-1]", "[0,4]"), 4) == not_one + "the shape of w are not whole numbers in range");
    CHECK(error_of(entry("F32", "[1.0]", "[0,4]"), 4) == not_one + "the shape of w are not whole numbers in range");
    CHECK(error_of(entry("F32", "[18446744073709551615]", "[0,4]"), 4) ==
          not_one + "the shape of w are not whole numbers in range");
    CHECK(error_of(entry("F32", "[4294967296,4294967296]", "[0,0]"), 0) ==
          not_one + "w: shape: too many elements: shape is [4294967296, 4294967296]");
    CHECK(error_of(entry("F32", "[1,1,1,1,1,1,1]", "[0,4]"), 4) ==
          not_one + "w: shape: rank 7 is above 6: shape is [1, 1, 1, 1, 1, 1, 1]");
    CHECK(error_of(entry("F32", "[1]", "[0,8]"), 8) == not_one + "the data_offsets of w do not span 1 elements of F32");
    CHECK(error_of(entry("F32", "[1]", "[4,0]"), 4) == not_one + "the data_offsets of w do not span 1 elements of F32");
    CHECK(error_of(entry("F32", "[1]", "[0]"), 4) == not_one + "the data_offsets of w do not span 1 elements of F32");
    CHECK(error_of(entry("F32", "[1]", "[4,8]"), 8) ==
          not_one + "w begins at byte 4 of the data, and what is before it ends at 0");
    CHECK(error_of(entry("F32", "[1]", "[0,4]"), 5) == not_one + "1 bytes come after the 4 of its arrays");
    CHECK(error_of(entry("F32", "[1]", "[0,4]"), 3) ==
          not_one + "it is cut off: 1 of the 4 bytes of its arrays are missing");
}

TEST_CASE("safetensors: a header length beyond the file is refused before anything is allocated") {
    const TemporaryFolder folder;
    std::string bytes = file_of("{}", "");
    bytes[7] = '\x7f';
    const auto path = folder.file("m", bytes);
    CHECK_THROWS_WITH(nn::SafetensorsFile(path),
                      "load: " + path.string() +
                          " is not a safetensors file: its first 8 bytes are not the length of "
                          "a header: they say 9151314442816847874");
    CHECK_THROWS_WITH(nn::SafetensorsFile(folder.file("s", "1234567")),
                      "load: " + (folder / "s").string() + " is not a safetensors file: it has only 7 bytes");
}

TEST_CASE("safetensors: a file cut anywhere is refused, and the model stays") {
    const TemporaryFolder folder;
    nn::save(folder / "m", Model<float>(2), {{"step", "1"}});
    const std::string bytes = nn::read_file(folder / "m");
    Model<float> model(1);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        const auto path = folder.file("cut", bytes.substr(0, length));
        REQUIRE_THROWS_AS(nn::load(path, model), FileError);
    }
    CHECK(model == Model<float>(1));
}

TEST_CASE("safetensors: with any bit of its header flipped a file is refused or loads whole") {
    const TemporaryFolder folder;
    const Model<float> saved(2), before(1);
    nn::save(folder / "m", saved, {{"step", "1"}});
    const std::string bytes = nn::read_file(folder / "m");
    const std::size_t header_end = bytes.size() - 9 * sizeof(float);
    Model<float> model(1);
    int refused = 0;
    for (std::size_t bit = 0; bit < 8 * header_end; ++bit) {
        std::string flipped = bytes;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        const auto path = folder.file("flipped", flipped);
        try {
            nn::load(path, model);
            REQUIRE(model == saved);
            model = before;
        } catch (const FileError&) {
            ++refused;
            REQUIRE(model == before);
        }
    }
    CHECK(refused > 1000);
}

TEST_CASE("safetensors: int32 arrays come back") {
    const TemporaryFolder folder;
    const std::vector<std::int32_t> tokens{0, 5, -1};
    const std::vector<nn::ConstArray> arrays{{"tokens", Shape{3}, std::span<const std::int32_t>(tokens)}};
    nn::save_arrays(folder / "x.safetensors", arrays);
    const nn::SafetensorsFile file(folder / "x.safetensors");
    CHECK(file.entries()[0].dtype == nn::SafetensorsFile::Dtype::i32);
    CHECK_THAT(file.tensor<double>("tokens").values()[2], Catch::Matchers::WithinULP(-1.0, 0));
}

}  // namespace test_safetensors
