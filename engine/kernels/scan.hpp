#pragma once

#include <xtape/engine/kernels/recurrence.hpp>

namespace xtape::kernels {

/// h_t = a_t ⊙ h_{t−1} + b_t for `slots` rows of `columns` elements a step, all of them with the one row of a, from
/// h = 0 where a sequence begins. What comes out at t is h_{t−1} where exclusive, else h_t.
struct Scan {
    Index steps, slots, columns;
    bool exclusive;
    Sequences sequences;

    Index row() const { return slots * columns; }
};

/// y from a and b. state is a row of scratch. states, null for none, gets the state before every step that is a
/// multiple of checkpoint_interval(steps).
template <class T> void scan(const Scan& shape, const T* a, const T* b, T* y, T* state, T* states);

/// What the backward reads and where its gradients go (nowhere when null); whether they are added to what is there.
/// carry is a row of scratch.
template <class T> struct ScanBackward {
    const T *a, *dy;
    T *da, *db;
    bool add_a, add_b;
    T* carry;
};

/// g_t = dh_t + a_{t+1} ⊙ g_{t+1}; db (+)= g and da (+)= Σ over slots of g_t ⊙ h_{t−1}, of which y tells h.
template <class T> void scan_backward(const Scan& shape, const ScanBackward<T>& pass, const T* y);

/// The same, h being computed again from b and what scan put in states. state is a row of scratch, and `again` as many
/// as the interval.
template <class T>
void scan_backward(const Scan& shape, const ScanBackward<T>& pass, const T* b, const T* states, T* state, T* again);

}  // namespace xtape::kernels
