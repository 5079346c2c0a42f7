#include <xtape/models/text/epoch_windows.hpp>
#include <xtape/tests/catch.hpp>

#include <set>

namespace test_epoch_windows {

using namespace xtape;
using models::EpochWindows;
using models::Window;

namespace {

std::vector<Window> epoch(EpochWindows& windows, Index number) {
    std::vector<Window> all;
    for (Index k = windows.batches_of(number); k < windows.batches_of(number + 1); ++k) {
        for (const Window& window : windows[k]) all.push_back(window);
    }
    return all;
}

}  // namespace

TEST_CASE("epoch windows: side by side from an offset below 10 to the end, each epoch from another") {
    EpochWindows windows({100, 400}, 32, 3, 7);
    std::set<Index> offsets;
    for (Index number = 0; number < 20; ++number) {
        const auto all = epoch(windows, number);
        offsets.insert(all.front().begin - 100);
        for (std::size_t i = 1; i < all.size(); ++i) CHECK(all[i].begin == all[i - 1].begin + 32);
        for (const Window& window : all) CHECK(window.positions == std::min<Index>(32, 400 - window.begin) - 1);
        CHECK(all.back().begin + 32 >= 399);
    }
    CHECK(*offsets.begin() >= 0);
    CHECK(*offsets.rbegin() < 10);
    CHECK(offsets.size() > 4);
}

TEST_CASE("epoch windows: they follow from the seed and the number of the batch, in any order") {
    EpochWindows forwards({0, 500}, 20, 2, 3), backwards({0, 500}, 20, 2, 3), other({0, 500}, 20, 2, 4);
    std::vector<std::vector<Window>> batches, others;
    for (Index k = 0; k < 60; ++k) batches.push_back(forwards[k]);
    for (Index k = 60; k-- > 0;) CHECK(backwards[k] == batches[static_cast<std::size_t>(k)]);
    for (Index k = 0; k < 60; ++k) others.push_back(other[k]);
    CHECK(others != batches);
}

TEST_CASE("epoch windows: batches and epochs are counted alike") {
    EpochWindows windows({0, 137}, 16, 4, 1);
    for (Index number = 0; number < 30; ++number) {
        const Index first = windows.batches_of(number);
        CHECK(windows.epochs_in(first) == number);
        if (number > 0) CHECK(windows.epochs_in(first - 1) == number - 1);
    }
}

TEST_CASE("epoch windows: a text that is shorter than a window is one") {
    EpochWindows windows({0, 2}, 64, 8, 1);
    CHECK(windows[0] == std::vector<Window>{{0, 1}});
    CHECK(windows.batches_of(5) == 5);
    CHECK_THROWS_WITH(EpochWindows({0, 1}, 64, 8, 1),
                      "windows: 8 windows of 64 tokens, a batch, of 1 tokens are not possible");
}

}  // namespace test_epoch_windows
