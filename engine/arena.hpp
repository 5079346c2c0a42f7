#pragma once
// The memory of large blocks.

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace xtape::detail {

/// Blocks of all threads, one behind the other in a large part of the address space, which takes memory where it is
/// written to and keeps it. A block is put where the first free range holds it, and ranges that touch become one, so
/// that the gradients of a backward pass live where the activations of the forward pass were, whatever the sizes of
/// both.
class Arena {
public:
    static constexpr std::size_t alignment = 64;

    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    /// Of the whole program; objects that die after main may still give their blocks back.
    static Arena& instance();

    /// A block of a multiple of the alignment, and whether the system was asked for memory. Throws std::bad_alloc.
    std::pair<void*, bool> allocate(std::size_t bytes);
    void release(void* block, std::size_t bytes) noexcept;

private:
    struct Range {
        std::byte* begin;
        std::size_t bytes;
    };

    void grow(std::size_t bytes);
    bool commit(std::size_t bytes, bool sparing);
    bool reserve(std::size_t bytes, bool sparing);
    void join(Range range) noexcept;

    std::mutex mutex_;
    std::vector<Range> free_;   ///< by address; no two of them touch
    std::size_t in_use_ = 0;    ///< blocks
    std::size_t reserved_ = 0;  ///< parts of the address space
    Range left_{};              ///< of the last of them, what was never used
};

}  // namespace xtape::detail
