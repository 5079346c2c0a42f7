#pragma once
// Competitors that take turns at the same work, and the row of the table that each gets.

#include <xtape/engine/tape.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace xtape::bench {

using Clock = std::chrono::steady_clock;

struct Competitor {
    std::string name;
    std::function<void()> step;
    int steps_a_turn;
    std::vector<double> microseconds{};

    void turn() {
        const auto start = Clock::now();
        for (int i = 0; i < steps_a_turn; ++i) step();
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        microseconds.push_back(seconds * 1e6 / steps_a_turn);
    }
    double median() const {
        std::vector<double> sorted = microseconds;
        std::ranges::nth_element(sorted, sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2));
        return sorted[sorted.size() / 2];
    }
};

/// A round to warm up, then those that count.
inline void take_turns(std::vector<Competitor>& competitors, int rounds) {
    for (Competitor& competitor : competitors) competitor.turn();
    for (Competitor& competitor : competitors) competitor.microseconds.clear();
    for (int round = 0; round < rounds; ++round) {
        for (Competitor& competitor : competitors) competitor.turn();
    }
}

/// Lets the competitors take turns; the first is xtape, and the others are its yardsticks.
inline void race(const std::string& title, std::vector<Competitor> competitors, int rounds) {
    take_turns(competitors, rounds);
    const double own = competitors.front().median();
    for (const Competitor& competitor : competitors)
        fmt::print("| {} | {} | {:.2f} | {:.3f} |\n", title, competitor.name, competitor.median(),
                   own / competitor.median());
}

}  // namespace xtape::bench
