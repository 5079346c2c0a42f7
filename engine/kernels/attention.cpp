#include <xtape/engine/kernels/attention.hpp>
#include <xtape/engine/kernels/attention_short.hpp>
#include <xtape/engine/kernels/attention_tiled.hpp>

namespace xtape::kernels {
namespace {

HeadOfSequence head_of(const Attention& a, Index sequence, Index head) {
    const Index key_head = head * a.key_heads / a.heads;
    if (a.offsets == nullptr) return {0, a.queries, 0, a.keys, head, key_head};
    const Index begin = a.offsets[sequence], rows = a.offsets[sequence + 1] - begin;
    return {begin, rows, begin, rows, head, key_head};
}

/// What does sequences of few keys; none where heads of this kind have no such way.
template <class T> struct ShortKernels {
    decltype(&ShortAttention<T, 4>::forward) forward = nullptr;
    decltype(&ShortAttention<T, 4>::backward) backward = nullptr;
    Index most_keys = -1;

    bool serve(const HeadOfSequence& s) const { return s.keys <= most_keys; }
};

template <class T, int Width = 4> ShortKernels<T> short_kernels(const Attention& a) {
    if constexpr (Width > std::min<Index>(16, width<T>)) {
        return {};
    } else {
        using Short = ShortAttention<T, Width>;
        if (a.heads == a.key_heads && a.width == Width) return {&Short::forward, &Short::backward, Short::most_keys};
        return short_kernels<T, 2 * Width>(a);
    }
}

/// Calls body(sequence) for the short sequences, and says how many rows the longest of the others has.
template <class T, class Body>
Index each_short_sequence(const Attention& a, const ShortKernels<T>& own, bool threaded, Body&& body) {
    Index longest = 0;
    for (Index i = 0; i < a.sequences; ++i) {
        const HeadOfSequence s = head_of(a, i, 0);
        if (!own.serve(s)) longest = std::max(longest, s.queries);
    }
    parallel_for(a.sequences, 4, threaded, [&](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) {
            const HeadOfSequence s = head_of(a, i, 0);
            if (own.serve(s)) body({s.query, s.queries, s.keys, a.heads, a.heads * a.width, a.scale});
        }
    });
    return longest;
}

/// Whether a pass of so many operations for each pair of a query and a key and each column is worth threads.
bool worth_threads_for(const Attention& a, double operations) {
    double pairs = 0;
    for (Index i = 0; i < a.sequences; ++i) {
        const HeadOfSequence s = head_of(a, i, 0);
        pairs += static_cast<double>(s.queries) * static_cast<double>(s.keys);
    }
    return worth_threads(operations * pairs * static_cast<double>(a.heads * a.width));
}

}  // namespace

template <class T> void attention(const Attention& a, const T* q, const T* k, const T* v, T* o, T* lse) {
    const bool threaded = worth_threads_for(a, 4);
    const ShortKernels<T> own = short_kernels<T>(a);
    const Index longest =
        each_short_sequence(a, own, threaded, [&](const ShortSequence& s) { own.forward(s, q, k, v, o, lse); });
    const Index blocks = (longest + query_block - 1) / query_block;
    parallel_for(a.sequences * a.heads * blocks, 1, threaded, [=](Index item, Index) {
        const HeadOfSequence s = head_of(a, item / blocks / a.heads, item / blocks % a.heads);
        const Index begin = item % blocks * query_block;
        if (begin >= s.queries || own.serve(s)) return;
        attend_block(a, s, begin, std::min(query_block, s.queries - begin), q, k, v, o, lse);
    });
}

template <class T>
void attention_backward(const Attention& a, const AttentionInputs<T>& in, const AttentionGradients<T>& out) {
    const bool threaded = worth_threads_for(a, 10);
    const ShortKernels<T> own = short_kernels<T>(a);
    const Index longest =
        each_short_sequence(a, own, threaded, [&](const ShortSequence& s) { own.backward(s, in, out); });
    if (longest == 0 && own.serve({})) return;
    const Index group = a.heads / a.key_heads;
    parallel_for(a.sequences * a.key_heads, 1, threaded, [=](Index item, Index) {
        const Index first = item % a.key_heads * group;
        const HeadOfSequence any = head_of(a, item / a.key_heads, first);
        if (own.serve(any)) return;
        if (out.dk != nullptr && !out.add_k) clear_head(a, any, out.dk);
        if (out.dv != nullptr && !out.add_v) clear_head(a, any, out.dv);
        for (Index head = first; head < first + group; ++head) {
            const HeadOfSequence s = head_of(a, item / a.key_heads, head);
            for (Index begin = 0; begin < s.queries; begin += query_block)
                attend_block_backward(a, s, begin, std::min(query_block, s.queries - begin), in, out);
        }
    });
}

template void attention(const Attention&, const float*, const float*, const float*, float*, float*);
template void attention(const Attention&, const double*, const double*, const double*, double*, double*);
template void attention_backward(const Attention&, const AttentionInputs<float>&, const AttentionGradients<float>&);
template void attention_backward(const Attention&, const AttentionInputs<double>&, const AttentionGradients<double>&);

}  // namespace xtape::kernels
