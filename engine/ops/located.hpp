#pragma once

#include <xtape/engine/error.hpp>

#include <span>
#include <string>

namespace xtape {

/// body(), for what an op checks before it is applied: its errors are thrown with the name scope and the call site
/// added.
template <class Body> auto located(Where where, const Body& body) {
    try {
        return body();
    } catch (const Error& error) {
        detail::rethrow_located(error, where);
    }
}

/// Numbers for an error's text: `[2, 0, 1]`.
template <class N> std::string list_of(std::span<const N> numbers) {
    std::string text = "[";
    for (const N number : numbers) text += (text.size() > 1 ? ", " : "") + std::to_string(number);
    return text + "]";
}

}  // namespace xtape
