#pragma once

#include "arrays.hpp"
#include "faults.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xtape::reference {

/// Settings of the gate: width `dim` (d_model), inner width `ffn` (d_ff), positions up to `context`.
struct GateConfig {
    int vocab = 64, dim = 32, layers = 2, heads = 4, ffn = 64, context = 32;
    double ln_eps = 1e-5;
};

enum class GateKind { next_token, decision };

/// What a sequence is to be followed by: `next` for a next token; for a decision the `label`, clamped to [0, 1] by the
/// loss, from block to allow.
struct GateExample {
    GateKind kind = GateKind::decision;
    int next = 0;
    double label = 0, weight = 1;
};

/// Ragged batch: the tokens of example i are those from `offsets[i]` up to, not including, `offsets[i + 1]`.
struct GateBatch {
    std::vector<int> tokens, offsets;
    std::vector<GateExample> examples;
};

/// Loss of the batch, (1/B) Σ w_i ℓ_i over both kinds; logits [next-token examples, vocab]; allow logits [decisions];
/// and the gradient of every parameter in the order of the parameters.
template <class T> struct GateRun {
    T loss;
    std::vector<T> logits, allow_logits;
    Arrays<T> gradients;
};

/// Zeros by name in the order of the specification: token_embedding, position_embedding, layers.0.ln1.weight, ...,
/// final_ln.weight, final_ln.bias, output.weight, output.bias, gate.weight, gate.bias.
template <class T> Arrays<T> gate_parameters(const GateConfig& config);

/// Forward and hand-written backward pass; with the id of a fault, the pass that commits it.
/// Throws std::invalid_argument for parameters or a batch that do not fit the settings, and for an unknown fault.
template <class T>
GateRun<T> gate_run(const GateConfig& config, const Arrays<T>& parameters, const GateBatch& batch,
                    std::string_view fault = "");

/// The faults that gate_run can commit.
std::span<const FaultInfo> gate_faults();

/// Names, in order, of the parameters whose gradient the fault makes wrong at these settings; others keep their bits.
/// Holds for nonzero parameters with norm weights and biases away from 1 and 0, both kinds of example, a sequence of
/// two tokens or more; for gate-clamped-bce, a confident mistake. attention.bk is never named and never keeps its bits:
/// its true gradient is zero.
std::vector<std::string> gate_wrong_gradients(const GateConfig& config, std::string_view fault);

/// Those of gate_wrong_gradients that the fault never writes: their gradient is zero.
std::vector<std::string> gate_unwritten_gradients(const GateConfig& config, std::string_view fault);

}  // namespace xtape::reference
