#pragma once
// Subcommands that look at a training step of a model: graph and profile.

#include <xtape/tools/trainer.hpp>

#include <functional>
#include <string>

namespace xtape::tools {

/// `xtape VERB MODEL` with those flags of `xtape train MODEL` that shape a step (sizes, data, batch, seed, threads) and
/// what `bind` adds. It sets `action` to what the arguments ask for.
void add_step_command(CLI::App& app, std::function<Exit()>& action, const std::string& verb,
                      const std::string& description, const std::function<void(CLI::App&)>& bind,
                      const std::function<void(const std::string& model, const PreparedCourse& course)>& use);

}  // namespace xtape::tools
