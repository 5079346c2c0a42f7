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
constexpr std::size_t fine_limit = 1024;  // up to here a class for each multiple of 64 bytes, then 8 classes an octave
constexpr std::size_t classes = fine_limit / alignment + 8 * 38;

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

struct SizeClass {
    std::size_t index;
    std::size_t bytes;
};

SizeClass size_class(std::size_t bytes) {
    const std::size_t units = std::max<std::size_t>(1, (bytes + alignment - 1) / alignment);
    if (units <= fine_limit / alignment) return {units - 1, units * alignment};
    const auto octave = static_cast<std::size_t>(std::bit_width(units - 1)) - 1;  // 2^octave < units <= 2^(octave+1)
    const std::size_t step = octave - 3;
    const std::size_t eighth = ((units - 1) >> step) - 8;  // which of the octave's 8 classes
    return {fine_limit / alignment + (octave - 4) * 8 + eighth, ((eighth + 9) << step) * alignment};
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

}  // namespace

PoolStatistics pool_statistics() { return pool.statistics; }

void reset_pool_peak() { pool.statistics.peak_bytes = pool.statistics.bytes_in_use; }

namespace detail {

void* pool_allocate(std::size_t bytes) {
    const SizeClass size = size_class(bytes);
    if (size.index >= classes) throw std::bad_alloc();
    Pool& mine = pool;
    PoolStatistics& statistics = mine.statistics;
    statistics.bytes_in_use += static_cast<std::int64_t>(size.bytes);
    statistics.peak_bytes = std::max(statistics.peak_bytes, statistics.bytes_in_use);
    FreeBlock* block = mine.free[size.index];
    if (block != nullptr) {
        unpoison(block, sizeof(FreeBlock));
        mine.free[size.index] = block->next;
    } else {
        block = static_cast<FreeBlock*>(std::aligned_alloc(alignment, size.bytes));
        if (block == nullptr) throw std::bad_alloc();
        ++statistics.system_allocations;
    }
    poison(block, size.bytes);
    unpoison(block, bytes);
    return block;
}

void pool_release(void* block, std::size_t bytes) noexcept {
    const SizeClass size = size_class(bytes);
    unpoison(block, size.bytes);
    Pool& mine = pool;
    mine.statistics.bytes_in_use -= static_cast<std::int64_t>(size.bytes);
    if (mine.closed) {
        std::free(block);
        return;
    }
    auto* link = static_cast<FreeBlock*>(block);
    link->next = mine.free[size.index];
    mine.free[size.index] = link;
    poison(block, size.bytes);
}

}  // namespace detail
}  // namespace xtape
