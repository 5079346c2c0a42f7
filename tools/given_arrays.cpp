#include <xtape/nn/npy.hpp>
#include <xtape/tools/given_arrays.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

namespace fs = std::filesystem;
using Dtype = nn::SafetensorsFile::Dtype;

std::string_view precision_of(Dtype dtype) { return dtype == Dtype::f64 ? "f64" : "f32"; }

GivenArrays read_safetensors(const fs::path& path) {
    const nn::SafetensorsFile file(path);
    GivenArrays given;
    for (const auto& entry : file.entries()) {
        std::vector<double> values(static_cast<std::size_t>(entry.shape.size()));
        file.read(entry, std::span(values));
        given[entry.name] = {precision_of(entry.dtype), entry.shape, std::move(values)};
    }
    return given;
}

GivenArrays read_npy_files(const std::vector<fs::path>& paths) {
    GivenArrays given;
    for (const fs::path& path : paths) {
        nn::NpyArray array = nn::read_npy(path);
        given[path.stem().string()] = {precision_of(array.dtype), array.shape, std::move(array.values)};
    }
    return given;
}

std::vector<fs::path> npy_files(const fs::path& folder) {
    std::vector<fs::path> files;
    if (!fs::is_directory(folder)) return files;
    for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().extension() == ".npy") files.push_back(entry.path());
    return files;
}

/// The parameters.safetensors of the exported folder that `path` is, or lies in.
std::optional<fs::path> exported_parameters(const fs::path& path) {
    if (path.empty()) return {};
    for (const fs::path& folder : {path, fs::absolute(path).parent_path()}) {
        const fs::path file = folder / "parameters.safetensors";
        std::error_code ignored;
        if (fs::is_regular_file(file, ignored)) return file;
    }
    return {};
}

}  // namespace

GivenArrays read_given(const fs::path& path) {
    if (!fs::exists(path)) throw FileError(fmt::format("audit: {}: no such file or folder", path.string()));
    if (!fs::is_directory(path) && !fs::is_regular_file(path))
        throw FileError(fmt::format("audit: {}: neither a file nor a folder", path.string()));
    if (!fs::is_directory(path)) return path.extension() == ".npy" ? read_npy_files({path}) : read_safetensors(path);
    if (fs::exists(path / "gradients.safetensors")) return read_safetensors(path / "gradients.safetensors");
    std::vector<fs::path> files = npy_files(path / "gradients");
    if (files.empty()) files = npy_files(path);
    if (files.empty())
        throw FileError(fmt::format(
            "audit: {} holds neither gradients.safetensors nor gradients/NAME.npy nor .npy files", path.string()));
    return read_npy_files(files);
}

std::string exported_case(const fs::path& path, const std::string& subject) {
    const auto file = exported_parameters(path);
    if (!file) return {};
    nn::Metadata mark = nn::SafetensorsFile(*file).metadata();
    return mark["subject"] == subject ? mark["case"] : "";
}

void check_export(const fs::path& path, const FileCase& item, Subject& subject) {
    const auto exported = exported_parameters(path);
    if (!exported) return;
    const nn::SafetensorsFile file(*exported);
    nn::Metadata mark = file.metadata();
    if (!mark.contains("subject")) return;  // of somebody else
    const auto same = [&](const NamedParameter& one) {
        const auto* entry = file.find(one.name);
        return entry != nullptr && entry->shape == one.parameter->shape() &&
               std::ranges::equal(file.tensor<double>(one.name).values(), one.parameter->values());
    };
    if (mark["subject"] != item.subject || mark["case"] != item.settings ||
        !std::ranges::all_of(subject.parameters(), same))
        throw FileError(
            fmt::format("audit: {} is of another case ({}, {}), or of another version of xtape: say the flags of "
                        "its export, or export it again",
                        exported->string(), mark["subject"], mark["case"]));
}

}  // namespace xtape::tools
