#include <xtape/engine/error.hpp>
#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/precision.hpp>

#include <atomic>

namespace xtape {

namespace {

std::atomic<Precision> chosen{Precision::f32};

}  // namespace

void set_product_precision(Precision precision) {
    if (precision == Precision::bf16 && !kernels::has_bf16())
        throw ValueError(
            "precision: bf16 products need a processor with AVX512-BF16 or AMX, and a build for it (-march=native) or "
            "with oneDNN and OpenMP; take f32");
    chosen = precision;
}

Precision product_precision() { return chosen; }

}  // namespace xtape
