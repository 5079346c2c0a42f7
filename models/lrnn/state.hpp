#pragma once
// The state of a generation as a file, to go on from later.

#include <xtape/models/lrnn/lrnn.hpp>

#include <filesystem>

namespace xtape::models {

/// A generation that has been interrupted: the state, and the last token, which the state has not seen.
template <class T> struct LrnnPause {
    LrnnState<T> state;
    std::int32_t token = 0;
};

/// Writes layers.0.past, layers.0.numerator, ... as safetensors. Throws FileError.
template <class T> void save_pause(const std::filesystem::path& path, const LrnnPause<T>& pause);
/// Throws FileError for a file that is broken, or of a model of other sizes.
template <class T> LrnnPause<T> load_pause(const std::filesystem::path& path, const Lrnn<T>& model);

}  // namespace xtape::models
