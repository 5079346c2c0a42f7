#include <xtape/engine/error.hpp>
#include <xtape/nn/file.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace xtape::nn {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string_view op, const fs::path& path, int error) {
    throw FileError(fmt::format("{}: {}: {}", op, path.string(), std::generic_category().message(error)));
}

/// Opens a file or folder; closes it at the end.
class Descriptor {
public:
    Descriptor(const fs::path& path, int flags) : value_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
    ~Descriptor() { close(); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    explicit operator bool() const { return value_ >= 0; }
    int get() const { return value_; }
    /// False when what was written did not arrive.
    bool close() { return value_ < 0 || ::close(std::exchange(value_, -1)) == 0; }

private:
    int value_;
};

/// A new file, which is removed again unless it replaces its target.
class TemporaryFile {
public:
    explicit TemporaryFile(const fs::path& target)
        : target_(target), path_(name_beside(target)), file_(path_, O_WRONLY | O_CREAT | O_EXCL) {
        if (!file_) fail("write", target_, errno);
    }
    ~TemporaryFile() {
        if (!renamed_) ::unlink(path_.c_str());
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    void write(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) fail("write", target_, errno);
            bytes.remove_prefix(static_cast<std::size_t>(written));
        }
    }

    void replace_target() {
        if (std::error_code none; fs::is_other(target_, none))  // a device or a pipe would be gone
            throw FileError(fmt::format("write: {}: that is no file to replace", target_.string()));
        if (::fsync(file_.get()) != 0 || !file_.close()) fail("write", target_, errno);
        if (::rename(path_.c_str(), target_.c_str()) != 0) fail("write", target_, errno);
        renamed_ = true;
    }

private:
    static fs::path name_beside(const fs::path& target) {
        static std::atomic<unsigned> counter{0};
        fs::path path = target;
        std::error_code ignored;
        do {
            path.replace_filename(fmt::format(".{}.{}-{}.tmp", target.filename().string(), ::getpid(), ++counter));
        } while (fs::exists(path, ignored));
        return path;
    }

    fs::path target_, path_;
    Descriptor file_;
    bool renamed_ = false;
};

}  // namespace

std::string read_file(const fs::path& path, std::uint64_t limit) {
    const Descriptor file(path, O_RDONLY);
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) fail("read", path, errno);
    if (S_ISDIR(status.st_mode)) fail("read", path, EISDIR);

    const auto size = static_cast<std::uint64_t>(status.st_size);  // 0 for a pipe, which may hold more
    std::string bytes;
    std::size_t used = 0;
    const auto check = [&](std::uint64_t length) {
        if (length > limit)
            throw FileError(fmt::format("read: {} is too large: more than {} bytes", path.string(), limit));
    };
    check(size);
    bytes.resize(size + 1);
    while (true) {
        const ssize_t got = ::read(file.get(), bytes.data() + used, bytes.size() - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("read", path, errno);
        if (got == 0) break;
        check(used += static_cast<std::size_t>(got));
        if (used == bytes.size()) bytes.resize(2 * used + 4096);
    }
    bytes.resize(used);
    return bytes;
}

void atomic_write(const fs::path& path, std::string_view bytes) { atomic_write(path, std::span(&bytes, 1)); }

void atomic_write(const fs::path& path, std::span<const std::string_view> parts) {
    TemporaryFile file(path);
    for (const std::string_view part : parts) file.write(part);
    file.replace_target();
    const Descriptor folder(path.has_parent_path() ? path.parent_path() : fs::path("."), O_RDONLY | O_DIRECTORY);
    if (folder) ::fsync(folder.get());
}

}  // namespace xtape::nn
