#include <xtape/engine/ops.hpp>
#include <xtape/tools/profile.hpp>

#include <algorithm>
#include <chrono>
#include <string>

#include <fmt/format.h>

namespace xtape::tools {

double measure_product_rate() {
    using Clock = std::chrono::steady_clock;
    constexpr Index n = 1024;
    const Pause pause;
    const Tensor<float> a = Tensor<float>::full({n, n}, 1.0f / 3), b = Tensor<float>::full({n, n}, 3);
    double best = 0;
    for (int i = 0; i < 10; ++i) {
        const Clock::time_point start = Clock::now();
        const Tensor<float> product = matmul(a, b);
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        best = std::max(best, 2.0 * n * n * n / seconds);
    }
    return best;
}

std::vector<ProfileRow> profile_step(Learner& learner, Index draw) {
    std::vector<ProfileRow> rows;
    {
        Tape<float> tape({.profile = true, .recompute = true});
        tape.backward(learner.loss(draw));
        for (const ProfileRow& row : tape.profile()) {
            auto known = std::ranges::find(rows, row.op, &ProfileRow::op);
            if (known == rows.end()) known = rows.insert(rows.end(), ProfileRow{row.op, "", 0, 0, 0, 0});
            known->calls += row.calls;
            known->forward_seconds += row.forward_seconds;
            known->backward_seconds += row.backward_seconds;
            known->kept_bytes += row.kept_bytes;
        }
    }
    for (const auto& [name, parameter] : learner.parameters()) parameter->zero_grad();
    std::ranges::sort(rows, std::ranges::greater(),
                      [](const ProfileRow& row) { return row.forward_seconds + row.backward_seconds; });
    return rows;
}

void print_profile(std::span<const ProfileRow> rows) {
    double total = 0;
    std::size_t width = 2;
    for (const ProfileRow& row : rows) {
        total += row.forward_seconds + row.backward_seconds;
        width = std::max(width, row.op.size());
    }
    fmt::print("{:<{}} {:>6} {:>12} {:>12} {:>7} {:>10}\n", "op", width, "calls", "forward us", "backward us", "share",
               "kept KiB");
    for (const ProfileRow& row : rows)
        fmt::print("{:<{}} {:>6} {:>12.1f} {:>12.1f} {:>6.1f}% {:>10.1f}\n", row.op, width, row.calls,
                   row.forward_seconds * 1e6, row.backward_seconds * 1e6,
                   100 * (row.forward_seconds + row.backward_seconds) / total,
                   static_cast<double>(row.kept_bytes) / 1024);
}

}  // namespace xtape::tools
