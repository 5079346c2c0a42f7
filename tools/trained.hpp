#pragma once
// What a run folder holds of a model, whichever it is.

#include <xtape/engine/error.hpp>
#include <xtape/nn/safetensors.hpp>
#include <xtape/tools/run_folder.hpp>

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace xtape::tools {

/// What `read` makes of the members of a part of a run's config.json. Throws FileError where that part is missing, of
/// another type, or out of range.
template <class Read> auto read_part(const RunFolder& run, const char* part, Read read) {
    const Json config = run.read_config();
    try {
        return read(nn::Members(nn::Members(config).at(part).json()));
    } catch (const Error& error) {
        throw FileError(fmt::format("{}: {}", run.file("config.json").string(), error.what()));
    }
}

/// Throws FileError for one that is broken.
template <class Tokenizer> Tokenizer read_tokenizer(const RunFolder& run) {
    return Tokenizer::from_json(run.read_text("tokenizer.json"), run.file("tokenizer.json").string());
}

/// Throws FileError where a weight is NaN or infinite, as a training that went astray elsewhere leaves them.
void check_finite(const std::vector<nn::NamedConst<float>>& weights, std::string_view source);

/// The loss that `xtape eval` measured. Throws std::runtime_error where it is not finite.
double finite(double loss);

/// A trained model and its tokenizer; `read_config` makes the model's settings of the run's config.json.
template <class Model, class Tokenizer, auto read_config> struct Trained {
    Tokenizer tokenizer;
    Model model;

    explicit Trained(const RunFolder& run)
        : tokenizer(read_tokenizer<Tokenizer>(run)), model(nn::build<Model>(read_config(run), 0)) {
        if (tokenizer.vocab() != model.config().vocab)
            throw FileError(fmt::format("{}: the tokenizer has {} tokens, the model {}", run.path().string(),
                                        tokenizer.vocab(), model.config().vocab));
        nn::load(run.weights(), model);
        check_finite(nn::parameters(std::as_const(model)), run.weights().string());
    }
};

}  // namespace xtape::tools
