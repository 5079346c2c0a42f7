#include <xtape/engine/check/host_report.hpp>
#include <xtape/nn/safetensors.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

namespace xtape::nn {
namespace {

/// What the answers say of rounding: the relative error of f32, among the metadata.
double noise_of(const SafetensorsFile& file, const std::string& name) {
    const auto found = file.metadata().find("noise of " + name);
    return found == file.metadata().end() ? 0 : std::strtod(found->second.c_str(), nullptr);
}

GradReport compare_export(const char* folder, std::span<const xtape_tensor> given) {
    if (folder == nullptr) throw ValueError("there is no folder");
    const SafetensorsFile file(std::filesystem::path(folder) / "answers.safetensors");
    std::vector<xtape_tensor> tensors(given.begin(), given.end());
    std::vector<Tensor<double>> truths;  // until the judgement has read them
    for (xtape_tensor& one : tensors) {
        if (one.name == nullptr) throw ValueError("a tensor has no name");
        const Tensor<double>& truth = truths.emplace_back(file.tensor<double>(one.name));
        const Shape shape(std::span<const Index>(one.extents, static_cast<std::size_t>(std::clamp(one.rank, 0, 6))));
        if (shape != truth.shape())
            throw ShapeError(
                fmt::format("{} is {}, should be {}", one.name, to_string(shape), to_string(truth.shape())));
        one.truth = truth.data();
        one.noise = noise_of(file, one.name);
    }
    return check::compare_tensors(tensors);
}

template <class T> void read_as(const SafetensorsFile& file, const SafetensorsFile::Entry& entry, void* into) {
    file.read(entry, std::span<T>(static_cast<T*>(into), static_cast<std::size_t>(entry.shape.size())));
}

/// NaN is none.
bool is_int32(double v) { return v >= -0x1p31 && v < 0x1p31 && v == std::trunc(v); }

bool read(const char* path, const char* name, xtape_dtype dtype, void* into, std::size_t count) {
    if (path == nullptr || name == nullptr || into == nullptr) return false;
    const SafetensorsFile file(path);
    const auto* entry = file.find(name);
    if (entry == nullptr || entry->shape.size() != static_cast<Index>(count)) return false;
    if (dtype == XTAPE_F32) {
        read_as<float>(file, *entry, into);
    } else if (dtype == XTAPE_F64) {
        read_as<double>(file, *entry, into);
    } else if (dtype == XTAPE_I32) {
        const Tensor<double> values = file.tensor<double>(name);
        if (!std::ranges::all_of(values.values(), is_int32)) return false;
        std::ranges::transform(values.values(), static_cast<std::int32_t*>(into),
                               [](double v) { return static_cast<std::int32_t>(v); });
    } else {
        return false;
    }
    return true;
}

}  // namespace
}  // namespace xtape::nn

xtape_report* xtape_compare_export(const char* folder, const xtape_tensor* tensors, size_t count) {
    return xtape::check::report_of("xtape_compare_export", tensors, count, [&](std::span<const xtape_tensor> all) {
        return xtape::nn::compare_export(folder, all);
    });
}

int xtape_read(const char* file, const char* name, xtape_dtype dtype, void* into, size_t count) {
    try {
        return xtape::nn::read(file, name, dtype, into, count) ? 0 : 1;
    } catch (...) {
        return 1;
    }
}
