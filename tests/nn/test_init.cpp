#include <xtape/nn/init.hpp>
#include <xtape/tests/catch.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace test_init {

using namespace xtape;

TEST_CASE("rng: the integers of a seed are fixed") {
    nn::Rng rng(nn::Rng::State{1, 2, 3, 4});
    CHECK(rng.next() == 11520);
    CHECK(rng.next() == 0);
    CHECK(rng.next() == 1509978240);
    CHECK(nn::Rng(0).state()[0] == 0xe220a8397b1dcdafu);
}

TEST_CASE("rng: it goes on from its state") {
    nn::Rng rng(7);
    rng.normal();
    nn::Rng copy(rng.state());
    for (int i = 0; i < 5; ++i) CHECK(rng.normal() == copy.normal());
    CHECK_THROWS_WITH(nn::Rng(nn::Rng::State{}), "rng: the state is all zeros");
}

TEST_CASE("rng: uniform has its range, mean and variance") {
    nn::Rng rng(1);
    const int n = 100000;
    double sum = 0, squares = 0;
    for (int i = 0; i < n; ++i) {
        const double u = rng.uniform(-1, 3);
        CHECK_FALSE((u < -1 || u >= 3));
        sum += u;
        squares += (u - 1) * (u - 1);
    }
    CHECK(sum / n == Approx(1).margin(0.02));
    CHECK(squares / n == Approx(16.0 / 12).margin(0.02));
}

TEST_CASE("rng: normal has the moments and the tails of the standard normal") {
    nn::Rng rng(2);
    const int n = 200000;
    double sum = 0, squares = 0, fourths = 0;
    int beyond_two = 0;
    for (int i = 0; i < n; ++i) {
        const double z = rng.normal();
        sum += z;
        squares += z * z;
        fourths += z * z * z * z;
        if (std::abs(z) > 2) ++beyond_two;
    }
    CHECK(sum / n == Approx(0).margin(0.01));
    CHECK(squares / n == Approx(1).margin(0.015));
    CHECK(fourths / n == Approx(3).margin(0.1));
    CHECK(static_cast<double>(beyond_two) / n == Approx(0.0455).margin(0.002));
}

TEST_CASE("rng: below reaches each value equally often") {
    nn::Rng rng(3);
    std::vector<int> counts(7);
    for (int i = 0; i < 70000; ++i) ++counts[static_cast<std::size_t>(rng.below(7))];
    for (const int count : counts) CHECK(count == Approx(10000).margin(400));
    CHECK(rng.below(1) == 0);
    CHECK_THROWS_WITH(rng.below(0), "rng: below needs at least 1: n is 0");
}

TEST_CASE("rng: shuffle permutes, and every place is equally likely") {
    nn::Rng rng(4);
    std::vector<int> first_place(5);
    for (int i = 0; i < 5000; ++i) {
        std::vector<int> items(5);
        std::iota(items.begin(), items.end(), 0);
        rng.shuffle(items);
        ++first_place[static_cast<std::size_t>(items[0])];
        std::ranges::sort(items);
        CHECK(items == std::vector{0, 1, 2, 3, 4});
    }
    for (const int count : first_place) CHECK(count == Approx(1000).margin(150));
    std::vector<int> none;
    rng.shuffle(none);
    CHECK(none.empty());
}

TEST_CASE("init: float and double agree for a seed") {
    nn::Rng a(5), b(5);
    const auto narrow = nn::normal<float>({3, 5}, a, 0.1);
    const auto wide = nn::normal<double>({3, 5}, b, 0.1);
    for (std::size_t i = 0; i < 15; ++i) CHECK(narrow.values()[i] == static_cast<float>(wide.values()[i]));
    CHECK(nn::uniform<float>({1}, a, 0, 1).item() == static_cast<float>(nn::uniform<double>({1}, b, 0, 1).item()));
}

TEST_CASE("init: shapes and constants") {
    nn::Rng rng(6);
    CHECK(nn::normal<float>({2, 3}, rng, 1).shape() == Shape{2, 3});
    CHECK(nn::normal<float>({0, 3}, rng, 1).size() == 0);
    CHECK(nn::normal<double>({1}, rng, 0).item() == 0);
    CHECK(nn::constant<double>({2}, 1.5).values()[1] == 1.5);
}

}  // namespace test_init
