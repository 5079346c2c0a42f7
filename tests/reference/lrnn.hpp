#pragma once

#include "arrays.hpp"
#include "faults.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xtape::reference {

/// Settings of lrnn. `ffn` is the width F of the channel mix, `chunk` the rows that the scan's reverse pass takes
/// together (the result does not depend on it), `label_smoothing` the ε of q = (1 − ε) onehot + ε / V.
struct LrnnConfig {
    int vocab = 27, layers = 2, dim = 64, heads = 1, decay_rank = 2, ffn = 128, slots = 4, chunk = 16;
    double label_smoothing = 0;
};

/// Zeros by name in the order of the specification: emb, ln0.weight, ln0.bias, the layers (layers.0.ln1.weight, ...,
/// layers.0.mem_gate_read), ln_out.weight, ln_out.bias, head.
template <class T> Arrays<T> lrnn_parameters(const LrnnConfig& config);

/// Forward and hand-written backward pass over a ragged batch, each sequence from state 0; with the id of a fault, the
/// pass that commits it. Throws std::invalid_argument for parameters or a batch that do not fit the settings, and for
/// an unknown fault.
template <class T>
Run<T> lrnn_run(const LrnnConfig& config, const Arrays<T>& parameters, const Batch& batch, std::string_view fault = "");

/// The faults that lrnn_run can commit.
std::span<const FaultInfo> lrnn_faults();

/// Names, in order, of the parameters whose gradient the fault makes wrong at these settings; others keep their bits.
/// Holds for nonzero parameters and a batch with a sequence of 5 tokens or more; for scan-no-carry, one longer than a
/// chunk; for lrnn-clamped-scan, where dL/dk, and nothing else of the scan, passes 50 in the last layer. With one slot
/// the gradient of mem_gate_write and mem_gate_read is zero, and no fault but lrnn-eps-softmax names them.
std::vector<std::string> lrnn_wrong_gradients(const LrnnConfig& config, std::string_view fault);

}  // namespace xtape::reference
