#pragma once
// Text of any size, which is read from front to back in pieces.

#include <concepts>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

namespace xtape::models {

/// Bytes in memory that someone else owns, or a file that is mapped into memory for as long as this lives.
class Text {
public:
    template <std::convertible_to<std::string_view> Bytes> Text(const Bytes& bytes) : bytes_(bytes) {}
    /// Maps a file. Throws FileError when it is missing, unreadable, empty, a folder or a device.
    static Text open(const std::filesystem::path& path);

    std::size_t size() const { return bytes_.size(); }

    /// Visits the text in order, in pieces of about `window` bytes; the pages of a file that have been visited are
    /// given back. A cut stands before a space that follows no white space, where no word of a Tokenizer goes on.
    void for_each_piece(const std::function<void(std::string_view)>& visit, std::size_t window = 1 << 20) const;

private:
    std::shared_ptr<char> mapping_;  ///< none for bytes in memory
    std::string_view bytes_;
};

}  // namespace xtape::models
