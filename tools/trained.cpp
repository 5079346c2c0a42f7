#include <xtape/engine/check/report.hpp>
#include <xtape/tools/trained.hpp>

#include <algorithm>
#include <cmath>

namespace xtape::tools {

void check_finite(const std::vector<nn::NamedConst<float>>& weights, std::string_view source) {
    for (const auto& [name, parameter] : weights) {
        const auto values = parameter->values();
        const auto bad = std::ranges::find_if(values, [](float v) { return !std::isfinite(v); });
        if (bad != values.end())
            throw FileError(fmt::format("{}: {} is {} at {}, so that the model is of no use", source, name,
                                        std::isnan(*bad) ? "NaN" : "infinite",
                                        place_of(bad - values.begin(), parameter->shape())));
    }
}

double finite(double loss) {
    if (!std::isfinite(loss))
        throw std::runtime_error(fmt::format("eval: the loss is {}", std::isnan(loss) ? "NaN" : "infinite"));
    return loss;
}

}  // namespace xtape::tools
