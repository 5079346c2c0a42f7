#pragma once

#include <xtape/engine/kernels/gemm.hpp>
#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/precision.hpp>
#include <xtape/engine/tensor.hpp>

#include <concepts>
#include <cstdint>

namespace xtape {

/// One gemm, in bf16 where that is wanted and pays.
template <class T>
void multiply(const kernels::Gemm& g, Precision precision, const T* a, const T* b, T* c, const T* bias = nullptr) {
    if constexpr (std::same_as<T, float>) {
        if (precision == Precision::bf16 && kernels::worth_bf16(g)) {
            const auto scratch = Tensor<float>::unwritten({kernels::bf16_scratch(g)});
            return kernels::gemm_bf16(g, a, b, c, bias, reinterpret_cast<std::uint32_t*>(scratch.body()->data));
        }
    }
    kernels::gemm(g, a, b, c, bias);
}

}  // namespace xtape
