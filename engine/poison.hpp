#pragma once
// Memory that nobody may touch, where AddressSanitizer watches.

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define XTAPE_POISONS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define XTAPE_POISONS
#endif
#endif
#ifdef XTAPE_POISONS
#include <sanitizer/asan_interface.h>
#endif

namespace xtape::detail {

#ifdef XTAPE_POISONS
inline constexpr bool poisons = true;
#else
inline constexpr bool poisons = false;
#endif

inline void poison([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#ifdef XTAPE_POISONS
    ASAN_POISON_MEMORY_REGION(block, bytes);
#endif
}

inline void unpoison([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#ifdef XTAPE_POISONS
    ASAN_UNPOISON_MEMORY_REGION(block, bytes);
#endif
}

}  // namespace xtape::detail
