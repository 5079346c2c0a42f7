#pragma once

#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/place.hpp>

#include <fmt/format.h>

namespace xtape {

/// Throws unless rows of logits, targets and options of a cross entropy fit; gives the number of rows that count.
inline Index check_targets(std::string_view op, const Shape& logits, const Indices& targets,
                           const CrossEntropyOptions& options) {
    if (logits.rank() == 0) throw ShapeError(fmt::format("{}: a scalar has no rows: logits is []", op));
    if (logits.rows() != targets.size())
        throw ShapeError(fmt::format("{}: {} rows of logits but {} targets: logits is {}, targets is {}", op,
                                     logits.rows(), targets.size(), to_string(logits), to_string(targets.shape())));
    if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1))
        throw ValueError(fmt::format("{}: label_smoothing must be from 0 to 1: it is {}", op, options.label_smoothing));
    const Index columns = logits.columns();
    Index counted = 0;
    for (Index i = 0; i < targets.size(); ++i) {
        const std::int32_t target = targets.data()[i];
        if (target == options.ignore_index) continue;
        ++counted;
        if (target < 0 || target >= columns)
            throw ValueError(fmt::format("{}: target {} at {} is outside the row of {} logits{}", op, target,
                                         place(targets.shape(), i), columns,
                                         columns == 0 ? "" : fmt::format(" (0 to {})", columns - 1)));
    }
    return counted;
}

}  // namespace xtape
