#pragma once
// How far a run has come: a bar on a terminal, plain lines in a pipe.

#include <xtape/engine/shape.hpp>

#include <chrono>
#include <optional>
#include <string>

namespace xtape::tools {

class Progress {
public:
    /// `first` steps were done before; nothing is printed when not `shown`.
    Progress(Index first, Index total, bool shown);
    void show(Index step, double loss, std::optional<double> validation);
    /// A line of other words.
    void line(const std::string& text);
    void finish();

private:
    void draw_bar(Index step, double loss) const;

    Index first_, total_, next_line_;
    bool shown_, terminal_;
    bool bar_drawn_ = false;
    std::chrono::steady_clock::time_point start_, drawn_{};
};

}  // namespace xtape::tools
