#pragma once

#include <xtape/engine/tensor.hpp>

#include <fmt/format.h>

namespace xtape {

/// Throws unless offsets are the begins of the sequences that `rows` rows of `of` are made of, and the end of the last.
inline void check_offsets(std::string_view op, std::string_view of, const Indices& offsets, Index rows) {
    if (offsets.shape().rank() != 1 || offsets.size() < 1)
        throw ShapeError(fmt::format("{}: offsets must be one row of begins and the end: offsets is {}", op,
                                     to_string(offsets.shape())));
    const auto values = offsets.values();
    if (values.front() != 0 || values.back() != rows)
        throw ValueError(fmt::format("{}: offsets must run from 0 to the {} rows of {}: they run from {} to {}", op,
                                     rows, of, values.front(), values.back()));
    for (std::size_t i = 1; i < values.size(); ++i) {
        if (values[i] < values[i - 1])
            throw ValueError(
                fmt::format("{}: offsets must not fall: offset {} is {}, after {}", op, i, values[i], values[i - 1]));
    }
}

}  // namespace xtape
