#include <xtape/engine/arena.hpp>
#include <xtape/engine/poison.hpp>

#include <algorithm>
#include <bit>
#include <new>

#include <sys/mman.h>
#include <sys/resource.h>

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

std::pair<void*, bool> Arena::allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    // In front of a block, and at an end, there is at most one free range: so giving a block back never allocates.
    if (const std::size_t most = in_use_ + reserved_ + 2; free_.capacity() < most) free_.reserve(2 * most);
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

/// Asks for a part of the address space that holds so many bytes in huge pages, and for much more unless sparing.
bool Arena::reserve(std::size_t bytes, bool sparing) {
    const std::size_t least = bytes + huge_page;
    for (std::size_t size = sparing ? least : std::max(most_reserved, least); size >= least; size /= 2) {
        void* const mapping = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapping == MAP_FAILED) continue;
        const auto begin = std::bit_cast<std::size_t>(mapping);
        const std::size_t skipped = in_huge_pages(begin) - begin;
        left_ = {static_cast<std::byte*>(mapping) + skipped, size - skipped};
        ++reserved_;
        return true;
    }
    return false;
}

bool Arena::commit(std::size_t bytes, bool sparing) {
    if (left_.bytes < bytes && !reserve(bytes, sparing)) return false;
    if (::mprotect(left_.begin, bytes, PROT_READ | PROT_WRITE) != 0) return false;
#ifdef MADV_HUGEPAGE
    ::madvise(left_.begin, bytes, MADV_HUGEPAGE);
#endif
    poison(left_.begin, bytes);
    join({left_.begin, bytes});
    left_ = {left_.begin + bytes, left_.bytes - bytes};
    return true;
}

/// Where the address space of the process is limited, no more than is needed: the rest is malloc's.
void Arena::grow(std::size_t bytes) {
    rlimit limit{};
    const bool sparing = ::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
    const std::size_t needed = in_huge_pages(bytes);
    if (!sparing && needed < step && commit(step, sparing)) return;
    if (!commit(needed, sparing)) throw std::bad_alloc();
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
