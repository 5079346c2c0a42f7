#pragma once
// Training in epochs: each goes once through the whole text, in batches of windows.

#include <xtape/models/text/corpus.hpp>

#include <cstdint>
#include <vector>

namespace xtape::models {

/// The windows of `context` tokens side by side, from an offset of 0 to 9 tokens on that follows from the seed and the
/// epoch alone. Of a window all tokens but the first are predicted; the last one of an epoch may be shorter.
class EpochWindows {
public:
    /// Throws ValueError for a range or a context of fewer than two tokens, or a batch of fewer than one window.
    EpochWindows(TokenRange range, Index context, Index batch, std::uint64_t seed);

    /// The windows of the k-th of all batches.
    std::vector<Window> operator[](Index k);
    /// How many batches make up the first `epochs` epochs, and how many epochs the first `batches` batches complete.
    Index batches_of(Index epochs);
    Index epochs_in(Index batches);

private:
    Index offset(Index epoch) const;

    TokenRange range_;
    Index context_, batch_;
    std::uint64_t seed_;
    std::vector<Index> begins_{0};  ///< the first batch of each epoch that has been asked for
};

}  // namespace xtape::models
