#pragma once

#include "arrays.hpp"
#include "faults.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xtape::reference {

/// Which columns of a head rope turns together: (2i, 2i + 1), or, as in Hugging Face checkpoints, (i, i + width / 2).
enum class Rope { interleaved, half_split };

/// Settings of llama; `kv_heads` of 0 means as many as heads. The width dim / heads of a head is even.
struct LlamaConfig {
    int vocab = 32, dim = 16, layers = 2, heads = 4, kv_heads = 0, ffn = 24, context = 16;
    double rope_theta = 10000, norm_epsilon = 1e-5;
    Rope rope = Rope::interleaved;
    bool tied = false;
};

/// Zeros by name: token_embedding, layers.0.attention_norm, wq, wk, wv, wo, ffn_norm, w1, w2, w3, ..., final_norm, and,
/// unless tied, classifier.
template <class T> Arrays<T> llama_parameters(const LlamaConfig& config);

/// Forward and hand-written backward pass; with the id of a fault, the backward pass that commits it.
/// Throws std::invalid_argument for parameters or a batch that do not fit the settings, and for an unknown fault.
template <class T>
Run<T> llama_run(const LlamaConfig& config, const Arrays<T>& parameters, const Batch& batch,
                 std::string_view fault = "");

/// The faults that llama_run can commit.
std::span<const FaultInfo> llama_faults();

/// Names, in order, of the parameters whose gradient the fault makes wrong at these settings; others keep their bits.
/// Holds for nonzero parameters, norm weights other than 1, and a batch in which some position other than the first of
/// its sequence has a target.
std::vector<std::string> llama_wrong_gradients(const LlamaConfig& config, std::string_view fault);

}  // namespace xtape::reference
