#include <xtape/engine/error.hpp>
#include <xtape/engine/ops/product.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

/// Throws for two shapes, and says which operand would fit the other way round.
[[noreturn]] void fail(const OperandNames& names, MatmulOptions options, const Shape& a, const Shape& b,
                       std::string_view wrong, bool a_would_fit = false, bool b_would_fit = false) {
    std::string hint;
    if (b_would_fit && !options.transpose_b)
        hint = fmt::format("; did you mean {}({}, transpose({}){})?", names.op, names.a, names.b, names.rest);
    else if (a_would_fit && !options.transpose_a)
        hint = fmt::format("; did you mean {}(transpose({}), {}{})?", names.op, names.a, names.b, names.rest);
    throw ShapeError(fmt::format("{}: {}: {} is {}{}, {} is {}{}{}", names.op, wrong, names.a, to_string(a),
                                 options.transpose_a ? " transposed" : "", names.b, to_string(b),
                                 options.transpose_b ? " transposed" : "", hint));
}

}  // namespace

Shape leading(const Shape& shape) {
    return Shape(std::span(shape.begin(), static_cast<std::size_t>(std::max(0, shape.rank() - 2))));
}

Shape product_shape(const OperandNames& names, MatmulOptions options, const Shape& a, const Shape& b) {
    const bool row = a.rank() == 1 && b.rank() == 2 && !options.transpose_a;
    if (b.rank() < 2 || (a.rank() < 2 && !row)) fail(names, options, a, b, "a matrix needs two axes");
    const Index a_rows = row ? 1 : a[options.transpose_a ? -1 : -2], a_columns = a[options.transpose_a ? -2 : -1];
    const Index b_rows = b[options.transpose_b ? -1 : -2], b_columns = b[options.transpose_b ? -2 : -1];
    if (a_columns != b_rows)
        fail(names, options, a, b, "inner dimensions differ", a_rows == b_rows, a_columns == b_columns);
    if (row) return {b_columns};
    if (a.rank() == 2 && b.rank() == 2) return {a_rows, b_columns};
    if (b.rank() == 2) return a.with(a.rank() - 2, a_rows).with(a.rank() - 1, b_columns);
    try {
        const Shape axes = broadcast(names.op, leading(a), leading(b));
        return axes.inserted(axes.rank(), a_rows).inserted(axes.rank() + 1, b_columns);
    } catch (const ShapeError&) {
        fail(names, options, a, b, "leading axes do not broadcast");
    }
}

}  // namespace xtape
