#include <xtape/engine/check/xtape_compare.h>
#include <xtape/nn/safetensors.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/nn/temporary_folder.hpp>

#include <array>
#include <cmath>

namespace test_xtape_compare_export {

using namespace xtape;

namespace {

/// The answers of an exported folder: w [2, 2] with a noise floor of 1e-6, and b [3].
struct Answers {
    TemporaryFolder folder;
    std::vector<double> w{1, 2, 3, 4}, b{1, 0, -1};

    Answers() {
        const std::vector<double> no_integers{1.5, 3e9, std::nan("")};
        nn::save_arrays(folder / "answers.safetensors",
                        std::vector<nn::ConstArray>{{"w", {2, 2}, std::span<const double>(w)},
                                                    {"b", {3}, std::span<const double>(b)},
                                                    {"x", {3}, std::span<const double>(no_integers)}},
                        {{"noise of w", "1e-6"}});
    }

    xtape_report* judge(const std::vector<float>& gradient, std::int64_t rows, const char* name = "w") const {
        xtape_tensor one{};
        one.name = name;
        one.rank = 2;
        one.extents[0] = rows;
        one.extents[1] = 4 / rows;
        one.gradient = gradient.data();
        return xtape_compare_export(folder.path().c_str(), &one, 1);
    }
};

std::string error_of(xtape_report* report) {
    const char* error = xtape_error(report);
    std::string text = error != nullptr ? error : "";
    xtape_free(report);
    return text;
}

}  // namespace

TEST_CASE("xtape_compare_export: judged by the answers of a folder and their noise floors") {
    const Answers answers;
    xtape_report* near = answers.judge({1, 2, 3, 4.00002f}, 2);
    CHECK(xtape_passed(near) == 1);
    xtape_free(near);
    xtape_report* off = answers.judge({1, 3, 2, 4}, 2);
    CHECK(xtape_passed(off) == 0);
    CHECK(xtape_row_at(off, 0)->diagnosis == std::string("transposed"));
    xtape_free(off);
}

TEST_CASE("xtape_compare_export: a wrong shape, an unknown name or no folder ends in a sentence") {
    const Answers answers;
    CHECK(error_of(answers.judge({1, 2, 3, 4}, 1)) == "xtape_compare_export: w is [1, 4], should be [2, 2]");
    CHECK(error_of(answers.judge({1, 2, 3, 4}, 2, "wq")).ends_with("has no wq"));
    CHECK(error_of(xtape_compare_export(nullptr, nullptr, 0)) == "xtape_compare_export: there is no folder");
    CHECK_FALSE(error_of(xtape_compare_export("/nowhere", nullptr, 0)).empty());
}

TEST_CASE("xtape_read: an array of a file as the type that is asked for") {
    const Answers answers;
    const std::string file = (answers.folder / "answers.safetensors").string();
    std::array<float, 3> f32{};
    std::array<std::int32_t, 3> i32{};
    CHECK(xtape_read(file.c_str(), "b", XTAPE_F32, f32.data(), 3) == 0);
    CHECK(xtape_read(file.c_str(), "b", XTAPE_I32, i32.data(), 3) == 0);
    CHECK(f32 == std::array<float, 3>{1, 0, -1});
    CHECK(i32 == std::array<std::int32_t, 3>{1, 0, -1});
    CHECK(xtape_read(file.c_str(), "x", XTAPE_I32, i32.data(), 3) == 1);
    CHECK(xtape_read(file.c_str(), "b", XTAPE_F32, f32.data(), 2) == 1);
    CHECK(xtape_read(file.c_str(), "c", XTAPE_F32, f32.data(), 3) == 1);
    CHECK(xtape_read(file.c_str(), "b", static_cast<xtape_dtype>(3), f32.data(), 3) == 1);
    CHECK(xtape_read("/nowhere", "b", XTAPE_F32, f32.data(), 3) == 1);
}

}  // namespace test_xtape_compare_export
