#pragma once

#include <xtape/engine/kernels/recurrence.hpp>

namespace xtape::kernels {

/// A memory of two states N and E for each of `slots` slots and `columns` channels, that is read and then written at
/// each step: N ← decay_t ⊙ N + write_{t,m} k_t ⊙ v_t, E ← decay_t ⊙ E + write_{t,m} k_t, from 0 where a sequence
/// begins. Row m of a state is N of slot m, row slots + m is E.
struct SlotMemory {
    Index steps, slots, columns;
    Sequences sequences;

    Index state() const { return 2 * slots * columns; }
};

/// decay, k and v have a row of columns a step, write and read one of slots.
template <class T> struct SlotMemoryInputs { const T *decay, *write, *read, *k, *v; };

/// What comes out of a step: Σ_m read_{t,m} N_m and Σ_m read_{t,m} E_m, or their gradients.
template <class T> struct SlotSums { T *n, *e; };

/// Reads the memory at each step. states gets that before every step that is a multiple of checkpoint_interval(steps);
/// state is scratch for one.
template <class T>
void slot_memory(const SlotMemory& shape, const SlotMemoryInputs<T>& in, const SlotSums<T>& y, T* states, T* state);

/// Where gradients go, nowhere when null, and whether they are added to what is there.
template <class T> struct SlotMemoryGradients {
    T *decay, *write, *read, *k, *v;
    bool add_decay, add_write, add_read, add_k, add_v;
};

/// Scratch of the backward: a state; as many as the interval; and 2 × slots elements a step for each tile of columns.
template <class T> struct SlotMemoryScratch { T *carry, *again, *sums; };
template <class T> Index slot_memory_tiles(Index columns);

/// The gradients from those of the sums; states between those that were kept are computed again.
template <class T>
void slot_memory_backward(const SlotMemory& shape, const SlotMemoryInputs<T>& in, const T* states,
                          const SlotSums<const T>& dy, const SlotMemoryGradients<T>& out,
                          const SlotMemoryScratch<T>& scratch);

}  // namespace xtape::kernels
