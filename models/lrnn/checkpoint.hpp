#pragma once
// Checkpoints of the form lrnnC01 and lrnnC02: sizes, vocabulary and weights in one file.

#include <xtape/models/lrnn/lrnn.hpp>
#include <xtape/models/text/tokenizer.hpp>

#include <filesystem>

namespace xtape::models {

/// How a checkpoint is written, besides what it says.
struct LrnnCheckpointForm {
    int version = 2;                ///< 1 knows the char tokenizer alone
    std::int32_t unknown_byte = 0;  ///< what its table of bytes has for one that is no token: 0 or −1

    bool operator==(const LrnnCheckpointForm&) const = default;
};

struct LrnnCheckpoint {
    Lrnn<float> model;
    Tokenizer tokenizer;
    LrnnCheckpointForm form;
};

/// Whether a file begins as a checkpoint of either version does.
bool is_lrnn_checkpoint(const std::filesystem::path& path);

/// Throws FileError for a file that is missing or not exactly in the format; no length in it is trusted.
LrnnCheckpoint read_lrnn_checkpoint(const std::filesystem::path& path);

/// Replaces the file atomically: what `read_lrnn_checkpoint` read comes back byte for byte. Throws FileError;
/// ValueError for a tokenizer that the version does not know, or one of another vocabulary than the model's.
void write_lrnn_checkpoint(const std::filesystem::path& path, const Lrnn<float>& model, const Tokenizer& tokenizer,
                           const LrnnCheckpointForm& form = {});

}  // namespace xtape::models
