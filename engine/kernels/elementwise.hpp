#pragma once
// Loops over arrays that broadcast against each other. A function is compiled into one loop along a row
// (`row_function`); how the rows lie is worked out at run time: a Plan, made from extents, and `map`, which follows it.

#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/kernels/simd.hpp>

#include <array>
#include <span>
#include <type_traits>

namespace xtape::kernels {

inline constexpr std::size_t most_operands = 8;

/// A number for each operand of a loop; operand 0 is the one that is written, or runs through all elements.
using PerOperand = std::array<Index, most_operands>;

/// The steps of operands that all run.
inline constexpr PerOperand every_step = {1, 1, 1, 1, 1, 1, 1, 1};

/// How some operands run through one array: `rows` rows of `columns` elements. Along a row an operand advances by its
/// `step` (0 or 1); from row to row its offset follows from the outer extents and strides.
struct Plan {
    std::size_t operands = 0;
    Index columns = 1;
    Index rows = 1;
    PerOperand step{};
    std::size_t outer_rank = 0;
    std::array<Index, 6> extent{};       ///< of the outer axes, innermost first
    std::array<PerOperand, 6> stride{};  ///< of each operand along them

    double elements() const { return static_cast<double>(rows) * static_cast<double>(columns); }
};

/// The plan for operands of the given extents (aligned at their last axes, 1 or those of `over`) over an array.
/// Neighbouring axes along which every operand runs on, or none does, become one.
Plan plan_of(std::span<const Index> over, std::span<const std::span<const Index>> operands);

/// Where a plan's operands stand at one row after the other.
template <class T> class RowWalk {
public:
    /// From a row on, for operands x behind operand 0.
    RowWalk(const Plan& plan, const T* const* x, Index row);

    /// How far operand 0 has come, and the others.
    Index offset() const { return offset_; }
    const T* const* x() const { return x_.data(); }
    void next();

private:
    const Plan& plan_;
    Index offset_ = 0;
    std::array<Index, 6> at_{};
    std::array<const T*, most_operands> x_{};
};

/// Elements that one thread takes at a time.
inline constexpr Index tile_size = 1 << 14;

template <class T> bool worth_threads_over(double elements, std::size_t operands) {
    return worth_threads(0, elements * static_cast<double>(operands * sizeof(T)));
}

/// What is done with a run of n elements along the rows of a plan: offset is where operand 0 stands, x are the others.
template <class T> struct RunFunction {
    const void* f;
    void (*call)(const void* f, Index n, Index offset, const T* const* x);
};

/// Calls it for all runs, on several threads where that pays. (Compiled here: a user's own loop may know no OpenMP.)
template <class T> void for_rows(const Plan& plan, const T* const* x, RunFunction<T> run);

template <class T, class Body> void for_rows(const Plan& plan, const T* const* x, const Body& body) {
    for_rows<T>(plan, x, RunFunction<T>{&body, [](const void* f, Index n, Index offset, const T* const* at) {
                                            (*static_cast<const Body*>(f))(n, offset, at);
                                        }});
}

/// An operand along a row that is a run of elements.
template <class T> struct Run {
    const T* x;

    template <class Count> Batch<T> at(Index i, Count count) const { return load(x + i, count); }
};

/// An operand along a row that is a run of elements, or (step 0) one element repeated.
template <class T> class RunOrOne {
public:
    RunOrOne(const T* x, Index step) : x_(x), step_(step), one_(*x) {}

    template <class Count> Batch<T> at(Index i, Count count) const { return step_ == 0 ? one_ : load(x_ + i, count); }

private:
    const T* x_;
    Index step_;
    Batch<T> one_;
};

/// y[i] (+)= f(x0[i], x1[i], ...) for n elements, on batches.
template <class T, bool Accumulate, class F, class... X> void map_run(Index n, T* y, const F& f, const X&... x) {
    for_batches<T>(n, [&](Index i, auto count) {
        Batch<T> value = f(x.at(i, count)...);
        if constexpr (Accumulate) value += load(y + i, count);
        store(y + i, value, count);
    });
}

/// The loop along a row, for any function: calls it, and gets the function, n, y, and the operands with their steps.
template <class T> struct RowFunction {
    const void* f = nullptr;
    void (*call)(const void* f, Index n, T* y, const T* const* x, const Index* step) = nullptr;
};

template <class T, bool Accumulate, class F, std::size_t... K>
RowFunction<T> row_function(const F& f, std::index_sequence<K...>) {
    return {&f, [](const void* function, Index n, T* y, const T* const* x, const Index* step) {
                if ((... && (step[K] == 1)))
                    map_run<T, Accumulate>(n, y, *static_cast<const F*>(function), Run<T>{x[K]}...);
                else
                    map_run<T, Accumulate>(n, y, *static_cast<const F*>(function), RunOrOne<T>(x[K], step[K])...);
            }};
}

/// Follows a plan whose operand 0 is y (which must not be broadcast), and the others are x.
template <class T> void map(const Plan& plan, T* y, const T* const* x, RowFunction<T> row);

}  // namespace xtape::kernels
