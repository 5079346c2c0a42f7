#include <xtape/engine/kernels/rows.hpp>
#include <xtape/engine/kernels/scan.hpp>

namespace xtape::kernels {
namespace {

/// Each thread takes as wide a part of the rows as it can: of narrow ones memory gives less than half as much, and of
/// less than a kilobyte cores read each other's ahead while they are written.
template <class T, class Body> void each_part(const Scan& s, Body&& body) {
    constexpr Index kilobyte = 1024 / sizeof(T);
    const double bytes = 2.0 * sizeof(T) * static_cast<double>(s.steps) * static_cast<double>(s.row());
    share_among_threads(s.columns, kilobyte, worth_threads(0, bytes), [&](Index begin, Index end) {
        body(Columns{begin, end - begin, s.columns});
    });
}

/// Steps forward that the innermost loop takes at once: between them the state stays in registers.
inline constexpr std::integral_constant<Index, 4> several;
inline constexpr std::integral_constant<Index, 1> one;

/// Some steps of some columns; state goes from that before them to that behind them. y is the row of the first step.
template <class T, class Exclusive>
void advance(const Scan& s, Columns columns, Span span, const T* a, const T* b, T* y, T* state, Exclusive) {
    const Index row = s.row(), stride = s.columns;
    const auto take = [&](Index t, auto steps) {
        if (s.sequences.begin_at(t)) clear(columns, s.slots, state);
        const T* gate = a + t * stride + columns.first;
        for (Index at = columns.first; at < row; at += stride) {
            const T* in = b + t * row + at;
            T* out = y + (t - span.begin) * row + at;
            T* h = state + at;
            for_batches<T>(columns.count, [=](Index i, auto count) {
                Batch<T> now = get(h + i, count);
                for (Index k = 0; k < steps; ++k) {
                    const Batch<T> before = now;
                    now = xsimd::fma(get(gate + k * stride + i, count), before, get(in + k * row + i, count));
                    put(out + k * row + i, Exclusive::value ? before : now, count);
                }
                put(h + i, now, count);
            });
        }
    };
    for (Index t = span.begin; t < span.end;) {
        if (t + several <= span.end && !s.sequences.begin_within(t + 1, t + several)) {
            take(t, several);
            t += several;
        } else {
            take(t++, one);
        }
    }
}

/// Where a gradient goes; nowhere (null), over what is there, or added to it.
enum class To { nowhere, over, added };

template <To to, class T, class Count> void give(T* x, Index at, const Batch<T>& value, Count count) {
    if constexpr (to != To::nowhere) put(x + at, value, count, std::bool_constant<to == To::added>());
}

/// f, with the constant that says where.
template <class T, class F> void with_destination(const T* x, bool add, F&& f) {
    if (x == nullptr)
        f(std::integral_constant<To, To::nowhere>());
    else if (add)
        f(std::integral_constant<To, To::added>());
    else
        f(std::integral_constant<To, To::over>());
}

/// Step t of some columns, backwards. `before` is the row h_{t−1}, which da alone reads.
template <class T, To to_a, To to_b, class Exclusive>
void step_back(const Scan& s, Columns columns, Index t, const ScanBackward<T>& pass, const T* before,
               std::integral_constant<To, to_a>, std::integral_constant<To, to_b>, Exclusive) {
    const Index row = s.row(), stride = s.columns;
    const T* gate = pass.a + t * stride;
    const T* dy = pass.dy + t * row;
    T* da = to_a == To::nowhere ? nullptr : pass.da + t * stride;
    T* db = to_b == To::nowhere ? nullptr : pass.db + t * row;
    T* carry = pass.carry;
    for_batches<T>(columns.count, [=, first = columns.first](Index i, auto count) {
        i += first;
        const Batch<T> factor = get(gate + i, count);
        Batch<T> sum(T(0));
        for (Index at = i; at < row; at += stride) {
            const Batch<T> d = get(dy + at, count), handed = get(carry + at, count);
            const Batch<T> g = Exclusive::value ? handed : handed + d;
            if constexpr (to_a != To::nowhere) sum += g * get(before + at, count);
            give<to_b>(db, at, g, count);
            put(carry + at, Exclusive::value ? xsimd::fma(factor, g, d) : factor * g, count);
        }
        give<to_a>(da, i, sum, count);
    });
}

/// Some steps of some columns, backwards. h_{t−1} is row t − first of `before`. pass.carry goes from what step span.end
/// hands back to what step span.begin does.
template <class T, class Exclusive>
void retreat(const Scan& s, Columns columns, Span span, const ScanBackward<T>& pass, const T* before, Index first,
             Exclusive exclusive) {
    constexpr std::integral_constant<To, To::nowhere> nowhere;
    const auto steps = [&](auto to_a, auto to_b) {
        for (Index t = span.end - 1; t >= span.begin; --t) {
            if (t + 1 == s.steps || s.sequences.begin_at(t + 1)) clear(columns, s.slots, pass.carry);
            if (s.sequences.begin_at(t)) {  // h_{t−1} = 0, and so is da
                if (to_a == To::over) clear(columns, 1, pass.da + t * s.columns);
                step_back<T>(s, columns, t, pass, nullptr, nowhere, to_b, exclusive);
            } else {
                step_back(s, columns, t, pass, before + (t - first) * s.row(), to_a, to_b, exclusive);
            }
        }
    };
    with_destination(pass.da, pass.add_a,
                     [&](auto to_a) { with_destination(pass.db, pass.add_b, [&](auto to_b) { steps(to_a, to_b); }); });
}

}  // namespace

template <class T> void scan(const Scan& s, const T* a, const T* b, T* y, T* state, T* states) {
    const Index interval = states == nullptr ? s.steps : checkpoint_interval(s.steps);
    with_constant(s.exclusive, [&](auto exclusive) {
        each_part<T>(s, [&](Columns columns) {
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
        each_part<T>(s, [&](Columns columns) {
            retreat(s, columns, {0, s.steps}, pass, y, s.exclusive ? 0 : 1, exclusive);
        });
    });
}

template <class T>
void scan_backward(const Scan& s, const ScanBackward<T>& pass, const T* b, const T* states, T* state, T* again) {
    const Index interval = checkpoint_interval(s.steps);
    with_constant(s.exclusive, [&](auto exclusive) {
        each_part<T>(s, [&](Columns columns) {
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
