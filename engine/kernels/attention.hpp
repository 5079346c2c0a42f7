#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// Causal attention of `heads` heads of `width` columns. Rows of q are heads × width, those of k and v are key_heads ×
/// width wide; query head i reads key head i · key_heads / heads. Sequence s is made of the rows offsets[s] up to
/// offsets[s + 1]; where there is but one, offsets is null and the queries are the last rows of the keys.
struct Attention {
    Index queries, keys;
    Index heads, key_heads, width;
    double scale;
    const std::int32_t* offsets;
    Index sequences;
    bool bf16 = false;  ///< the products of float are of operands rounded to bfloat16, where that pays
};

/// o_t = Σ_{s≤t} softmax_s(scale q_t·k_s) v_s for each head; lse has the log of the softmax's sum, `heads` a row.
template <class T> void attention(const Attention& a, const T* q, const T* k, const T* v, T* o, T* lse);

/// What the backward reads: the forward's inputs and outputs, and the gradient of o.
template <class T> struct AttentionInputs { const T *q, *k, *v, *o, *lse, *d_o; };

/// Where the gradients go: nowhere when null. Whether they are added to what is there.
template <class T> struct AttentionGradients {
    T *dq, *dk, *dv;
    bool add_q, add_k, add_v;
};

/// The gradients of q, k and v from that of o; the probabilities are computed again from lse.
template <class T>
void attention_backward(const Attention& a, const AttentionInputs<T>& in, const AttentionGradients<T>& out);

}  // namespace xtape::kernels
