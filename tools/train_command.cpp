#include <xtape/engine/error.hpp>
#include <xtape/models/text/text.hpp>
#include <xtape/tools/flags.hpp>
#include <xtape/tools/train_command.hpp>

#include <algorithm>
#include <fstream>
#include <string>

#include <fmt/format.h>
#include <unistd.h>
#include <CLI/App.hpp>

namespace xtape::tools {
namespace {

/// The flags that were given to `xtape train MODEL`, for config.json; not those about this one call. The data have
/// their absolute path, for a call from elsewhere.
Json given_flags(const CLI::App& app) {
    constexpr std::string_view of_one_call[] = {"out",  "resume",     "overwrite", "quiet",
                                                "json", "stop-after", "threads",   "profile"};
    Json flags = Json::object();
    for (const CLI::Option* option : app.get_options()) {
        const std::string name = option->get_single_name();
        if (option->count() == 0 || std::ranges::find(of_one_call, name) != std::end(of_one_call)) continue;
        const std::string value = option->results().back();
        flags[name] = name == "data" ? std::filesystem::absolute(value).string() : value;
    }
    return flags;
}

/// Sets the flags of an earlier call that this one does not give.
void restore_flags(CLI::App& app, const Json& flags, const RunFolder& run) {
    for (const auto& [name, value] : flags.items()) {
        try {
            CLI::Option* option = app.get_option("--" + name);
            if (option->count() > 0) continue;
            option->add_result(value.get<std::string>());
            option->run_callback();
        } catch (const std::exception& error) {
            throw FileError(
                fmt::format("{}: the flag --{} is broken: {}", run.file("config.json").string(), name, error.what()));
        }
    }
}

/// Tells whether a file still holds the same bytes: their FNV-1a, in hexadecimal. Null for no file, as the built-in
/// data are none, and for a pipe, which cannot be read twice.
Json hash_of(const std::filesystem::path& data) {
    if (!std::filesystem::is_regular_file(data)) return {};
    std::uint64_t hash = 0xcbf29ce484222325;
    models::Text::open(data).for_each_piece([&](std::string_view piece) {
        for (const char byte : piece) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    });
    return fmt::format("{:016x}", hash);
}

/// Throws FileError where the file that the run began with holds other bytes now; another file is the caller's choice.
/// A run of an earlier version does not know what it held.
void check_data(const RunFolder& run, const Json& flags, const TrainSettings& settings) {
    const Json before = run.read_config().value("data_hash", Json());
    if (before.is_null() || !flags.contains("data")) return;
    const auto name = [](const std::string& path) {  // as config.json has it, where what is not UTF-8 is replaced
        return one_line(std::filesystem::weakly_canonical(path).string());
    };
    if (name(settings.data) != name(flags.at("data").get<std::string>())) return;
    const Json now = hash_of(settings.data);
    if (!now.is_null() && now != before)
        throw FileError(
            fmt::format("train: {} has changed since the run in {} began; bring back what it held, or give the new "
                        "data another name, with --data",
                        settings.data, run.path().string()));
}

/// Makes the folder ready for a run and writes config.json and tokenizer.json; with --resume, sees that it holds this
/// run. Throws UsageError where it holds another.
void begin_run(const RunFolder& run, const TrainSettings& settings, const CLI::App& app, const PreparedCourse& course) {
    Json all{{"model", app.get_name()},
             {"config", course.config},
             {"seed", settings.seed},
             {"data", course.data},
             {"flags", given_flags(app)}};
    if (settings.resume) {
        run.check_same(all);
        return run.remove_temporaries();
    }
    all["data_hash"] = hash_of(settings.data);
    run.begin(settings.overwrite);
    run.write_config(all);
    run.write_text("tokenizer.json", course.tokenizer);
}

/// A run keeps the tokenizer that it began with: throws UsageError where this call gives flags of another.
void refuse_other_tokenizer(const CLI::App& app, const Json& flags, const RunFolder& run) {
    std::string changes;
    for (const char* name : {"tokenizer", "vocab"}) {
        const CLI::Option* option = app.get_option_no_throw(std::string("--") + name);
        if (option == nullptr || option->count() == 0) continue;
        const std::string was = flags.value(name, option->get_default_str()), is = option->results().back();
        if (is != was) changes += fmt::format("{}{} was {}, now it is {}", changes.empty() ? "" : "; ", name, was, is);
    }
    if (!changes.empty())
        throw UsageError(fmt::format("train: {} holds another run: {}", run.path().string(), changes));
}

/// Prints the result, as a JSON object with what else a model has to say, or in two lines. Gives the exit status.
Exit print_result(const TrainResult& result, const TrainSettings& settings, const RunFolder& run, const Json& more) {
    if (settings.json) {
        Json summary{{"steps", result.steps},
                     {"loss_last_100", result.loss_last_100},
                     {"val_loss", result.val_loss ? Json(*result.val_loss) : Json(nullptr)},
                     {"seconds", result.seconds},
                     {"us_per_step", result.us_per_step},
                     {"tokens_per_second", result.tokens_per_second},
                     {"peak_bytes", result.peak_bytes}};
        if (result.utilisation) summary["utilisation"] = *result.utilisation;
        summary.update(more);
        fmt::print("{}\n", one_line(summary));
    } else {
        fmt::print("{} steps in {:.2f} s ({:.1f} us a step, {:.0f} tokens/s), loss of the last 100: {:.4f}",
                   result.steps, result.seconds, result.us_per_step, result.tokens_per_second, result.loss_last_100);
        if (result.val_loss) fmt::print(", validation loss: {:.4f}", *result.val_loss);
        if (result.utilisation)
            fmt::print("\n{:.1f}% of the rate of a large product, {:.1f} MiB of pooled memory at the peak",
                       100 * *result.utilisation, static_cast<double>(result.peak_bytes) / (1 << 20));
        fmt::print("\nwritten to {}\n", run.path().string());
    }
    return result.interrupted ? Exit::interrupted : Exit::done;
}

}  // namespace

void bind(CLI::App& app, TrainSettings& s) {
    app.option_defaults()->always_capture_default();
    app.add_option("--data", s.data, "Training data; a built-in corpus unless given")
        ->type_name("FILE")
        ->check(not_empty());
    app.add_option("--out", s.out, "The run folder")->type_name("DIR")->check(not_empty());
    app.add_option("--steps", s.steps, "Optimizer steps of the course")->check(positive());
    app.add_option("--batch", s.batch, "Examples a batch")->check(positive());
    app.add_option("--lr", s.lr, "Learning rate at its height")->check(not_negative());
    app.add_option("--seed", s.seed, "Of initial values and the order of the data")->check(seed());
    app.add_option("--threads", s.threads, "Threads; 0 for all")->check(between(0, 1024));
    app.add_option("--val-fraction", s.val_fraction, "Part of the data held out")->check(between(0.0, 0.9));
    app.add_option("--eval-every", s.eval_every, "Steps between evaluations; 0 for one at the end")
        ->check(not_negative());
    app.add_option("--warmup", s.warmup, "Steps over which the learning rate rises")->check(not_negative());
    app.add_option("--clip", s.clip, "Largest global norm of the gradient; 0 for none")->check(not_negative());
    app.add_option("--weight-decay", s.weight_decay, "Decoupled weight decay")->check(not_negative());
    app.add_option("--accumulate", s.accumulate, "Batches a step")->check(positive());
    app.add_option("--stop-after", s.stop_after, "End after so many steps; the schedule still follows --steps")
        ->check(not_negative());
    app.add_option("--save-every", s.save_every, "Steps between checkpoints; 0 for one at the end")
        ->check(not_negative());
    CLI::Option* resume = app.add_flag("--resume", s.resume, "Go on from the last checkpoint of the folder");
    app.add_flag("--overwrite", s.overwrite, "Replace the run in the folder")->excludes(resume);
    app.add_flag("--profile", s.profile, "Time each op, and compare the whole with the rate of a large product");
    app.add_flag("--quiet", s.quiet, "Show no progress");
    app.add_flag("--json", s.json, "Print one JSON object, and nothing else");
}

double memory_there(const std::filesystem::path& cgroup_limit) {
    const double machine = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    double limit = 0;
    return std::ifstream(cgroup_limit) >> limit ? std::min(machine, limit) : machine;  // where there is none: max
}

void check_memory(std::string_view model, Index parameters) {
    constexpr double gibibyte = 1 << 30;
    const double wanted = 4.0 * sizeof(float) * static_cast<double>(parameters);
    const double there = memory_there();
    if (there > 0 && wanted > there)
        throw UsageError(
            fmt::format("{}: {} parameters with their gradients and moments take {:.1f} GiB, there are {:.1f} here; "
                        "choose a smaller model",
                        model, parameters, wanted / gibibyte, there / gibibyte));
}

Exit train_model(ModelCommand& model, TrainSettings& settings, CLI::App& app) {
    const RunFolder run(settings.out);
    if (settings.resume) {
        const Json flags = run.flags_of(model.name());
        model.check_config(run);
        refuse_other_tokenizer(app, flags, run);
        check_writable("--out", run.weights());
        restore_flags(app, flags, run);
        check_data(run, flags, settings);
    }
    return model.prepare([&](const PreparedCourse& course) {
        begin_run(run, settings, app, course);
        if (!settings.quiet && !settings.json) fmt::print("{}: {}\n", model.name(), course.summary);
        const TrainResult result = run_training(course.learner, settings, run);
        if (!settings.json) course.learner.print_report();
        return print_result(result, settings, run, course.learner.report());
    });
}

}  // namespace xtape::tools
