#pragma once
// The memory under the tensors: 64-byte aligned blocks, small ones from a pool of each thread, large ones from an
// arena.

#include <cstddef>
#include <cstdint>
#include <new>

namespace xtape {

/// What this thread was given; a block that another thread gives back counts there.
struct PoolStatistics {
    std::int64_t bytes_in_use = 0;
    std::int64_t peak_bytes = 0;
    std::int64_t system_allocations = 0;  ///< small blocks, and 64 MiB for large ones, asked of the system; constant
                                          ///< in a steady state
};

PoolStatistics pool_statistics();

/// Starts a new measurement of `peak_bytes`, from what is in use now.
void reset_pool_peak();

namespace detail {

/// A 64-byte aligned block of at least `bytes`. Throws std::bad_alloc.
void* pool_allocate(std::size_t bytes);

/// Gives a block back for reuse; `bytes` as it was allocated with. Under AddressSanitizer it is poisoned.
void pool_release(void* block, std::size_t bytes) noexcept;

/// A standard allocator over the pool, for the tape's own tables.
template <class U> struct PoolAllocator {
    using value_type = U;

    PoolAllocator() = default;
    template <class V> PoolAllocator(const PoolAllocator<V>&) {}

    U* allocate(std::size_t n) { return static_cast<U*>(pool_allocate(n * sizeof(U))); }
    void deallocate(U* block, std::size_t n) noexcept { pool_release(block, n * sizeof(U)); }
    template <class V> bool operator==(const PoolAllocator<V>&) const { return true; }
};

}  // namespace detail
}  // namespace xtape
