#pragma once

#include <xtape/engine/tape.hpp>

#include <utility>

namespace xtape::check {

/// Sweeps of a tape run through a hook while it lives: see Tape::hook_vjps.
template <class T> class Hooked {
public:
    Hooked(Tape<T>& tape, typename Tape<T>::VjpHook hook) : tape_(tape) { tape_.hook_vjps(std::move(hook)); }
    ~Hooked() { tape_.hook_vjps({}); }
    Hooked(const Hooked&) = delete;
    Hooked& operator=(const Hooked&) = delete;

private:
    Tape<T>& tape_;
};

}  // namespace xtape::check
