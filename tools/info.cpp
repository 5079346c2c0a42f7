#include <xtape/nn/safetensors.hpp>
#include <xtape/tools/info.hpp>

#include <fmt/format.h>

namespace xtape::tools {

Exit print_info(const RunFolder& run, bool json) {
    const Json config = run.read_config();
    const nn::SafetensorsFile weights(run.file("model.safetensors"));
    Index total = 0;
    Json tensors = Json::array();
    for (const auto& entry : weights.entries()) {
        total += entry.shape.size();
        tensors.push_back(
            {{"name", entry.name}, {"shape", std::vector<Index>(entry.shape.begin(), entry.shape.end())}});
    }
    const auto step = weights.metadata().find("step");
    const std::string steps = step == weights.metadata().end() ? "an unknown number of" : step->second;
    const std::vector<Metric> metrics = run.read_metrics();
    if (json) {
        Json all = config;
        all["steps"] = steps;
        all["parameters"] = total;
        all["tensors"] = tensors;
        if (!metrics.empty()) all["loss"] = metrics.back().loss;
        fmt::print("{}\n", one_line(all));
        return Exit::done;
    }
    fmt::print("{}: {}, {} parameters, after {} steps\n", run.path().string(), config.at("model").get<std::string>(),
               total, steps);
    if (!metrics.empty()) fmt::print("last loss {:.4f}\n", metrics.back().loss);
    const Json settings = config.value("config", Json::object());
    for (const auto& [name, value] : settings.items()) fmt::print("  {:<10} {}\n", name, one_line(value));
    fmt::print("\n");
    for (const auto& entry : weights.entries()) fmt::print("  {:<24} {}\n", entry.name, to_string(entry.shape));
    return Exit::done;
}

}  // namespace xtape::tools
