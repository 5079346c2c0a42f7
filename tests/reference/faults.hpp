#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace xtape::reference {

/// A known way in which a hand-written backward pass goes wrong; a model's reference commits it when given the id.
struct FaultInfo {
    std::string_view id;
    std::string_view description;
};

/// Place of `id` among a model's faults, counted from 1; 0 for the empty id, which is the right backward pass.
/// Throws std::invalid_argument that lists the known ids.
inline std::size_t fault_number(std::string_view model, std::string_view id, std::span<const FaultInfo> faults) {
    if (id.empty()) return 0;
    std::string known;
    for (std::size_t i = 0; i < faults.size(); ++i) {
        if (faults[i].id == id) return i + 1;
        known.append(i == 0 ? "" : ", ").append(faults[i].id);
    }
    throw std::invalid_argument(std::string(model) + ": unknown fault '" + std::string(id) + "'; known are " + known);
}

}  // namespace xtape::reference
