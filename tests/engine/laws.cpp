#include <xtape/engine/check/function.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <algorithm>
#include <cmath>

namespace xtape::laws {
namespace {

std::uint64_t seed_of(const Shape& shape, std::uint64_t seed) {
    for (const Index extent : shape) seed = seed * 1000003 + static_cast<std::uint64_t>(extent);
    return seed;
}

}  // namespace

Tensor<double> uniform(const Shape& shape, double low, double high, std::uint64_t seed) {
    return check::Random(seed_of(shape, seed)).tensor(shape, low, high);
}

Tensor<double> uniform_off(const Shape& shape, double low, double high, std::vector<double> kinks, double gap,
                           std::uint64_t seed) {
    check::Random random(seed_of(shape, seed));
    std::vector<double> values(static_cast<std::size_t>(shape.size()));
    const auto near_kink = [&](double v) {
        return std::ranges::any_of(kinks, [&](double kink) { return std::abs(v - kink) < gap; });
    };
    for (double& v : values) {
        do v = random.uniform(low, high);
        while (near_kink(v));
    }
    return {shape, values};
}

std::vector<Sample>& all_samples() {
    static std::vector<Sample> samples;
    return samples;
}

}  // namespace xtape::laws
