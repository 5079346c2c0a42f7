#pragma once
// The exceptions of xtape. Their text is one sentence for the person who reads it.

#include <stdexcept>
#include <string>

namespace xtape {

/// The base of all exceptions that xtape throws.
class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Shapes that do not fit each other or the operation.
class ShapeError : public Error {
public:
    using Error::Error;
};

/// A value out of its range, or a call out of its order.
class ValueError : public Error {
public:
    using Error::Error;
};

/// A file that is missing, broken, or not what was asked for.
class FileError : public Error {
public:
    using Error::Error;
};

/// Where in the user's code an op was called; a default argument of every op.
/// (std::source_location is missing from clang 14 with libstdc++ 12.)
struct Where {
    const char* file = nullptr;
    int line = 0;

    static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return {file, line};
    }
};

namespace detail {

/// Throws `error` again, as the class it is, with the name scope and the call site added to its text.
/// To be called in a handler.
[[noreturn]] void rethrow_located(const Error& error, Where where);

}  // namespace detail
}  // namespace xtape
