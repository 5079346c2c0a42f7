#include <xtape/engine/kernels/rows.hpp>
#include <xtape/engine/kernels/scan.hpp>

namespace xtape::kernels {
namespace {

template <class T, class Body> void each_tile(const Scan& s, Body&& body) {
    constexpr Index least = 4 * width<T>;
    const Index tile = std::max(least, (s.columns / 8 + least - 1) / least * least);
    const double bytes = 2.0 * sizeof(T) * static_cast<double>(s.steps) * static_cast<double>(s.row());
    parallel_for(s.columns, tile, worth_threads(0, bytes), [&](Index begin, Index end) {
        body(Columns{begin, end - begin, s.columns});
    });
}

/// Some steps of some columns; state goes from that before them to that behind them. y is the row of the first step.
template <class T, class Exclusive>
void advance(const Scan& s, Columns columns, Span span, const T* a, const T* b, T* y, T* state, Exclusive) {
    for (Index t = span.begin; t < span.end; ++t) {
        if (s.sequences.begin_at(t)) clear(columns, s.slots, state);
        const T* gate = a + t * s.columns + columns.first;
        for (Index slot = 0; slot < s.slots; ++slot) {
            const Index at = slot * s.columns + columns.first;
            const T* in = b + t * s.row() + at;
            T* out = y + (t - span.begin) * s.row() + at;
            T* h = state + at;
            for_batches<T>(columns.count, [=](Index i, auto count) {
                const Batch<T> before = get(h + i, count);
                const Batch<T> after = xsimd::fma(get(gate + i, count), before, get(in + i, count));
                put(h + i, after, count);
                put(out + i, Exclusive::value ? before : after, count);
            });
        }
    }
}

/// Some steps of some columns, backwards. h_{t−1} is row t − first of `before`. pass.carry goes from what step span.end
/// hands back to what step span.begin does.
template <class T, class Exclusive>
void retreat(const Scan& s, Columns columns, Span span, const ScanBackward<T>& pass, const T* before, Index first,
             Exclusive) {
    const Index row = s.row(), stride = s.columns;
    for (Index t = span.end - 1; t >= span.begin; --t) {
        if (t + 1 == s.steps || s.sequences.begin_at(t + 1)) clear(columns, s.slots, pass.carry);
        const T* gate = pass.a + t * s.columns + columns.first;
        const T* dy = pass.dy + t * row + columns.first;
        const T* h = s.sequences.begin_at(t) ? nullptr : before + (t - first) * row + columns.first;
        T* da = gradient_of(columns, 1, pass.da, t * stride, pass.add_a);
        T* db = gradient_of(columns, s.slots, pass.db, t * row, pass.add_b);
        T* carry = pass.carry + columns.first;
        const auto step = [=](auto sums, auto writes) {
            for_batches<T>(columns.count, [=](Index i, auto count) {
                const Batch<T> factor = get(gate + i, count);
                Batch<T> sum(T(0));
                for (Index at = i; at < row; at += stride) {
                    const Batch<T> d = get(dy + at, count), handed = get(carry + at, count);
                    const Batch<T> g = Exclusive::value ? handed : handed + d;
                    if constexpr (decltype(sums)::value) sum += g * get(h + at, count);
                    if constexpr (decltype(writes)::value) put(db + at, g, count, std::true_type());
                    put(carry + at, Exclusive::value ? xsimd::fma(factor, g, d) : factor * g, count);
                }
                if constexpr (decltype(sums)::value) put(da + i, sum, count, std::true_type());
            });
        };
        with_constant(da != nullptr && h != nullptr,
                      [&](auto sums) { with_constant(db != nullptr, [&](auto writes) { step(sums, writes); }); });
    }
}

}  // namespace

template <class T> void scan(const Scan& s, const T* a, const T* b, T* y, T* state, T* states) {
    const Index interval = states == nullptr ? s.steps : checkpoint_interval(s.steps);
    with_constant(s.exclusive, [&](auto exclusive) {
        each_tile<T>(s, [&](Columns columns) {
            clear(columns, s.slots, state);
            for (Index t = 0; t < s.steps; t += interval) {
                if (states != nullptr) copy(columns, s.slots, state, states + t / interval * s.row());
                advance(s, columns, {t, std::min(s.steps, t + interval)}, a, b, y + t * s.row(), state, exclusive);
            }
        });
    });
}

template <class T> void scan_backward(const Scan& s, const ScanBackward<T>& pass, const T* y) {
    with_constant(s.exclusive, [&](auto exclusive) {
        each_tile<T>(s, [&](Columns columns) {
            retreat(s, columns, {0, s.steps}, pass, y, s.exclusive ? 0 : 1, exclusive);
        });
    });
}

template <class T>
void scan_backward(const Scan& s, const ScanBackward<T>& pass, const T* b, const T* states, T* state, T* again) {
    const Index interval = checkpoint_interval(s.steps);
    with_constant(s.exclusive, [&](auto exclusive) {
        each_tile<T>(s, [&](Columns columns) {
            for (Index i = checkpoints(s.steps) - 1; i >= 0; --i) {
                const Span span{i * interval, std::min(s.steps, (i + 1) * interval)};
                copy(columns, s.slots, states + i * s.row(), state);
                advance(s, columns, span, pass.a, b, again, state, std::true_type());
                retreat(s, columns, span, pass, again, span.begin, exclusive);
            }
        });
    });
}

template void scan(const Scan&, const float*, const float*, float*, float*, float*);
template void scan(const Scan&, const double*, const double*, double*, double*, double*);
template void scan_backward(const Scan&, const ScanBackward<float>&, const float*);
template void scan_backward(const Scan&, const ScanBackward<double>&, const double*);
template void scan_backward(const Scan&, const ScanBackward<float>&, const float*, const float*, float*, float*);
template void scan_backward(const Scan&, const ScanBackward<double>&, const double*, const double*, double*, double*);

}  // namespace xtape::kernels
