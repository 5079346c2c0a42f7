#pragma once
// What the command needs of a model. A new model is a class of this kind, in a file of its own, and a line in the list
// of models.cpp.

#include <xtape/tools/run_folder.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace xtape::tools {

/// The exit statuses of the command.
enum class Exit { done = 0, failed = 1, usage = 2, file = 3, interrupted = 130 };

struct GenerateSettings {
    std::string prompt;
    int tokens = 0;           ///< at most so many of a sample; 0: as many as the model allows
    int samples = 0;          ///< 0: the model's own number
    double temperature = -1;  ///< below 0: the model's own
    double top_p = -1;        ///< below 0: the model's own
    int top_k = 0;            ///< 0: all
    std::uint64_t seed = 1;
    std::string load_state;  ///< a file to go on from; empty: none
    std::string save_state;  ///< a file to be gone on from; empty: none
    bool json = false;
};

class Learner;

/// A course of training, ready to begin.
struct PreparedCourse {
    Learner& learner;
    Json config;            ///< the model's part of config.json
    std::string data;       ///< where the data are from
    std::string tokenizer;  ///< for tokenizer.json
    std::string summary;    ///< what a person is told of it
};

/// What `xtape audit` is asked.
struct AuditRequest {
    std::string fault;       ///< to be built in; empty: none
    int random = 0;          ///< so many random configurations instead of the model's cases
    std::uint64_t seed = 1;  ///< of those
    bool quick = false;      ///< without finite differences, and without training where a backward pass is faulty
};

/// What `xtape audit` found.
struct AuditReport {
    bool agree;  ///< every parameter of every case
    Json json;
    std::string text;
    std::string html = {};  ///< a section of a page
};

struct AuditCase;

class ModelCommand {
public:
    virtual ~ModelCommand() = default;
    virtual std::string name() const = 0;
    virtual std::string description() const = 0;
    /// Adds this model's flags to `xtape train NAME`; `train` and `prepare` go by what they were set to.
    virtual void bind_train(CLI::App& app) = 0;
    virtual Exit train() = 0;
    /// Calls `use` with a course of these flags, which lives as long as the call. Nothing is written.
    virtual Exit prepare(const std::function<Exit(const PreparedCourse&)>& use) = 0;
    /// Throws FileError where the model's part of a run's config.json is broken.
    virtual void check_config(const RunFolder& run) const = 0;
    virtual Exit generate(const RunFolder& run, const GenerateSettings& settings) const = 0;
    /// Whether `generate` knows load_state and save_state.
    virtual bool keeps_state() const { return false; }
    virtual Exit eval(const RunFolder& run, const std::filesystem::path& data, bool json) const = 0;
    /// A decision for each line of a file; of standard input for an empty path or -. Throws UsageError for a model that
    /// makes none.
    virtual Exit predict(const RunFolder& run, const std::string& data) const;
    /// Throws UsageError for a fault that this model's reference does not know; none is the empty one.
    virtual AuditReport audit(const AuditRequest& request) const = 0;
    /// The cases of `audit`, to be exported one by one (audit.hpp).
    virtual std::vector<AuditCase> audit_cases() const = 0;
    /// From, to: writes a run folder as another program's checkpoint, or such a checkpoint as a run folder. False, with
    /// nothing done, where one of the two is not this model's.
    virtual bool convert(const std::filesystem::path&, const std::filesystem::path&) const { return false; }
    /// What `convert` reads and writes besides run folders, in a few words; empty for nothing.
    virtual std::string formats() const { return {}; }
};

/// The list of models.
std::vector<std::unique_ptr<ModelCommand>> models();

/// The whole command: parses the arguments, runs, prints one sentence for an error, and gives the exit status.
int run_command(std::span<const char* const> words);

}  // namespace xtape::tools
