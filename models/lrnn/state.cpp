#include <xtape/models/lrnn/state.hpp>
#include <xtape/nn/safetensors.hpp>

#include <charconv>

#include <fmt/format.h>

namespace xtape::models {

namespace {

/// Visits the tensors of a state with their names.
template <class State, class Visit> void for_each_tensor(State& state, const Visit& visit) {
    for (std::size_t i = 0; i < state.layers.size(); ++i) {
        const auto name = [&](const char* tensor) { return fmt::format("layers.{}.{}", i, tensor); };
        visit(name("past"), state.layers[i].past);
        visit(name("numerator"), state.layers[i].numerator);
        visit(name("denominator"), state.layers[i].denominator);
        visit(name("last"), state.layers[i].last);
    }
}

std::int32_t token_of(const nn::SafetensorsFile& file, int vocab) {
    const auto text = file.metadata().find("token");
    std::int32_t token = -1;
    if (text != file.metadata().end())
        std::from_chars(text->second.data(), text->second.data() + text->second.size(), token);
    if (token < 0 || token >= vocab)
        throw FileError(fmt::format("{}: the state names no last token of the vocabulary of {}", file.path(), vocab));
    return token;
}

}  // namespace

template <class T> void save_pause(const std::filesystem::path& path, const LrnnPause<T>& pause) {
    std::vector<nn::ConstArray> arrays;
    for_each_tensor(pause.state, [&](std::string name, const Tensor<T>& tensor) {
        arrays.emplace_back(std::move(name), tensor.shape(), tensor.values());
    });
    nn::save_arrays(path, arrays, {{"token", std::to_string(pause.token)}});
}

template <class T> LrnnPause<T> load_pause(const std::filesystem::path& path, const Lrnn<T>& model) {
    const nn::SafetensorsFile file(path);
    LrnnPause<T> pause{model.start(), token_of(file, model.config().vocab)};
    std::size_t wanted = 0;
    for_each_tensor(pause.state, [&](const std::string& name, Tensor<T>& tensor) {
        Tensor<T> found = file.tensor<T>(name);
        if (found.shape() != tensor.shape())
            throw FileError(fmt::format("{}: {} is {}, the model wants {}", file.path(), name, to_string(found.shape()),
                                        to_string(tensor.shape())));
        tensor = std::move(found);
        ++wanted;
    });
    if (file.entries().size() != wanted)
        throw FileError(
            fmt::format("{}: {} tensors, the state of this model has {}", file.path(), file.entries().size(), wanted));
    return pause;
}

template void save_pause(const std::filesystem::path&, const LrnnPause<float>&);
template void save_pause(const std::filesystem::path&, const LrnnPause<double>&);
template LrnnPause<float> load_pause(const std::filesystem::path&, const Lrnn<float>&);
template LrnnPause<double> load_pause(const std::filesystem::path&, const Lrnn<double>&);

}  // namespace xtape::models
