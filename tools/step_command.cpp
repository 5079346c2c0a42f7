#include <xtape/tools/step_command.hpp>

#include <CLI/App.hpp>

namespace xtape::tools {
namespace {

/// Flags that say how a course goes, and not what a step of it is.
constexpr const char* of_a_course[] = {
    "--out",        "--steps",     "--epochs",       "--lr",         "--val-fraction", "--eval-every",
    "--warmup",     "--clip",      "--weight-decay", "--accumulate", "--stop-after",   "--resume",
    "--save-every", "--overwrite", "--profile",      "--quiet",      "--save-epochs",  "--json"};

}  // namespace

void add_step_command(CLI::App& app, std::function<Exit()>& action, const std::string& verb,
                      const std::string& description, const std::function<void(CLI::App&)>& bind,
                      const std::function<void(const std::string& model, const PreparedCourse& course)>& use) {
    CLI::App* command = app.add_subcommand(verb, description);
    command->require_subcommand(1);
    // Not those of `xtape train`: a model knows the flags of one subcommand.
    for (auto& owned : models()) {
        const std::shared_ptr<ModelCommand> model = std::move(owned);
        CLI::App* sub = command->add_subcommand(model->name(), model->description());
        model->bind_train(*sub);
        for (const char* flag : of_a_course) sub->remove_option(sub->get_option_no_throw(flag));
        bind(*sub);
        sub->callback([&action, model, use] {
            action = [model, use] {
                return model->prepare([&](const PreparedCourse& course) {
                    use(model->name(), course);
                    return Exit::done;
                });
            };
        });
    }
}

}  // namespace xtape::tools
