#pragma once
// Random numbers of our own, and the initial values of parameters.

#include <xtape/engine/tensor.hpp>

#include <array>
#include <cstdint>
#include <ranges>
#include <utility>

namespace xtape::nn {

/// xoshiro256** (Blackman and Vigna 2018), seeded by splitmix64. A seed gives the same integers everywhere.
class Rng {
public:
    using State = std::array<std::uint64_t, 4>;

    explicit Rng(std::uint64_t seed);
    /// Goes on from a state. Throws ValueError for one of zeros, which no generator reaches.
    explicit Rng(const State& state);

    const State& state() const { return state_; }

    /// 64 random bits.
    std::uint64_t next();
    /// Uniform in [0, 1), in steps of 2⁻⁵³; and in [low, high).
    double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
    double uniform(double low, double high) { return low + (high - low) * uniform(); }
    /// Standard normal, by Box and Muller: two draws each time, so that the state is all there is to save.
    double normal();
    /// Uniform in 0 ... n − 1, without bias. Throws ValueError for n < 1.
    Index below(Index n);
    /// Every order is equally likely.
    void shuffle(std::ranges::random_access_range auto&& items) {
        for (auto i = std::ranges::ssize(items); i > 1; --i)
            std::ranges::swap(items[static_cast<std::size_t>(i - 1)], items[static_cast<std::size_t>(below(i))]);
    }

private:
    State state_;
};

/// Values N(0, stddev²), drawn in double and rounded to T: models in float and double agree.
template <Real T> Tensor<T> normal(const Shape& shape, Rng& rng, double stddev);
/// Values uniform in [low, high), drawn in double and rounded to T.
template <Real T> Tensor<T> uniform(const Shape& shape, Rng& rng, double low, double high);
template <Real T> Tensor<T> constant(const Shape& shape, double value) {
    return Tensor<T>::full(shape, static_cast<T>(value));
}

}  // namespace xtape::nn
