#pragma once
// The folder of a training run: config.json, tokenizer.json, model.safetensors, best.safetensors (of the lowest
// validation loss), optimizer.safetensors, trainer.json, metrics.jsonl and loss.svg. Each file is written whole or not
// at all.

#include <xtape/nn/json.hpp>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace xtape::tools {

using nn::Json, nn::parse_json, nn::print_json, nn::one_line;

/// A wrong flag or a flag out of place; the command exits with 2.
class UsageError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Before a long work: throws FileError where its result, of which `flag` speaks, could not be written.
void check_writable(const std::string& flag, const std::filesystem::path& file);

/// Of a file that is read into memory as a whole: /dev/zero has an end too.
constexpr std::uint64_t data_limit = std::uint64_t{1} << 30;

/// The mean loss of the steps up to one, for metrics.jsonl and loss.svg.
struct Metric {
    std::int64_t step;
    double loss;
    double validation;  ///< NaN where it was not measured
};

class RunFolder {
public:
    /// `best`: its weights are those of the lowest validation loss, not the last ones.
    explicit RunFolder(std::filesystem::path path, bool best = false) : path_(std::move(path)), best_(best) {}

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path file(std::string_view name) const { return path_ / name; }
    /// Throws FileError where the best ones are wanted and there are none.
    std::filesystem::path weights() const;
    /// Whether a run has been started here.
    bool holds_run() const;
    /// Whether its config.json is another program's: it names no model of ours.
    bool is_foreign() const;
    /// Makes the folder ready for a new run. Throws UsageError when it holds one and `overwrite` is not said,
    /// FileError when it cannot be made.
    void begin(bool overwrite) const;
    /// The same for a run that `xtape convert` writes, which replaces none.
    void begin_converted() const;
    /// Removes what a kill has left of files that were being written.
    void remove_temporaries() const;

    /// Throws FileError for a folder without a run, or a config.json that is broken or names another model.
    Json read_config() const;
    /// The flags that the run here was made with, to go on with it. Throws UsageError when it is another model's,
    /// FileError where its config.json is broken, or it has no checkpoint to go on from.
    Json flags_of(std::string_view model) const;
    /// Throws UsageError when the run here was made with another config or seed than `wanted` says.
    void check_same(const Json& wanted) const;
    std::string read_text(std::string_view name) const;
    void write_text(std::string_view name, std::string_view text) const;
    /// config.json. What is not UTF-8, as the name of a file may be, is replaced.
    void write_config(const Json& config) const;
    /// Writes metrics.jsonl and loss.svg.
    void write_metrics(std::span<const Metric> metrics) const;
    std::vector<Metric> read_metrics() const;

private:
    /// Whether a file that a run would replace is more than the beginning of a run.
    bool is_taken() const;
    void make_empty(std::string_view command) const;

    std::filesystem::path path_;
    bool best_;
};

/// A curve of the loss over the steps as a self-contained SVG, with the validation loss as dots.
std::string loss_svg(std::span<const Metric> metrics);

}  // namespace xtape::tools
