#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace xtape::kernels {

/// Whether so many floating-point operations, or bytes moved, take one core 20 us: starting and joining two threads
/// takes 1.5 us where they are awake (measured on 2 cores of a Zen 4), and more where they are not.
inline bool worth_threads(double flops, double bytes = 0) { return flops * 1e-11 + bytes * 5e-11 > 20e-6; }

#ifdef _OPENMP
/// Calls body(t) for each t < n, on at most 64 threads. Each thread begins with a part of its own, in order, so that it
/// finds in its caches what it wrote there in the loop before, and helps others when that is done: the cores of a busy
/// machine are not equally fast. Not inlined: its room on the stack would burden those who do not come here.
template <class Body> [[gnu::noinline]] void on_threads(std::int64_t n, int threads, const Body& body) {
    constexpr int most = 64;
    struct alignas(64) Part {
        std::atomic<std::int64_t> next;
    };
    Part part[most];
    const int parts = std::min(threads, most);
    for (int i = 0; i < parts; ++i) part[i].next = n * i / parts;
#pragma omp parallel num_threads(parts)
    for (int i = 0; i < parts; ++i) {
        const int of = (omp_get_thread_num() + i) % parts;
        const std::int64_t end = n * (of + 1) / parts;
        for (std::int64_t t; (t = part[of].next.fetch_add(1)) < end;) body(t);
    }
}
#endif

/// Calls body(begin, end) for the tiles [0, tile), [tile, 2 tile), ... of [0, n), which follow from n and tile alone:
/// on all threads when threaded, else one after the other. body must not throw.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t tile, [[maybe_unused]] bool threaded, Body&& body) {
    if (n <= tile) {
        if (n > 0) body(std::int64_t{0}, n);
        return;
    }
    const std::int64_t tiles = (n + tile - 1) / tile;
    const auto of_tile = [&](std::int64_t t) { body(t * tile, std::min(n, (t + 1) * tile)); };
#ifdef _OPENMP
    if (const int threads = threaded ? omp_get_max_threads() : 1; threads > 1)
        return on_threads(tiles, threads, of_tile);
#endif
    for (std::int64_t t = 0; t < tiles; ++t) of_tile(t);
}

/// Calls body(begin, end) for one part of [0, n) a thread, of a multiple of `grain`; for all of it when not threaded.
/// Only for what comes out the same however it is split.
template <class Body> void share_among_threads(std::int64_t n, std::int64_t grain, bool threaded, Body&& body) {
    std::int64_t grains = (n + grain - 1) / grain;
#ifdef _OPENMP
    if (threaded) grains = (grains + omp_get_max_threads() - 1) / omp_get_max_threads();
#endif
    parallel_for(n, grains * grain, threaded, body);
}

#ifdef _OPENMP
/// While it lives, a library that the calling thread calls runs on this thread alone: its own split among threads would
/// change the bits.
class OneThread {
public:
    OneThread() { omp_set_num_threads(1); }
    ~OneThread() { omp_set_num_threads(before_); }
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;

private:
    int before_ = omp_get_max_threads();
};
#endif

}  // namespace xtape::kernels
