#pragma once
// Llama checkpoints of other programs.

#include <xtape/models/llama/llama.hpp>

#include <filesystem>

namespace xtape::models {

/// llama2.c's legacy format (version 0): seven 32-bit sizes, then all weights in f32. Throws ValueError for a model
/// that it has no place for: half-split rope, or a theta or an eps of its own. FileError when it cannot be written.
void write_llama2c(const std::filesystem::path& path, const Llama<float>& model);
/// Throws FileError for a file that is missing, or of another length than its sizes say.
Llama<float> read_llama2c(const std::filesystem::path& path);

/// A Hugging Face folder: config.json and model.safetensors, in f32, f16 or bf16. Throws FileError for one that is
/// missing, broken, or of another kind of model.
Llama<float> read_hugging_face(const std::filesystem::path& folder);

}  // namespace xtape::models
