#include <xtape/engine/kernels/dropout.hpp>
#include <xtape/engine/kernels/philox.hpp>
#include <xtape/engine/kernels/rows.hpp>

namespace xtape::kernels {
namespace {

/// Elements that take their random words from one call.
constexpr Index block = 4 * static_cast<Index>(philox_lanes);

/// What the elements of a block are multiplied by.
template <class T> void factors_of(const DropoutMask& mask, Index number, Local<T, block>& factors) {
    PhiloxWords words;
    for (std::size_t lane = 0; lane < philox_lanes; ++lane) {
        const std::uint64_t counter = static_cast<std::uint64_t>(number) * philox_lanes + lane;
        words[0][lane] = static_cast<std::uint32_t>(counter);
        words[1][lane] = static_cast<std::uint32_t>(counter >> 32);
        words[2][lane] = mask.step;
        words[3][lane] = mask.record;
    }
    philox(words, mask.seed);
    const auto threshold = static_cast<std::uint32_t>(mask.probability * 0x1p32);
    const T kept = static_cast<T>(1 / (1 - mask.probability));
    T* to = factors.data();
    for (const auto& word : words)
        for (const std::uint32_t random : word) *to++ = random < threshold ? T(0) : kept;
}

}  // namespace

template <class T> void dropout(const DropoutMask& mask, Index n, const T* x, T* y, bool accumulate) {
    constexpr Index blocks_of_tile = 256;
    const double bytes = 4.0 * sizeof(T) * static_cast<double>(n);
    with_constant(accumulate, [=, &mask](auto add) {
        const auto drop = [=, &mask](Index number) {
            Local<T, block> factors;
            factors_of(mask, number, factors);
            const Index begin = number * block;
            for_batches<T>(std::min(block, n - begin), [&](Index i, auto count) {
                put(y + begin + i, get(x + begin + i, count) * get(factors.data() + i, count), count, add);
            });
        };
        parallel_for((n + block - 1) / block, blocks_of_tile, worth_threads(0, bytes), [=](Index begin, Index end) {
            for (Index number = begin; number < end; ++number) drop(number);
        });
    });
}

template void dropout(const DropoutMask&, Index, const float*, float*, bool);
template void dropout(const DropoutMask&, Index, const double*, double*, bool);

}  // namespace xtape::kernels
