#include <xtape/engine/error.hpp>
#include <xtape/models/text/text.hpp>

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace xtape::models {
namespace {

struct Descriptor {
    explicit Descriptor(int value) : value(value) {}
    ~Descriptor() {
        if (value >= 0) ::close(value);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    const int value;
};

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// The first place from `at` on where a piece may end.
std::size_t next_cut(std::string_view text, std::size_t at) {
    for (; at < text.size(); ++at) {
        if (text[at] == ' ' && !is_space(text[at - 1])) return at;
    }
    return text.size();
}

}  // namespace

Text Text::open(const std::filesystem::path& path) {
    const auto fail = [&](int error) {
        throw FileError(fmt::format("read: {}: {}", path.string(), std::generic_category().message(error)));
    };
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe is refused, not awaited
    struct stat status {};
    if (file.value < 0 || ::fstat(file.value, &status) != 0) fail(errno);
    if (S_ISDIR(status.st_mode)) fail(EISDIR);
    if (!S_ISREG(status.st_mode)) throw FileError(fmt::format("read: {} is not a regular file", path.string()));
    if (status.st_size == 0) throw FileError(fmt::format("read: {} is empty", path.string()));
    const auto size = static_cast<std::size_t>(status.st_size);
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
    if (mapping == MAP_FAILED) fail(errno);
    Text text = std::string_view(static_cast<char*>(mapping), size);
    text.mapping_ = {static_cast<char*>(mapping), [size](char* begin) { ::munmap(begin, size); }};
    return text;
}

void Text::for_each_piece(const std::function<void(std::string_view)>& visit, std::size_t window) const {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    for (std::size_t begin = 0; begin < size();) {
        const std::size_t end = next_cut(bytes_, begin + window);
        visit(bytes_.substr(begin, end - begin));
        if (mapping_) ::madvise(mapping_.get(), end / page * page, MADV_DONTNEED);
        begin = end;
    }
}

}  // namespace xtape::models
