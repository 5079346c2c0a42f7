#include <xtape/nn/init.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

namespace xtape::nn {

Rng::Rng(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
        seed += 0x9e3779b97f4a7c15u;
        std::uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        word = z ^ (z >> 31);
    }
}

Rng::Rng(const State& state) : state_(state) {
    if (state == State{}) throw ValueError("rng: the state is all zeros");
}

std::uint64_t Rng::next() {
    auto& s = state_;
    const std::uint64_t result = std::rotl(s[1] * 5, 7) * 9;
    const std::uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = std::rotl(s[3], 45);
    return result;
}

double Rng::normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
}

Index Rng::below(Index n) {
    if (n < 1) throw ValueError(fmt::format("rng: below needs at least 1: n is {}", n));
    const auto range = static_cast<std::uint64_t>(n);
    const std::uint64_t excess = (0 - range) % range;  // 2⁶⁴ mod n values would be drawn once too often
    std::uint64_t bits = next();
    while (bits < excess) bits = next();
    return static_cast<Index>(bits % range);
}

template <Real T> Tensor<T> normal(const Shape& shape, Rng& rng, double stddev) {
    Tensor<T> values = Tensor<T>::unwritten(shape);
    std::generate_n(values.body()->data, shape.size(), [&] { return static_cast<T>(stddev * rng.normal()); });
    return values;
}

template <Real T> Tensor<T> uniform(const Shape& shape, Rng& rng, double low, double high) {
    Tensor<T> values = Tensor<T>::unwritten(shape);
    std::generate_n(values.body()->data, shape.size(), [&] { return static_cast<T>(rng.uniform(low, high)); });
    return values;
}

template Tensor<float> normal(const Shape&, Rng&, double);
template Tensor<double> normal(const Shape&, Rng&, double);
template Tensor<float> uniform(const Shape&, Rng&, double, double);
template Tensor<double> uniform(const Shape&, Rng&, double, double);

}  // namespace xtape::nn
