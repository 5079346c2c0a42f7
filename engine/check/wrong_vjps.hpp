#pragma once
// The ways in which hand-written vjps of known ops go wrong: a table by the op's name.

#include <xtape/engine/check/rerun.hpp>

#include <string>
#include <string_view>

namespace xtape::check {

/// A vjp that somebody might have written, and what it does.
struct KnownMistake {
    std::string_view op;  ///< empty: any
    std::string diagnosis;
    WrongVjp vjp;
};

/// Those of norms, rope, attention, softmax, losses, gathers and scans first, then those of any op.
const std::vector<KnownMistake>& known_mistakes();

/// The right vjp, but what a chunk of positions sends to those before it is lost; for an op along `time_axis` of its
/// output and axis 0 of its inputs, its sequences beginning at the offsets at a place among its inputs. Nothing for
/// more than 1,024 chunks.
std::optional<Sent> lost_past(const Site& site, int time_axis, std::size_t offsets_place, Index chunk);

/// c x, element by element.
Tensor<double> scaled(const Tensor<double>& x, double c);

}  // namespace xtape::check
