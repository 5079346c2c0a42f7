#include <xtape/engine/error.hpp>
#include <xtape/models/gate/metrics.hpp>

#include <numeric>
#include <utility>

#include <fmt/format.h>

namespace xtape::models {
namespace {

constexpr std::size_t kept = 100;

double ratio(Index part, Index whole) {
    return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                      : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

LossHistory::LossHistory(Index steps, double average, std::deque<double> last)
    : steps_(steps), average_(average), last_(std::move(last)) {
    if (last_.size() > kept)
        throw ValueError(fmt::format("gate: the last {} losses are kept: there are {}", kept, last_.size()));
}

void LossHistory::add(double loss) {
    average_ = steps_++ == 0 ? loss : 0.99 * average_ + 0.01 * loss;
    last_.push_back(loss);
    if (last_.size() > kept) last_.pop_front();
}

double LossHistory::trend() const {
    if (last_.size() < 20) return 0;
    const auto end = last_.end();
    return (std::accumulate(end - 10, end, 0.0) - std::accumulate(end - 20, end - 10, 0.0)) / 10;
}

void Confusion::add(bool says_allow, bool should_allow) {
    ++(says_allow ? (should_allow ? allow_allow : allow_block) : (should_allow ? block_allow : block_block));
}

double Confusion::alignment() const { return ratio(allow_allow + block_block, decisions()); }
double Confusion::precision() const { return ratio(allow_allow, allow_allow + allow_block); }
double Confusion::recall() const { return ratio(allow_allow, allow_allow + block_allow); }

}  // namespace xtape::models
