// Causal attention, fused: scores, softmax and weighted sum in one op that keeps only a log-sum-exp a row and head.

#include <xtape/engine/kernels/attention.hpp>
#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/offsets.hpp>
#include <xtape/engine/precision.hpp>

#include <cmath>

#include <fmt/format.h>

namespace xtape {
namespace {

template <class T> struct CausalAttention {
    static constexpr std::string_view name = "causal_attention";
    static constexpr std::array optional{3};  // offsets
    AttentionOptions options;
    Precision precision = product_precision();

    Shape shape(const Shape& q, const Shape& k, const Shape& v, const Indices& offsets) const {
        const auto fail = [&](const std::string& wrong) {
            throw ShapeError(fmt::format("causal_attention: {}: q is {}, k is {}, v is {}", wrong, to_string(q),
                                         to_string(k), to_string(v)));
        };
        const Index heads = options.heads, key_heads = key_value_heads();
        if (heads < 1 || key_heads < 1 || heads % key_heads != 0)
            throw ValueError(
                fmt::format("causal_attention: key_value_heads must divide heads: heads is {}, "
                            "key_value_heads is {}",
                            heads, key_heads));
        if (q.rank() != 2 || k.rank() != 2 || v.rank() != 2) fail("q, k and v must be matrices");
        if (k != v) fail("k and v must have the same shape");
        if (q[1] % heads != 0 || q[1] == 0) fail(fmt::format("the rows of q do not make {} heads", heads));
        if (q[1] / heads * key_heads != k[1])
            fail(fmt::format("the rows of k must be {} heads of width {}", key_heads, q[1] / heads));
        if (offsets) {
            if (q[0] != k[0]) fail("a ragged batch needs as many keys as queries");
            check_offsets(name, "q", offsets, q[0]);
        } else if (q[0] > k[0]) {
            fail("there are more queries than keys");
        }
        return q;
    }
    std::array<Shape, 1> saved(const Shape& q, const Shape&, const Shape&, const Indices&) const {
        return {Shape{q[0], options.heads}};
    }

    void forward(View<T> q, View<T> k, View<T> v, View<std::int32_t> offsets, Out<T> o, Out<T> lse) const {
        kernels::attention(attention_of(q.shape, k.shape, offsets), q.data, k.data, v.data, o.data, lse.data);
    }
    /// dV = Pᵀ dO, dS = P (dO Vᵀ − Σ dO o) scale, dQ = dS K, dK = dSᵀ Q, head by head
    void vjp(Grad<0, T> dq, Grad<1, T> dk, Grad<2, T> dv, Input<0, T> q, Input<1, T> k, Input<2, T> v,
             Input<3, std::int32_t> offsets, Output<T> o, Saved<0, T> lse, Cotangent<T> dy) const {
        kernels::attention_backward<T>(attention_of(q.shape, k.shape, offsets),
                                       {q.data, k.data, v.data, o.data, lse.data, dy.data},
                                       {dq.data, dk.data, dv.data, dq.accumulate, dk.accumulate, dv.accumulate});
    }

private:
    int key_value_heads() const { return options.key_value_heads == 0 ? options.heads : options.key_value_heads; }

    kernels::Attention attention_of(const Shape& q, const Shape& k, const View<std::int32_t>& offsets) const {
        const Index width = q[1] / options.heads;
        return {.queries = q[0],
                .keys = k[0],
                .heads = options.heads,
                .key_heads = key_value_heads(),
                .width = width,
                .scale = options.scale == 0 ? 1 / std::sqrt(static_cast<double>(width)) : options.scale,
                .offsets = offsets.data,
                .sequences = offsets ? offsets.size() - 1 : 1,
                .bf16 = precision == Precision::bf16 && kernels::has_bf16_for_tiles()};
    }
};

}  // namespace

template <Real T>
Tensor<T> causal_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const Indices& offsets,
                           AttentionOptions options, Where where) {
    return apply<T>(CausalAttention<T>{options}, where, q, k, v, offsets);
}

template Tensor<float> causal_attention(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&,
                                        const Indices&, AttentionOptions, Where);
template Tensor<double> causal_attention(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&,
                                         const Indices&, AttentionOptions, Where);

}  // namespace xtape
