#pragma once
// Rounding to bfloat16, to the nearest, ties to even, in pairs for the dot products of the processor.

#include <xtape/engine/kernels/gemm_small.hpp>

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
#define XTAPE_OWN_BF16

namespace xtape::kernels::detail {

/// The first n lanes, of 16.
inline __mmask16 lanes(Index n) { return static_cast<__mmask16>((1u << std::clamp<Index>(n, 0, 16)) - 1); }

/// Calls body(j, lanes) for the vectors of n elements; it gets all lanes as a constant but for the last.
template <class Body> [[gnu::always_inline]] inline void for_lanes(Index n, Body&& body) {
    Index j = 0;
    for (; j + 16 <= n; j += 16) body(j, __mmask16{0xffff});
    if (j < n) body(j, lanes(n - j));
}

inline void store_pairs(Bf16Pair* y, __m512bh pairs, __mmask16 which) {
    _mm512_mask_storeu_epi32(y, which, std::bit_cast<__m512i>(pairs));
}

/// y[j] = (x[2j], x[2j + 1]) for a row of n elements; with a zero where there is no second.
inline void pair_along(Index n, const float* x, Bf16Pair* y) {
    for_lanes((n + 1) / 2, [&](Index j, __mmask16 which) __attribute__((always_inline)) {
        const bool all = 2 * j + 32 <= n;
        const __m512 low = all ? _mm512_loadu_ps(x + 2 * j) : _mm512_maskz_loadu_ps(lanes(n - 2 * j), x + 2 * j);
        const __m512 high =
            all ? _mm512_loadu_ps(x + 2 * j + 16) : _mm512_maskz_loadu_ps(lanes(n - 2 * j - 16), x + 2 * j + 16);
        store_pairs(y + j, _mm512_cvtne2ps_pbh(high, low), which);
    });
}

/// y[j] = (x[j], next[j]) for two rows of n elements; with zeros where there is no next.
inline void pair_rows(Index n, const float* x, const float* next, Bf16Pair* y) {
    const __m512i by_turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                              6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for_lanes(
        n, [&](Index j, __mmask16 which) __attribute__((always_inline)) {
            const __m512 low = _mm512_maskz_loadu_ps(which, x + j);
            const __m512 high = next == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(which, next + j);
            const auto both = std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
            store_pairs(y + j, std::bit_cast<__m512bh>(_mm512_permutexvar_epi16(by_turns, both)), which);
        });
}

}  // namespace xtape::kernels::detail

#endif
