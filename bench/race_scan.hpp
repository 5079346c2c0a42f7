#pragma once
// The causal scan beside what binds it: memory, as a plain loop over as many bytes moves them, and multiply-adds.

#include <xtape/bench/race.hpp>
#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/kernels/scan.hpp>
#include <xtape/engine/kernels/simd.hpp>
#include <xtape/engine/tensor.hpp>

#include <array>

namespace xtape::bench {

using Floats = Tensor<float>;

/// Where a kernel writes.
inline float* place(const Floats& x) { return x.body()->data; }

inline constexpr Index parts_of_stream = 8;

/// y = 2 x₁, or y = x₁ + 2 x₂: STREAM's scale and triad.
template <bool Triad> void stream(const Floats& x1, const Floats& x2, const Floats& y) {
    using kernels::load;
    const Index tile = (y.size() + parts_of_stream - 1) / parts_of_stream;
    kernels::parallel_for(y.size(), tile, true, [&](Index begin, Index end) {
        const float *first = x1.data() + begin, *second = x2.data() + begin;
        float* out = place(y) + begin;
        kernels::for_batches<float>(end - begin, [=](Index i, auto count) {
            const auto doubled = 2.0f * load((Triad ? second : first) + i, count);
            kernels::store(out + i, Triad ? load(first + i, count) + doubled : doubled, count);
        });
    });
}

/// Multiply-adds between registers on all threads; returns their number.
inline double multiply_add(float& sink) {
    constexpr Index chains = 12, steps = 2000, tiles = 8;
    kernels::parallel_for(tiles, 1, true, [&](Index tile, Index) {
        std::array<kernels::Batch<float>, chains> sums{};
        const kernels::Batch<float> factor(0.5f), term(static_cast<float>(tile));
        for (Index i = 0; i < steps; ++i) {
            for (auto& sum : sums) sum = xsimd::fma(sum, factor, term);
        }
        for (const auto& sum : sums) {
            if (kernels::sum(sum) < 0) sink = 1;
        }
    });
    return 2.0 * tiles * steps * chains * static_cast<double>(kernels::width<float>);
}

/// A scan, its arrays, and those of the loops over as many bytes.
struct ScanRace {
    kernels::Scan shape;
    Index gates = shape.steps * shape.columns, elements = shape.steps * shape.row();
    Floats a = Floats::full({gates}, 0.9f), b = Floats::full({elements}, 0.1f), y = Floats::zeros({elements});
    Floats da = Floats::zeros({gates}), db = Floats::zeros({elements}), state = Floats::zeros({shape.row()});
    Floats half = Floats::zeros({(2 * elements + gates) / 2}), to_half = Floats::zeros(half.shape());
    Floats third = Floats::zeros({(3 * elements + 2 * gates) / 3}), second = Floats::zeros(third.shape());
    Floats to_third = Floats::zeros(third.shape());

    void forward() const { kernels::scan<float>(shape, a.data(), b.data(), place(y), place(state), nullptr); }
    void backward() const {
        kernels::scan_backward<float>(shape, {a.data(), b.data(), place(da), place(db), false, false, place(state)},
                                      y.data());
    }
};

/// Gigabytes and gigaflops a second of the scan, and what part they are of what the machine gives.
inline void race_scan(const kernels::Scan& shape, int steps_a_turn) {
    ScanRace scan{shape};
    float sink = 0;
    double multiply_adds = 0;
    std::vector<Competitor> all;
    all.push_back({"forward", [&] { scan.forward(); }, steps_a_turn});
    all.push_back({"scale", [&] { stream<false>(scan.half, scan.half, scan.to_half); }, steps_a_turn});
    all.push_back({"backward", [&] { scan.backward(); }, steps_a_turn});
    all.push_back({"triad", [&] { stream<true>(scan.third, scan.second, scan.to_third); }, steps_a_turn});
    all.push_back({"multiply-adds", [&] { multiply_adds = multiply_add(sink); }, 4});
    take_turns(all, 31);
    const auto elements = static_cast<double>(scan.elements), gates = static_cast<double>(scan.gates);
    const double limit = multiply_adds / all[4].median() * 1e-3;
    const auto print = [&](std::size_t at, double floats, double flops) {
        const double bytes = 4 * floats, time = all[at].median();
        fmt::print("| causal_scan {}, {} × {} × {} | {:.1f} | {:.1f} | {:.2f} of {}'s | {:.1f} | {:.2f} of {:.0f} |\n",
                   all[at].name, shape.steps, shape.slots, shape.columns, time, bytes / time * 1e-3,
                   all[at + 1].median() / time, all[at + 1].name, flops / time * 1e-3, flops / time * 1e-3 / limit,
                   limit);
    };
    print(0, 2 * elements + gates, 2 * elements);
    print(2, 3 * elements + 2 * gates, 4 * elements);
}

/// At lrnn's shape and at one beyond the caches.
inline void print_scan_limits() {
    fmt::print(
        "\n| steps × slots × channels | µs | GB/s | | GFLOP/s | |\n| --- | ---: | ---: | ---: | ---: | ---: |\n");
    race_scan({.steps = 128, .slots = 4, .columns = 128, .exclusive = true, .sequences = {}}, 200);
    race_scan({.steps = 4096, .slots = 4, .columns = 1024, .exclusive = true, .sequences = {}}, 1);
}

}  // namespace xtape::bench
