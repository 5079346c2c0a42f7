#pragma once
// What the products of matrices of float are computed in.

namespace xtape {

enum class Precision {
    f32,
    bf16,  ///< operands rounded to bfloat16, sums in f32: twice as fast where the processor has it
};

/// For all products that are recorded or run from now on, attention's too, on all threads; their vjps follow them.
/// Small products, and those of stacks of matrices, stay in f32. Throws ValueError for bf16 where the processor, or the
/// build, cannot multiply it.
void set_product_precision(Precision precision);
Precision product_precision();

}  // namespace xtape
