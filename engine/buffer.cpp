#include <xtape/engine/arena.hpp>
#include <xtape/engine/buffer.hpp>
#include <xtape/engine/poison.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace xtape {
namespace {

using namespace detail;

constexpr std::size_t alignment = Arena::alignment, large = std::size_t{1} << 17;
// Small blocks come in classes of size, counted in units of the alignment: one for each number of units up to a limit,
// then 16 an octave. The header of a tensor comes on top, so that 2^n elements fill their block.
constexpr std::size_t header = 2, fine_limit = 32 + header;

/// The class of the smallest blocks that hold so many bytes.
constexpr std::size_t class_of(std::size_t bytes) {
    const std::size_t units = std::max<std::size_t>(1, (bytes + alignment - 1) / alignment);
    if (units <= fine_limit) return units - 1;
    const std::size_t last = units - header - 1;
    const auto octave = static_cast<std::size_t>(std::bit_width(last)) - 1;  // 2^octave <= last < 2^(octave+1)
    return fine_limit + (octave - 5) * 16 + (last >> (octave - 4)) - 16;
}

constexpr std::size_t classes = class_of(large) + 1;

std::size_t bytes_of(std::size_t size_class) {
    if (size_class < fine_limit) return (size_class + 1) * alignment;
    const std::size_t octave = (size_class - fine_limit) / 16, sixteenth = (size_class - fine_limit) % 16;
    return (((sixteenth + 17) << (octave + 1)) + header) * alignment;
}

/// What a block that holds so many bytes takes; between large ones stays a gap where it is watched.
std::size_t taken_by(std::size_t bytes) {
    if (bytes <= large) return bytes_of(class_of(bytes));
    return ((bytes + alignment - 1) / alignment + (poisons ? 1 : 0)) * alignment;
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

/// A block of a class, and whether the system was asked for it.
std::pair<void*, bool> take(std::size_t size_class) {
    FreeBlock* block = pool.free[size_class];
    if (block == nullptr) {
        void* const made = std::aligned_alloc(alignment, bytes_of(size_class));
        if (made == nullptr) throw std::bad_alloc();
        return {made, true};
    }
    unpoison(block, sizeof(FreeBlock));
    pool.free[size_class] = block->next;
    return {block, false};
}

void give_back(FreeBlock* block, std::size_t size_class) noexcept {
    if (pool.closed) return std::free(block);
    block->next = pool.free[size_class];
    pool.free[size_class] = block;
    poison(block, bytes_of(size_class));
}

}  // namespace

PoolStatistics pool_statistics() { return pool.statistics; }

void reset_pool_peak() { pool.statistics.peak_bytes = pool.statistics.bytes_in_use; }

namespace detail {

void* pool_allocate(std::size_t bytes) {
    if (bytes > PTRDIFF_MAX) throw std::bad_alloc();
    const std::size_t size = taken_by(bytes);
    const auto [block, asked] = bytes > large ? Arena::instance().allocate(size) : take(class_of(bytes));
    PoolStatistics& statistics = pool.statistics;
    statistics.bytes_in_use += static_cast<std::int64_t>(size);
    statistics.peak_bytes = std::max(statistics.peak_bytes, statistics.bytes_in_use);
    statistics.system_allocations += asked ? 1 : 0;
    poison(block, size);
    unpoison(block, bytes);
    return block;
}

void pool_release(void* block, std::size_t bytes) noexcept {
    const std::size_t size = taken_by(bytes);
    pool.statistics.bytes_in_use -= static_cast<std::int64_t>(size);
    if (bytes > large) {
        poison(block, size);
        Arena::instance().release(block, size);
    } else {
        unpoison(block, size);
        give_back(static_cast<FreeBlock*>(block), class_of(bytes));
    }
}

}  // namespace detail
}  // namespace xtape
