#pragma once
// What a run folder holds of a model, whichever it is.

#include <xtape/engine/error.hpp>
#include <xtape/nn/safetensors.hpp>
#include <xtape/tools/run_folder.hpp>

#include <string>

#include <fmt/format.h>

namespace xtape::tools {

/// What `read` makes of a part of a run's config.json. Throws FileError where that part is missing, of another type, or
/// out of range.
template <class Read> auto read_part(const Json& config, const char* part, Read read) {
    try {
        return read(config.at(part));
    } catch (const std::exception& error) {
        throw FileError(fmt::format("config.json: the {} of {} is broken: {}", part,
                                    config.at("model").get<std::string>(), error.what()));
    }
}

/// A trained model and its tokenizer; `read_config` makes the model's settings of config.json.
template <class Model, class Tokenizer, auto read_config> struct Trained {
    Tokenizer tokenizer;
    Model model;

    explicit Trained(const RunFolder& run)
        : tokenizer(Tokenizer::from_json(run.read_text("tokenizer.json"))),
          model(nn::build<Model>(read_config(run.read_config()), 0)) {
        if (tokenizer.vocab() != model.config().vocab)
            throw FileError(fmt::format("{}: the tokenizer has {} tokens, the model {}", run.path().string(),
                                        tokenizer.vocab(), model.config().vocab));
        nn::load(run.weights(), model);
    }
};

}  // namespace xtape::tools
