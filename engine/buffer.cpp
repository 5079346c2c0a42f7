#include <xtape/engine/buffer.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#define XTAPE_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define XTAPE_POISONS 1
#endif
#endif
#ifdef XTAPE_POISONS
#include <sanitizer/asan_interface.h>
#endif

namespace xtape {
namespace {

constexpr std::size_t alignment = 64;
// Blocks come in classes of size, counted in units of the alignment: one for each number of units up to a limit, then
// 16 an octave. The header of a tensor comes on top, so that 2^n elements fill their block.
constexpr std::size_t header = 2, fine_limit = 32 + header;
constexpr std::size_t classes = fine_limit + 16 * 38;

void poison(void* block, std::size_t bytes) {
#ifdef XTAPE_POISONS
    ASAN_POISON_MEMORY_REGION(block, bytes);
#else
    static_cast<void>(block), static_cast<void>(bytes);
#endif
}

void unpoison(void* block, std::size_t bytes) {
#ifdef XTAPE_POISONS
    ASAN_UNPOISON_MEMORY_REGION(block, bytes);
#else
    static_cast<void>(block), static_cast<void>(bytes);
#endif
}

/// The class of the smallest blocks that hold so many bytes.
std::size_t class_of(std::size_t bytes) {
    const std::size_t units = std::max<std::size_t>(1, (bytes + alignment - 1) / alignment);
    if (units <= fine_limit) return units - 1;
    const std::size_t last = units - header - 1;
    const auto octave = static_cast<std::size_t>(std::bit_width(last)) - 1;  // 2^octave <= last < 2^(octave+1)
    return fine_limit + (octave - 5) * 16 + (last >> (octave - 4)) - 16;
}

std::size_t bytes_of(std::size_t size_class) {
    if (size_class < fine_limit) return (size_class + 1) * alignment;
    const std::size_t octave = (size_class - fine_limit) / 16, sixteenth = (size_class - fine_limit) % 16;
    return (((sixteenth + 17) << (octave + 1)) + header) * alignment;
}

struct FreeBlock {
    FreeBlock* next;
};

struct Pool {
    std::array<FreeBlock*, classes> free{};
    PoolStatistics statistics;
    bool closed = false;

    ~Pool() {
        closed = true;  // static objects may outlive the pool: their blocks go straight back to the system
        for (std::size_t i = 0; i < classes; ++i) {
            while (FreeBlock* block = free[i]) {
                unpoison(block, sizeof(FreeBlock));
                free[i] = block->next;
                std::free(block);
            }
        }
    }
};

thread_local Pool pool;

/// A block of a class, of which `bytes` are wanted.
void* take(std::size_t size_class, std::size_t bytes) {
    if (size_class >= classes) throw std::bad_alloc();
    const std::size_t size = bytes_of(size_class);
    Pool& mine = pool;
    PoolStatistics& statistics = mine.statistics;
    statistics.bytes_in_use += static_cast<std::int64_t>(size);
    statistics.peak_bytes = std::max(statistics.peak_bytes, statistics.bytes_in_use);
    FreeBlock* block = mine.free[size_class];
    if (block != nullptr) {
        unpoison(block, sizeof(FreeBlock));
        mine.free[size_class] = block->next;
    } else {
        block = static_cast<FreeBlock*>(std::aligned_alloc(alignment, size));
        if (block == nullptr) throw std::bad_alloc();
        ++statistics.system_allocations;
    }
    poison(block, size);
    unpoison(block, bytes);
    return block;
}

}  // namespace

PoolStatistics pool_statistics() { return pool.statistics; }

void reset_pool_peak() { pool.statistics.peak_bytes = pool.statistics.bytes_in_use; }

namespace detail {

void* pool_allocate(std::size_t bytes) { return take(class_of(bytes), bytes); }

Block pool_allocate_at_least(std::size_t bytes) {
    constexpr std::size_t large = 1 << 17, half_an_octave = 8;
    const std::size_t exact = class_of(bytes);
    if (bytes >= large && exact < classes) {
        const auto* const first = pool.free.data() + exact;
        const auto* const last = pool.free.data() + std::min(exact + half_an_octave + 1, classes);
        const auto* const found = std::find_if(first, last, [](const FreeBlock* block) { return block != nullptr; });
        if (found < last) {
            const auto size_class = static_cast<std::size_t>(found - pool.free.data());
            return {take(size_class, bytes), bytes_of(size_class)};
        }
    }
    return {take(exact, bytes), bytes};
}

void pool_release(void* block, std::size_t bytes) noexcept {
    const std::size_t size_class = class_of(bytes), size = bytes_of(size_class);
    unpoison(block, size);
    Pool& mine = pool;
    mine.statistics.bytes_in_use -= static_cast<std::int64_t>(size);
    if (mine.closed) {
        std::free(block);
        return;
    }
    auto* link = static_cast<FreeBlock*>(block);
    link->next = mine.free[size_class];
    mine.free[size_class] = link;
    poison(block, size);
}

}  // namespace detail
}  // namespace xtape
