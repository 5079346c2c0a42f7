#pragma once
// Philox 4×32 with 10 rounds: random numbers without a state, from a counter and a key (Salmon, Moraes, Dror, Shaw:
// "Parallel random numbers: as easy as 1, 2, 3", 2011).

#include <array>
#include <cstddef>
#include <cstdint>

namespace xtape::kernels {

inline constexpr std::size_t philox_lanes = 16;

/// The four words of a counter, or of what comes of it, for as many counters as there are lanes.
using PhiloxWords = std::array<std::array<std::uint32_t, philox_lanes>, 4>;

/// Counters become random words.
inline void philox(PhiloxWords& words, std::uint64_t key) {
    auto& [a, b, c, d] = words;
    auto low = static_cast<std::uint32_t>(key), high = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round, low += 0x9E3779B9u, high += 0xBB67AE85u) {
        for (std::size_t lane = 0; lane < philox_lanes; ++lane) {
            const std::uint64_t from_a = std::uint64_t{0xD2511F53u} * a[lane];
            const std::uint64_t from_c = std::uint64_t{0xCD9E8D57u} * c[lane];
            a[lane] = static_cast<std::uint32_t>(from_c >> 32) ^ b[lane] ^ low;
            b[lane] = static_cast<std::uint32_t>(from_c);
            c[lane] = static_cast<std::uint32_t>(from_a >> 32) ^ d[lane] ^ high;
            d[lane] = static_cast<std::uint32_t>(from_a);
        }
    }
}

}  // namespace xtape::kernels
