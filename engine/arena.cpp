#include <xtape/engine/arena.hpp>
#include <xtape/engine/poison.hpp>

#include <algorithm>
#include <bit>
#include <new>

#include <sys/mman.h>

namespace xtape::detail {
namespace {

constexpr std::size_t huge_page = std::size_t{1} << 21;  // what processors map at once, where they may
constexpr std::size_t step = std::size_t{1} << 26, most_reserved = std::size_t{1} << 38;

std::size_t in_huge_pages(std::size_t bytes) { return (bytes + huge_page - 1) / huge_page * huge_page; }

}  // namespace

Arena& Arena::instance() {
    static auto* const arena = new Arena;
    return *arena;
}

Arena::~Arena() {
    for (const Range& range : reserved_) ::munmap(range.begin, range.bytes);
}

std::pair<void*, bool> Arena::allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    // In front of a block, and at an end, there is at most one free range: so giving a block back never allocates.
    if (const std::size_t most = in_use_ + reserved_.size() + 2; free_.capacity() < most) free_.reserve(2 * most);
    const auto holds = [&](const Range& range) { return range.bytes >= bytes; };
    auto found = std::ranges::find_if(free_, holds);
    const bool grown = found == free_.end();
    if (grown) {
        grow(bytes);
        found = std::ranges::find_if(free_, holds);
    }
    ++in_use_;
    std::byte* const block = found->begin;
    found->begin += bytes;
    found->bytes -= bytes;
    if (found->bytes == 0) free_.erase(found);
    return {block, grown};
}

void Arena::release(void* block, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    --in_use_;
    join({static_cast<std::byte*>(block), bytes});
}

/// Asks for a part of the address space that holds so many bytes in huge pages, and as much more as there is, within
/// reason.
void Arena::reserve(std::size_t bytes) {
    reserved_.reserve(reserved_.size() + 1);
    for (std::size_t size = std::max(most_reserved, bytes + huge_page); size >= bytes + huge_page; size /= 2) {
        void* const begin = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (begin == MAP_FAILED) continue;
        reserved_.push_back({static_cast<std::byte*>(begin), size});
        const std::size_t skipped =
            in_huge_pages(std::bit_cast<std::size_t>(begin)) - std::bit_cast<std::size_t>(begin);
        left_ = {reserved_.back().begin + skipped, size - skipped};
        return;
    }
    throw std::bad_alloc();
}

void Arena::grow(std::size_t bytes) {
    const std::size_t size = std::max(step, in_huge_pages(bytes));
    if (left_.bytes < size) reserve(size);
    if (::mprotect(left_.begin, size, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    ::madvise(left_.begin, size, MADV_HUGEPAGE);
#endif
    poison(left_.begin, size);
    join({left_.begin, size});
    left_ = {left_.begin + size, left_.bytes - size};
}

void Arena::join(Range range) noexcept {
    const auto after = std::ranges::lower_bound(free_, range.begin, {}, &Range::begin);
    const bool joins_after = after != free_.end() && range.begin + range.bytes == after->begin;
    const bool joins_before = after != free_.begin() && (after - 1)->begin + (after - 1)->bytes == range.begin;
    if (joins_before && joins_after) {
        (after - 1)->bytes += range.bytes + after->bytes;
        free_.erase(after);
    } else if (joins_before) {
        (after - 1)->bytes += range.bytes;
    } else if (joins_after) {
        *after = {range.begin, range.bytes + after->bytes};
    } else {
        free_.insert(after, range);
    }
}

}  // namespace xtape::detail
