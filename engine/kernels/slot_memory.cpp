#include <xtape/engine/kernels/rows.hpp>
#include <xtape/engine/kernels/slot_memory.hpp>

namespace xtape::kernels {
namespace {

/// Columns that one thread takes at a time: their sums over slots stay in the nearest cache.
template <class T> inline constexpr Index tile = 4 * width<T>;

template <class T, class Body> void each_tile(const SlotMemory& s, double operations, Body&& body) {
    const double flops = operations * static_cast<double>(s.steps) * static_cast<double>(s.state());
    parallel_for(s.columns, tile<T>, worth_threads(flops), [&](Index begin, Index end) {
        body(Columns{begin, end - begin, s.columns});
    });
}

/// y_t = Σ_m read_{t,m} state_m.
template <class T>
void read_step(const SlotMemory& s, Columns columns, Index t, const T* read, const T* state, const SlotSums<T>& y) {
    const Index slots = s.slots, stride = s.columns, at = t * stride + columns.first;
    const T* n = state + columns.first;
    const T* e = n + slots * stride;
    const T* weights = read + t * slots;
    for_batches<T>(columns.count, [=](Index i, auto count) {
        Batch<T> sum_n(T(0)), sum_e(T(0));
        for (Index m = 0; m < slots; ++m) {
            const Batch<T> weight(weights[m]);
            sum_n = xsimd::fma(weight, get(n + m * stride + i, count), sum_n);
            sum_e = xsimd::fma(weight, get(e + m * stride + i, count), sum_e);
        }
        put(y.n + at + i, sum_n, count);
        put(y.e + at + i, sum_e, count);
    });
}

/// The state behind step t from that before it, perhaps in place.
template <class T>
void write_step(const SlotMemory& s, Columns columns, Index t, const SlotMemoryInputs<T>& in, const T* from, T* to) {
    const Index slots = s.slots, stride = s.columns, at = t * stride + columns.first, e = slots * stride;
    const T* weights = in.write + t * slots;
    const T *decay = in.decay + at, *k = in.k + at, *v = in.v + at;
    from += columns.first;
    to += columns.first;
    for_batches<T>(columns.count, [=](Index i, auto count) {
        const Batch<T> factor = get(decay + i, count), key = get(k + i, count), product = key * get(v + i, count);
        for (Index m = 0; m < slots; ++m) {
            const Batch<T> weight(weights[m]);
            const Index j = m * stride + i;
            put(to + j, xsimd::fma(factor, get(from + j, count), weight * product), count);
            put(to + e + j, xsimd::fma(factor, get(from + e + j, count), weight * key), count);
        }
    });
}

/// What a step backwards reads: the state before the step, and the gradient of that behind it (in carry, which becomes
/// that of the one before).
template <class T> struct StepBack {
    const T *n, *e;
    T *carry_n, *carry_e;
};

/// Σ over slots of a step: gradients of k ⊙ v, of k by E, and of the decay.
template <class T> struct SumsOverSlots { Local<T, tile<T>> product, key, decay; };

/// One slot of a step backwards. The first two of what it gives are the gradients of its weights, write and read.
template <class T>
std::array<T, 2> slot_back(Columns columns, T write, T read, const SlotMemoryInputs<T>& in, const SlotSums<const T>& dy,
                           const StepBack<T>& slot, SumsOverSlots<T>& sums) {
    const Batch<T> w(write), r(read);
    Batch<T> dw(T(0)), dr(T(0));
    for_batches<T>(columns.count, [&](Index i, auto count) {
        const Batch<T> n = get(slot.n + i, count), e = get(slot.e + i, count);
        const Batch<T> gn = get(slot.carry_n + i, count), ge = get(slot.carry_e + i, count);
        const Batch<T> dn = get(dy.n + i, count), de = get(dy.e + i, count);
        const Batch<T> key = get(in.k + i, count), factor = get(in.decay + i, count);
        dw += (gn * get(in.v + i, count) + ge) * key;
        dr += dn * n + de * e;
        put(sums.product.data() + i, w * gn, count, std::true_type());
        put(sums.key.data() + i, w * ge, count, std::true_type());
        put(sums.decay.data() + i, gn * n + ge * e, count, std::true_type());
        put(slot.carry_n + i, factor * gn + r * dn, count);
        put(slot.carry_e + i, factor * ge + r * de, count);
    });
    return {first_lane(sum_of_lanes(dw)), first_lane(sum_of_lanes(dr))};
}

/// One step backwards; `state` is that before it. sums gets the gradients of write and read by these columns.
template <class T>
void step_back(const SlotMemory& s, Columns columns, Index t, const SlotMemoryInputs<T>& in,
               const SlotSums<const T>& dy, const T* state, T* carry, T* sums, const SlotMemoryGradients<T>& out) {
    const Index row = t * s.columns, at = row + columns.first, e = s.slots * s.columns;
    const SlotMemoryInputs<T> here{in.decay + at, in.write + t * s.slots, in.read + t * s.slots, in.k + at, in.v + at};
    const SlotSums<const T> dy_here{dy.n + at, dy.e + at};
    SumsOverSlots<T> over_slots{};
    for (Index m = 0; m < s.slots; ++m) {
        const Index j = m * s.columns + columns.first;
        const StepBack<T> slot{state + j, state + e + j, carry + j, carry + e + j};
        const auto [dw, dr] = slot_back(columns, here.write[m], here.read[m], here, dy_here, slot, over_slots);
        sums[m] = dw;
        sums[s.slots + m] = dr;
    }
    const auto add = [&](T* to, auto&& term) {
        if (to == nullptr) return;
        for_batches<T>(columns.count,
                       [&](Index i, auto count) { put(to + i, term(i, count), count, std::true_type()); });
    };
    const auto d_product = [&](Index i, auto count) { return get(over_slots.product.data() + i, count); };
    add(gradient_of(columns, 1, out.decay, row, out.add_decay),
        [&](Index i, auto count) { return get(over_slots.decay.data() + i, count); });
    add(gradient_of(columns, 1, out.k, row, out.add_k), [&](Index i, auto count) {
        return get(here.v + i, count) * d_product(i, count) + get(over_slots.key.data() + i, count);
    });
    add(gradient_of(columns, 1, out.v, row, out.add_v),
        [&](Index i, auto count) { return get(here.k + i, count) * d_product(i, count); });
}

/// Some steps of some columns backwards, from the state before the first.
template <class T>
void span_back(const SlotMemory& s, Columns columns, Span span, const SlotMemoryInputs<T>& in, const T* state,
               const SlotSums<const T>& dy, const SlotMemoryGradients<T>& out, const SlotMemoryScratch<T>& scratch) {
    const auto before = [&](Index t) { return scratch.again + (t - span.begin) * s.state(); };
    copy(columns, 2 * s.slots, state, before(span.begin));
    for (Index t = span.begin; t < span.end; ++t) {
        if (s.sequences.begin_at(t)) clear(columns, 2 * s.slots, before(t));
        if (t + 1 < span.end) write_step(s, columns, t, in, before(t), before(t + 1));
    }
    for (Index t = span.end - 1; t >= span.begin; --t) {
        if (t + 1 == s.steps || s.sequences.begin_at(t + 1)) clear(columns, 2 * s.slots, scratch.carry);
        T* const sums = scratch.sums + (columns.first / tile<T> * s.steps + t) * 2 * s.slots;
        step_back(s, columns, t, in, dy, before(t), scratch.carry, sums, out);
    }
}

/// dx (+)= the sum over tiles of `slots` elements of each step, the first at `at`; tiles in order.
template <class T> void sum_tiles(const SlotMemory& s, const T* sums, Index at, T* dx, bool add) {
    if (dx == nullptr) return;
    const Index tiles = slot_memory_tiles<T>(s.columns);
    for (Index t = 0; t < s.steps; ++t) {
        for (Index m = 0; m < s.slots; ++m) {
            T total = add ? dx[t * s.slots + m] : T(0);
            for (Index i = 0; i < tiles; ++i) total += sums[(i * s.steps + t) * 2 * s.slots + at + m];
            dx[t * s.slots + m] = total;
        }
    }
}

}  // namespace

template <class T>
void slot_memory(const SlotMemory& s, const SlotMemoryInputs<T>& in, const SlotSums<T>& y, T* states, T* state) {
    const Index interval = checkpoint_interval(s.steps), rows = 2 * s.slots;
    each_tile<T>(s, 4, [&](Columns columns) {
        for (Index t = 0; t < s.steps; ++t) {
            if (s.sequences.begin_at(t)) clear(columns, rows, state);
            if (t % interval == 0) copy(columns, rows, static_cast<const T*>(state), states + t / interval * s.state());
            read_step(s, columns, t, in.read, state, y);
            write_step<T>(s, columns, t, in, state, state);
        }
    });
}

template <class T> Index slot_memory_tiles(Index columns) { return (columns + tile<T> - 1) / tile<T>; }

template <class T>
void slot_memory_backward(const SlotMemory& s, const SlotMemoryInputs<T>& in, const T* states,
                          const SlotSums<const T>& dy, const SlotMemoryGradients<T>& out,
                          const SlotMemoryScratch<T>& scratch) {
    const Index interval = checkpoint_interval(s.steps);
    each_tile<T>(s, 16, [&](Columns columns) {
        for (Index i = checkpoints(s.steps) - 1; i >= 0; --i) {
            const Span span{i * interval, std::min(s.steps, (i + 1) * interval)};
            span_back(s, columns, span, in, states + i * s.state(), dy, out, scratch);
        }
    });
    sum_tiles<T>(s, scratch.sums, 0, out.write, out.add_write);
    sum_tiles<T>(s, scratch.sums, s.slots, out.read, out.add_read);
}

template Index slot_memory_tiles<float>(Index);
template Index slot_memory_tiles<double>(Index);
template void slot_memory(const SlotMemory&, const SlotMemoryInputs<float>&, const SlotSums<float>&, float*, float*);
template void slot_memory(const SlotMemory&, const SlotMemoryInputs<double>&, const SlotSums<double>&, double*,
                          double*);
template void slot_memory_backward(const SlotMemory&, const SlotMemoryInputs<float>&, const float*,
                                   const SlotSums<const float>&, const SlotMemoryGradients<float>&,
                                   const SlotMemoryScratch<float>&);
template void slot_memory_backward(const SlotMemory&, const SlotMemoryInputs<double>&, const double*,
                                   const SlotSums<const double>&, const SlotMemoryGradients<double>&,
                                   const SlotMemoryScratch<double>&);

}  // namespace xtape::kernels
