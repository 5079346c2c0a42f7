#pragma once

#include "arrays.hpp"
#include "batch.hpp"
#include "faults.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xtape::reference {

enum class Norm { none, attention, full };
enum class Act { relu, relu_squared };

/// Settings of microgpt; the defaults have 4,192 parameters. A layer's norm₁ is there for Norm::attention and full,
/// norm₀ (of the embedding) and norm₂ (before the FFN) for full.
struct MicrogptConfig {
    int vocab = 27, dim = 16, heads = 4, ffn = 64, block = 16, layers = 1;
    Norm norm = Norm::attention;
    Act act = Act::relu;
};

/// Zeros by name in the order of the specification: wte, wpe, layers.0.wq, wk, wv, wo, w1, w2, ..., wout.
template <class T> Arrays<T> microgpt_parameters(const MicrogptConfig& config);

/// Forward and hand-written backward pass; with the id of a fault, the backward pass that commits it.
/// Throws std::invalid_argument for parameters or a batch that do not fit the settings, and for an unknown fault.
template <class T>
Run<T> microgpt_run(const MicrogptConfig& config, const Arrays<T>& parameters, const Batch& batch,
                    std::string_view fault = "");

/// The faults that microgpt_run can commit.
std::span<const FaultInfo> microgpt_faults();

/// Names, in order, of the parameters whose gradient the fault makes wrong at these settings; others keep their bits.
/// Holds for nonzero parameters, dim of 2 or more, and a batch in which some sequence has two positions or more.
std::vector<std::string> microgpt_wrong_gradients(const MicrogptConfig& config, std::string_view fault);

}  // namespace xtape::reference
