#pragma once
// `xtape train`, whatever the model: its flags, the run folder before the course and the result after it.

#include <xtape/tools/model_command.hpp>
#include <xtape/tools/trainer.hpp>

#include <filesystem>
#include <string_view>

namespace xtape::tools {

void bind(CLI::App& app, TrainSettings& settings);

/// The bytes of this machine's memory, or the limit on those of the container (its control group, v2) where that is
/// less.
double memory_there(const std::filesystem::path& cgroup_limit = "/sys/fs/cgroup/memory.max");

/// Throws UsageError where weights, gradients and both moments of so many parameters are more than this machine has
/// memory for: the system would end the training without a word.
void check_memory(std::string_view model, Index parameters);

/// `xtape train MODEL`, `app` being that: begins the run folder, or with --resume sees that it holds this run; trains;
/// and prints the result. Throws UsageError where the folder holds another run, FileError where the data have changed
/// since it began.
Exit train_model(ModelCommand& model, TrainSettings& settings, CLI::App& app);

}  // namespace xtape::tools
