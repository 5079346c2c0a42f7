#include <xtape/engine/error.hpp>
#include <xtape/models/text/epoch_windows.hpp>
#include <xtape/nn/init.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace xtape::models {

namespace {

constexpr Index offsets = 10;

Index count_up(Index n, Index by) { return (n + by - 1) / by; }

}  // namespace

EpochWindows::EpochWindows(TokenRange range, Index context, Index batch, std::uint64_t seed)
    : range_(range), context_(context), batch_(batch), seed_(seed) {
    if (range.size() < 2 || context < 2 || batch < 1)
        throw ValueError(fmt::format("windows: {} windows of {} tokens, a batch, of {} tokens are not possible", batch,
                                     context, range.size()));
}

Index EpochWindows::offset(Index epoch) const {
    nn::Rng rng(seed_ + 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(epoch + 1));
    return rng.below(std::min(offsets, range_.size() - 1));
}

Index EpochWindows::batches_of(Index epochs) {
    while (std::ssize(begins_) <= epochs) {
        const Index targets = range_.size() - offset(std::ssize(begins_) - 1) - 1;
        begins_.push_back(begins_.back() + count_up(count_up(targets, context_), batch_));
    }
    return begins_[static_cast<std::size_t>(epochs)];
}

Index EpochWindows::epochs_in(Index batches) {
    while (begins_.back() <= batches) batches_of(std::ssize(begins_));
    return std::ranges::upper_bound(begins_, batches) - begins_.begin() - 1;
}

std::vector<Window> EpochWindows::operator[](Index k) {
    const Index epoch = epochs_in(k);
    const Index first = range_.begin + offset(epoch) + (k - batches_of(epoch)) * batch_ * context_;
    std::vector<Window> windows;
    for (Index i = 0; i < batch_; ++i) {
        const Index begin = first + i * context_;
        if (begin + 1 < range_.end) windows.push_back({begin, std::min(context_, range_.end - begin) - 1});
    }
    return windows;
}

}  // namespace xtape::models
