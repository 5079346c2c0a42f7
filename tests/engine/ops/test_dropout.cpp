#include <xtape/engine/kernels/philox.hpp>
#include <xtape/engine/remat.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_dropout {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

auto dropped(double p) {
    return [p](auto in) { return dropout(in[0], p, {.seed = 7, .step = 3, .record = 1}); };
}

const Samples samples{
    sample("dropout", "half", dropped(0.5), {uniform({8, 16}, -1, 1)}, true),
    sample("dropout", "a tenth, odd", dropped(0.1), {uniform({3, 7, 11}, -1, 1)}, true),
    sample("dropout", "nearly all", dropped(0.9), {uniform({300}, -1, 1)}, true),
    sample("dropout", "large", dropped(0.3), {uniform({210, 301}, -1, 1)}, true),
    sample("dropout", "nothing", dropped(0.5), {uniform({0, 3}, -1, 1)}, true),
};

/// The mask of so many elements: whether each is kept.
std::vector<bool> mask(Index n, double p, DropoutKey key) {
    const auto y = dropout(Tensor<float>::full({n}, 1), p, key);
    std::vector<bool> kept;
    for (const float v : y.values()) kept.push_back(v != 0);
    return kept;
}

/// The part of elements that two masks have the same.
double agreement(const std::vector<bool>& a, const std::vector<bool>& b) {
    double same = 0;
    for (std::size_t i = 0; i < a.size(); ++i) same += a[i] == b[i] ? 1 : 0;
    return same / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("philox: gives the numbers that its authors publish") {
    struct Known {
        std::array<std::uint32_t, 4> counter;
        std::uint64_t key;
        std::array<std::uint32_t, 4> random;
    };
    const Known known[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         0xffffffffffffffff,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         0x299f31d0a4093822,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (const Known& k : known) {
        kernels::PhiloxWords words{};
        for (std::size_t i = 0; i < 4; ++i) words[i][5] = k.counter[i];
        kernels::philox(words, k.key);
        for (std::size_t i = 0; i < 4; ++i) CHECK(words[i][5] == k.random[i]);
    }
}

TEST_CASE("dropout: drops the part it should, evenly, and scales the rest") {
    for (const double p : {0.1, 0.5, 0.8}) {
        const Index n = 100000;
        const auto y = dropout(Tensor<double>::full({n}, 3), p, {.seed = 1});
        double kept = 0, neighbours = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const double v = y.values()[i];
            CHECK((v == 0 || v == Approx(3 / (1 - p)).epsilon(1e-15)));
            kept += v != 0 ? 1 : 0;
            neighbours += v != 0 && i > 0 && y.values()[i - 1] != 0 ? 1 : 0;
        }
        const double q = 1 - p, sigma = std::sqrt(p * q / static_cast<double>(n));
        CHECK(std::abs(kept / n - q) < 5 * sigma);
        CHECK(std::abs(neighbours / n - q * q) < 10 * sigma);
    }
}

TEST_CASE("dropout: seed, step and record each choose another mask") {
    const auto first = mask(10000, 0.5, {1, 2, 3});
    CHECK(agreement(first, mask(10000, 0.5, {1, 2, 3})) == 1);
    for (const DropoutKey key : {DropoutKey{2, 2, 3}, DropoutKey{1, 3, 3}, DropoutKey{1, 2, 4},
                                 DropoutKey{1 + (std::uint64_t{1} << 40), 2, 3}, DropoutKey{1, 3, 2}})
        CHECK(agreement(first, mask(10000, 0.5, key)) == Approx(0.5).margin(0.03));
}

TEST_CASE("dropout: float and double drop the same elements, and more of them leave the first alone") {
    const DropoutKey key{5, 6, 7};
    const auto single = mask(1000, 0.4, key);
    const auto y = dropout(Tensor<double>::full({1000}, 1), 0.4, key);
    for (std::size_t i = 0; i < 1000; ++i) CHECK((y.values()[i] != 0) == single[i]);
    const auto longer = mask(5000, 0.4, key);
    CHECK(std::equal(single.begin(), single.end(), longer.begin()));
}

TEST_CASE("dropout: the gradient passes where the element did, also through remat") {
    const auto drop = [](const Tensor<double>& x) { return dropout(x, 0.5, {9, 8, 7}); };
    const auto input = uniform({500}, 1, 2), dy = uniform({500}, 1, 2, 3);
    for (const bool again : {false, true}) {
        Tape<double> tape;
        const auto x = tape.leaf(input);
        const auto y = again ? remat(drop, x) : drop(x);
        const Tensor<double>* of[] = {&x};
        const auto dx = tape.gradient(y, dy, of).front();
        for (std::size_t i = 0; i < 500; ++i) CHECK(dx.values()[i] == (y.values()[i] == 0 ? 0 : 2 * dy.values()[i]));
    }
}

TEST_CASE("dropout: with probability zero it is the tensor itself") {
    Tape<float> tape;
    const auto x = tape.leaf(Tensor<float>::full({4}, 3));
    CHECK(dropout(x, 0, {}).data() == x.data());
    CHECK(tape.records().empty());
}

TEST_CASE("dropout: errors") {
    const auto x = Tensor<float>::zeros({4});
    CHECK_THROWS_WITH(dropout(x, 1, {}), StartsWith("dropout: p must be from 0 to below 1: p is 1"));
    CHECK_THROWS_WITH(dropout(x, -0.1, {}), StartsWith("dropout: p must be from 0 to below 1: p is -0.1"));
    CHECK_THROWS_AS(dropout(x, std::nan(""), {}), ValueError);
}

}  // namespace test_dropout
