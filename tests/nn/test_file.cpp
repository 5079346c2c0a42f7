#include <xtape/engine/error.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/nn/temporary_folder.hpp>

#include <sys/stat.h>

namespace test_file {

using namespace xtape;

TEST_CASE("file: what is written is read back") {
    const TemporaryFolder folder;
    const std::string bytes("a\0b\r\n\xff", 6);
    nn::atomic_write(folder / "x", bytes);
    CHECK(nn::read_file(folder / "x") == bytes);
    nn::atomic_write(folder / "x", "");
    CHECK(nn::read_file(folder / "x").empty());
}

TEST_CASE("file: parts are written end to end, and no temporary file stays") {
    const TemporaryFolder folder;
    const std::string_view parts[] = {"one ", "", "two"};
    nn::atomic_write(folder / "x", parts);
    CHECK(nn::read_file(folder / "x") == "one two");
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("file: the limit is the most that is read") {
    const TemporaryFolder folder;
    const auto path = folder.file("x", "12345");
    CHECK(nn::read_file(path, 5) == "12345");
    CHECK_THROWS_WITH(nn::read_file(path, 4), "read: " + path.string() + " is too large: more than 4 bytes");
}

TEST_CASE("file: a source without a length is read to its end or to the limit") {
    CHECK(nn::read_file("/dev/null").empty());
    CHECK_THROWS_WITH(nn::read_file("/dev/zero", 100000), "read: /dev/zero is too large: more than 100000 bytes");
}

TEST_CASE("file: a missing file and a folder are named") {
    const TemporaryFolder folder;
    const std::string missing = (folder / "missing").string();
    CHECK_THROWS_AS(nn::read_file(missing), FileError);
    CHECK_THROWS_WITH(nn::read_file(missing), "read: " + missing + ": No such file or directory");
    CHECK_THROWS_WITH(nn::read_file(folder.path()), "read: " + folder.path().string() + ": Is a directory");
}

TEST_CASE("file: a pipe or a device is not replaced") {
    const TemporaryFolder folder;
    const auto pipe = folder / "pipe";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    CHECK_THROWS_WITH(nn::atomic_write(pipe, "text"), Catch::Matchers::Contains("no file to replace"));
    CHECK(std::filesystem::is_fifo(pipe));
}

TEST_CASE("file: a write that fails changes nothing") {
    const TemporaryFolder folder;
    const std::string inside = (folder / "no/such/x").string();
    CHECK_THROWS_AS(nn::atomic_write(inside, "1"), FileError);
    CHECK_THROWS_WITH(nn::atomic_write(inside, "1"), "write: " + inside + ": No such file or directory");
    std::filesystem::create_directory(folder / "taken");
    CHECK_THROWS_WITH(nn::atomic_write(folder / "taken", "1"),
                      "write: " + (folder / "taken").string() + ": Is a directory");
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

}  // namespace test_file
