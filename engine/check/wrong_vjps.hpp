#pragma once
// The ways in which hand-written vjps of known ops go wrong: a table by the op's name.

#include <xtape/engine/check/rerun.hpp>

#include <array>
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

void add_norm_mistakes(std::vector<KnownMistake>& all);
void add_mistakes_in_time(std::vector<KnownMistake>& all);
void add_mistakes_of_any_op(std::vector<KnownMistake>& all);

/// The names of products of matrices: input 1 is the weight.
inline constexpr std::array<std::string_view, 4> products{"matmul", "matmul_relu", "linear", "linear_relu"};

/// A tensor with the elements f(i).
Tensor<double> filled(const Shape& shape, const auto& f) {
    std::vector<double> values(static_cast<std::size_t>(shape.size()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = f(i);
    return {shape, values};
}

/// The right vjp but for what it sends to input 0.
std::optional<Sent> with_first(const Site& site, Tensor<double> dx);

/// The right vjp, but what a chunk of positions sends to those before it is lost; for an op along `time_axis` of its
/// output and axis 0 of its inputs, its sequences beginning at the offsets at a place among its inputs. Nothing for
/// more than 256 chunks.
std::optional<Sent> lost_past(const Site& site, int time_axis, std::size_t offsets_place, Index chunk);

/// c x, element by element.
Tensor<double> scaled(const Tensor<double>& x, double c);

}  // namespace xtape::check
