#include <xtape/engine/error.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/tools/file_audit.hpp>
#include <xtape/tools/flags.hpp>
#include <xtape/tools/graph.hpp>
#include <xtape/tools/info.hpp>
#include <xtape/tools/model_command.hpp>
#include <xtape/tools/profile_model.hpp>
#include <xtape/tools/report_html.hpp>
#include <xtape/tools/terminal.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <new>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace xtape::tools {
namespace {

using Models = std::vector<std::unique_ptr<ModelCommand>>;

const ModelCommand& model_of(const Models& all, const RunFolder& run) {
    const std::string name = run.read_config().at("model");
    for (const auto& model : all) {
        if (model->name() == name) return *model;
    }
    throw FileError(
        fmt::format("{}: the model is `{}`, which this xtape does not know", run.file("config.json").string(), name));
}

/// What the arguments said, and what is to be done about it.
struct Arguments {
    std::string folder, data, model, out, html;
    bool json = false, best = false;
    FileAudit files;
    AuditRequest audit;
    GenerateSettings generate;
    std::function<Exit()> action;
};

void add_train(CLI::App& app, const Models& all, Arguments& arguments) {
    CLI::App* train = app.add_subcommand("train", "Train a model and write its run folder");
    train->require_subcommand(1);
    for (const auto& model : all) {
        CLI::App* sub = train->add_subcommand(model->name(), model->description());
        model->bind_train(*sub);
        sub->callback([&] { arguments.action = [&model] { return model->train(); }; });
    }
}

/// One model, or all of them that know the fault.
Exit audit(const Models& all, const std::string& name, const AuditRequest& request, const std::string& html,
           bool json) {
    Json together{{"model", "all"}, {"agree", true}, {"models", Json::array()}};
    std::vector<std::string> sections;
    std::string unknown;
    for (const auto& model : all) {
        if (name != "all" && name != model->name()) continue;
        try {
            const AuditReport report = model->audit(request);
            if (!json)
                fmt::print("{}{}", together.at("models").empty() ? "" : "\n",
                           takes_colour() ? with_coloured_verdicts(report.text) : report.text);
            sections.push_back(report.html);
            if (!report.agree) together["agree"] = false;
            together["models"].push_back(report.json);
        } catch (const UsageError& error) {
            unknown += (unknown.empty() ? "" : "; ") + std::string(error.what());
        }
    }
    if (together.at("models").empty()) throw UsageError(unknown);
    if (!html.empty()) {
        nn::atomic_write(html, html_page("xtape audit " + name, sections));
        if (!json) fmt::print("\nwritten to {}\n", html);
    }
    if (json) fmt::print("{}\n", one_line(name == "all" ? together : together.at("models").front()));
    return together.at("agree") == true ? Exit::done : Exit::failed;
}

void add_audit(CLI::App& app, const Models& all, Arguments& arguments) {
    CLI::App* sub = app.add_subcommand("audit", "Prove a model's gradients: tape, hand-written, finite differences");
    std::vector<std::string> names{"all", "op"};
    for (const auto& model : all) names.push_back(model->name());
    sub->add_option("MODEL", arguments.model, "The model, all, or op")->required()->check(CLI::IsMember(names));
    sub->add_option("--fault", arguments.audit.fault, "Build this fault into the hand-written backward")
        ->check(not_empty());
    sub->add_option("--random", arguments.audit.random, "So many random configurations in place of the model's cases")
        ->check(positive());
    sub->add_option("--seed", arguments.audit.seed, "Of the random configurations")->check(seed())->needs("--random");
    sub->add_option("--html", arguments.html, "Write the report as one HTML page, with a map of the worst errors")
        ->type_name("FILE")
        ->check(not_empty());
    sub->add_flag("--quick", arguments.audit.quick, "Without finite differences");
    sub->add_flag("--json", arguments.json, "Print one JSON object");
    add_file_audit(*sub, arguments.files);
    sub->callback([&] {
        arguments.action = [&] {
            check_flags(arguments.model, arguments.files, arguments.audit, arguments.html);
            check_writable("--html", arguments.html);
            const bool of_files = arguments.model == "op" || arguments.files.any();
            return of_files ? audit_files(all, arguments.model, arguments.files, arguments.json)
                            : audit(all, arguments.model, arguments.audit, arguments.html, arguments.json);
        };
    });
}

void add_run(CLI::App& command, Arguments& arguments) {
    command.add_option("DIR", arguments.folder, "A run folder")->required()->check(not_empty());
}

void add_generate(CLI::App& app, const Models& all, Arguments& arguments) {
    GenerateSettings& settings = arguments.generate;
    CLI::App* generate = app.add_subcommand("generate", "Sample from a trained model");
    add_run(*generate, arguments);
    generate->add_option("--prompt", settings.prompt, "The beginning of each sample; none unless given");
    generate->add_option("--tokens", settings.tokens, "At most so many tokens a sample")
        ->check(positive())
        ->default_str("256; of microgpt its positions");
    generate->add_option("--samples", settings.samples, "How many samples")
        ->check(positive())
        ->default_str("1; of microgpt 20");
    generate->add_option("--temperature", settings.temperature, "0 takes the likeliest token")
        ->check(between(0.0, 100.0))
        ->default_str("0.8; of microgpt 0.5");
    generate->add_option("--top-p", settings.top_p, "Only the likeliest tokens of this mass")
        ->check(portion())
        ->default_str("1; of lrnn 0.9");
    generate->add_option("--top-k", settings.top_k, "Only so many of the likeliest tokens")
        ->check(positive())
        ->default_str("all");
    generate->add_option("--seed", settings.seed, "Of the samples")->check(seed())->capture_default_str();
    generate->add_option("--load-state", settings.load_state, "Go on from where a generation was saved")
        ->type_name("FILE");
    generate->add_option("--save-state", settings.save_state, "Save where the generation ends, to go on from")
        ->type_name("FILE");
    generate->add_flag("--best", arguments.best, "Weights of the lowest validation loss, not the last ones");
    generate->add_flag("--json", settings.json, "Print one JSON object");
    generate->callback([&] {
        arguments.action = [&] {
            const RunFolder run(arguments.folder, arguments.best);
            const ModelCommand& model = model_of(all, run);
            check_writable("--save-state", settings.save_state);
            if (!model.keeps_state() && !(settings.load_state.empty() && settings.save_state.empty()))
                throw UsageError(fmt::format("generate: {} keeps no state to load or save", model.name()));
            return model.generate(run, settings);
        };
    });
}

void add_predict(CLI::App& app, const Models& all, Arguments& arguments) {
    CLI::App* predict = app.add_subcommand("predict", "What a trained gate says of each call: allow or block");
    add_run(*predict, arguments);
    predict->add_option("--data", arguments.data, "Lines of JSON or of text; standard input unless given, or for -")
        ->check(not_empty());
    predict->add_flag("--best", arguments.best, "Weights of the lowest validation loss, not the last ones");
    predict->callback([&] {
        arguments.action = [&] {
            const RunFolder run(arguments.folder, arguments.best);
            return model_of(all, run).predict(run, arguments.data);
        };
    });
}

void add_eval(CLI::App& app, const Models& all, Arguments& arguments) {
    CLI::App* eval = app.add_subcommand("eval", "Loss and perplexity of a trained model on a file");
    add_run(*eval, arguments);
    eval->add_option("--data", arguments.data, "The file")->required()->check(not_empty());
    eval->add_flag("--best", arguments.best, "Weights of the lowest validation loss, not the last ones");
    eval->add_flag("--json", arguments.json, "Print one JSON object");
    eval->callback([&] {
        arguments.action = [&] {
            const RunFolder run(arguments.folder, arguments.best);
            return model_of(all, run).eval(run, arguments.data, arguments.json);
        };
    });
}

void add_info(CLI::App& app, Arguments& arguments) {
    CLI::App* info = app.add_subcommand("info", "What a run folder holds");
    add_run(*info, arguments);
    info->add_flag("--json", arguments.json, "Print one JSON object");
    info->callback([&] { arguments.action = [&] { return print_info(RunFolder(arguments.folder), arguments.json); }; });
}

Exit convert(const Models& all, const std::filesystem::path& in, const std::filesystem::path& out) {
    if (!std::filesystem::exists(in)) throw FileError(fmt::format("convert: {}: no such file or folder", in.string()));
    std::string formats;
    for (const auto& model : all) {
        if (model->convert(in, out)) {
            fmt::print("written to {}\n", out.string());
            return Exit::done;
        }
        if (!model->formats().empty()) formats += fmt::format("; {}: {}", model->name(), model->formats());
    }
    throw UsageError(fmt::format("convert: cannot make {} of {}{}", out.string(), in.string(), formats));
}

void add_convert(CLI::App& app, const Models& all, Arguments& arguments) {
    CLI::App* sub = app.add_subcommand("convert", "Turn a run folder into another program's checkpoint, or back");
    sub->add_option("IN", arguments.folder, "A run folder, a checkpoint or a Hugging Face folder")
        ->required()
        ->check(not_empty());
    sub->add_option("OUT", arguments.out, "A checkpoint to write, or a new run folder")->required()->check(not_empty());
    sub->callback([&] { arguments.action = [&] { return convert(all, arguments.folder, arguments.out); }; });
}

/// The subcommand that was asked for, and how: `train: microgpt: `.
std::pair<const CLI::App*, std::string> asked_of(const CLI::App& app) {
    const CLI::App* at = &app;
    std::string path;
    while (!at->get_subcommands().empty()) {
        at = at->get_subcommands().front();
        path += at->get_name() + ": ";
    }
    return {at, path};
}

/// What is missing; of a subcommand, which there are.
UsageError missing(const CLI::App& app, const CLI::RequiredError& error) {
    const auto [at, path] = asked_of(app);
    if (at->get_require_subcommand_min() == 0) return UsageError(path + error.what());
    std::vector<std::string> names;
    for (const CLI::App* one : at->get_subcommands({})) names.push_back(one->get_name());
    const std::vector<std::string> extra = app.remaining(true);
    return UsageError(fmt::format("{}{}; there are {}", path,
                                  extra.empty() ? "a name is missing" : "there is no " + extra.front(),
                                  fmt::join(names, ", ")));
}

/// What no subcommand takes; of flags, which may have been meant.
UsageError unexpected(const CLI::App& app) {
    const auto [at, path] = asked_of(app);
    std::vector<std::string> flags;
    for (const CLI::Option* option : at->get_options())
        for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    const std::vector<std::string> extra = app.remaining(true);
    std::vector<std::string> wrong;
    for (const std::string& word : extra) {
        if (word.size() < 2 || word[0] != '-') continue;
        const std::string flag = word.substr(0, word.find('='));
        const std::string meant = nearest(flag, flags);
        wrong.push_back(meant.empty()   ? fmt::format("there is no flag {}", flag)
                        : meant == flag ? fmt::format("{} belongs behind the name of the command", flag)
                                        : fmt::format("there is no flag {}; did you mean {}?", flag, meant));
    }
    if (wrong.empty()) wrong.push_back(fmt::format("too many words: nothing takes {}", fmt::join(extra, " ")));
    return UsageError(fmt::format("{}{}", path, fmt::join(wrong, " ")));
}

int complain(Exit status, const std::exception& error) {
    fmt::print(stderr, "xtape: {}\n", error.what());
    return static_cast<int>(status);
}

/// Throws UsageError for words that it does not take, CLI::Success for help and version, which are then to be printed.
void parse(CLI::App& app, std::span<const char* const> words) {
    try {
        app.parse(static_cast<int>(words.size()), words.data());
    } catch (const CLI::Success&) {
        throw;
    } catch (const CLI::RequiredError& error) {
        throw missing(app, error);
    } catch (const CLI::ConversionError& error) {
        const std::string_view what = error.what();  // Could not convert: --steps = 5.5
        const std::string_view flag = what.substr(std::min(what.find("--"), what.size()));
        throw UsageError(fmt::format("{} is not a value that it takes", flag));
    } catch (const CLI::ExtrasError&) {
        throw unexpected(app);
    } catch (const CLI::ParseError& error) {
        throw UsageError(error.what());
    }
}

/// Does what the words say. Throws FileError where some of what was printed got lost.
Exit obey(CLI::App& app, const Arguments& arguments, std::span<const char* const> words) {
    Exit status = Exit::done;
    try {
        parse(app, words);
        status = arguments.action();
    } catch (const CLI::Success& asked_for) {
        app.exit(asked_for);
    }
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
        throw FileError(fmt::format("cannot write: {}", std::strerror(errno)));
    return status;
}

}  // namespace

Exit ModelCommand::predict(const RunFolder&, const std::string&) const {
    throw UsageError(fmt::format("predict: {} makes no decisions; predict takes the run of a gate", name()));
}

int run_command(std::span<const char* const> words) {
    const Models all = models();
    Arguments arguments;
    CLI::App app("xtape: models trained by autograd, and the proof that their gradients are right", "xtape");
    app.set_version_flag("--version", "xtape 0.1.0");
    app.require_subcommand(1);
    add_train(app, all, arguments);
    add_generate(app, all, arguments);
    add_predict(app, all, arguments);
    add_eval(app, all, arguments);
    add_audit(app, all, arguments);
    add_graph(app, arguments.action);
    add_profile(app, arguments.action);
    add_info(app, arguments);
    add_convert(app, all, arguments);
    try {
        return static_cast<int>(obey(app, arguments, words));
    } catch (const UsageError& error) {
        return complain(Exit::usage, error);
    } catch (const FileError& error) {
        return complain(Exit::file, error);
    } catch (const std::filesystem::filesystem_error& error) {
        return complain(Exit::file, FileError(fmt::format("{}: {}", error.path1().string(), error.code().message())));
    } catch (const std::system_error& error) {  // fmt's, of what cannot be written
        return complain(Exit::file, FileError(fmt::format("cannot write: {}", error.code().message())));
    } catch (const ValueError& error) {
        return complain(Exit::usage, error);
    } catch (const std::bad_alloc&) {
        return complain(Exit::failed, std::runtime_error("out of memory; take a smaller model or batch"));
    } catch (const std::exception& error) {
        return complain(Exit::failed, error);
    }
}

}  // namespace xtape::tools
