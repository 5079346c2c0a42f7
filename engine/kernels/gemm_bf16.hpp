#pragma once

#include <xtape/engine/kernels/gemm.hpp>

#include <cstdint>

namespace xtape::kernels {

/// Whether this processor multiplies bfloat16, and this was built for it, or oneDNN is there to do it.
bool has_bf16();

/// Whether bf16 pays for tiles of a few thousand elements, too: not by oneDNN.
bool has_bf16_for_tiles();

/// Whether a product is large enough for bf16 to pay.
bool worth_bf16(const Gemm& g);

/// Words of scratch that gemm_bf16 wants.
Index bf16_scratch(const Gemm& g);

/// `gemm` of operands rounded to bfloat16, with sums in f32, for a product that is worth it. As there, the bits do not
/// depend on the number of threads. Falls back to f32 where oneDNN has no memory.
void gemm_bf16(const Gemm& g, const float* a, const float* b, float* c, const float* bias, std::uint32_t* scratch);

}  // namespace xtape::kernels
