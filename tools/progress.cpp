#include <xtape/tools/progress.hpp>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace xtape::tools {

using Clock = std::chrono::steady_clock;

Progress::Progress(Index first, Index total, bool shown)
    : first_(first),
      total_(total),
      next_line_(first),
      shown_(shown),
      terminal_(isatty(STDOUT_FILENO) != 0),
      start_(Clock::now()) {}

void Progress::show(Index step, double loss, std::optional<double> validation) {
    if (!shown_) return;
    const bool line = step >= next_line_ || validation.has_value();
    if (line) {
        next_line_ = step + std::max<Index>(1, total_ / 10) - 1;
        const std::string more = validation ? fmt::format("   validation {:.4f}", *validation) : std::string();
        fmt::print("{}step {:>7} of {}   loss {:.4f}{}\n", bar_drawn_ ? "\r\033[K" : "", step, total_, loss, more);
    }
    if (terminal_ && (line || Clock::now() - drawn_ > std::chrono::milliseconds(100))) {
        draw_bar(step, loss);
        bar_drawn_ = true;
        drawn_ = Clock::now();
    }
    std::fflush(stdout);
}

void Progress::line(const std::string& text) {
    if (!shown_) return;
    fmt::print("{}{}\n", bar_drawn_ ? "\r\033[K" : "", text);
    bar_drawn_ = false;
    std::fflush(stdout);
}

void Progress::finish() {
    if (bar_drawn_) fmt::print("\r\033[K");
    bar_drawn_ = false;
    std::fflush(stdout);
}

void Progress::draw_bar(Index step, double loss) const {
    constexpr int width = 30;
    const double part = static_cast<double>(step) / static_cast<double>(std::max<Index>(1, total_));
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const double left =
        seconds * static_cast<double>(total_ - step) / static_cast<double>(std::max<Index>(1, step - first_));
    const auto full = static_cast<std::size_t>(std::clamp(part, 0.0, 1.0) * width);
    fmt::print("\r\033[K[{}{}] {:3.0f}%  loss {:.4f}  {:.0f} s left", std::string(full, '#'),
               std::string(width - full, '.'), part * 100, loss, left);
}

}  // namespace xtape::tools
