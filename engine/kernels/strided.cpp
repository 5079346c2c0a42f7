#include <xtape/engine/kernels/strided.hpp>

namespace xtape::kernels {
namespace {

/// y (+)= x for n elements.
template <class T> void copy_run(Index n, const T* x, T* y, bool accumulate) {
    if (!accumulate) {
        std::copy_n(x, n, y);
        return;
    }
    for_batches<T>(n, [&](Index i, auto count) { store(y + i, load(y + i, count) + load(x + i, count), count); });
}

/// A matrix to be transposed: y[p, q] (+)= x[q, p], with rows of x and of y so far apart.
template <class T> struct Transposed {
    const T* x;
    T* y;
    Index x_stride, y_stride;
};

/// A square of one batch by one batch, through a buffer that is read down its columns.
template <bool Accumulate, class T> void transpose_square(const Transposed<T>& m) {
    constexpr Index w = width<T>;
    alignas(64) T rows[static_cast<std::size_t>(w * w)];
    for (Index q = 0; q < w; ++q) store(rows + q * w, load(m.x + q * m.x_stride));
    for (Index p = 0; p < w; ++p) {
        T* y = m.y + p * m.y_stride;
        for (Index q = 0; q < w; ++q) {
            if constexpr (Accumulate)
                y[q] += rows[q * w + p];
            else
                y[q] = rows[q * w + p];
        }
    }
}

template <bool Accumulate, class T> void transpose_edge(Index p_count, Index q_count, const Transposed<T>& m) {
    for (Index p = 0; p < p_count; ++p) {
        for (Index q = 0; q < q_count; ++q) {
            T& y = m.y[p * m.y_stride + q];
            y = Accumulate ? y + m.x[q * m.x_stride + p] : m.x[q * m.x_stride + p];
        }
    }
}

template <bool Accumulate, class T> void transpose(Index p_count, Index q_count, const Transposed<T>& m) {
    constexpr Index w = width<T>;
    for (Index q = 0; q < q_count; q += w) {
        for (Index p = 0; p < p_count; p += w) {
            const Transposed<T> part{m.x + q * m.x_stride + p, m.y + p * m.y_stride + q, m.x_stride, m.y_stride};
            if (p + w <= p_count && q + w <= q_count)
                transpose_square<Accumulate>(part);
            else
                transpose_edge<Accumulate>(std::min(w, p_count - p), std::min(w, q_count - q), part);
        }
    }
}

/// An axis of both arrays, with their strides along it.
struct Axis {
    Index extent, x_stride, y_stride;
};

struct Axes {
    std::array<Axis, 6> axis;
    std::size_t rank = 0;

    Axis& last() { return axis[rank - 1]; }
    Axis take(std::size_t k) {
        const Axis taken = axis[k];
        std::copy(axis.begin() + k + 1, axis.begin() + rank, axis.begin() + k);
        --rank;
        return taken;
    }
};

/// The axes of more than one element, neighbours that lie together in both arrays as one.
Axes merged(std::span<const PermutedAxis> given) {
    Axes axes;
    Index y_stride = 1;
    for (std::size_t k = given.size(); k-- > 0;) {  // innermost first
        const auto [extent, stride] = given[k];
        if (extent == 1) continue;
        if (axes.rank > 0 && stride == axes.last().x_stride * axes.last().extent)
            axes.last().extent *= extent;
        else
            axes.axis[axes.rank++] = {extent, stride, y_stride};
        y_stride *= extent;
    }
    return axes;
}

/// The walk along axes around a run of so many elements: operand 0 is y, operand 1 is x.
Plan walk_of(const Axes& axes, Index run) {
    Plan plan;
    plan.operands = 2;
    plan.columns = run;
    plan.step = every_step;
    plan.outer_rank = axes.rank;
    for (std::size_t k = 0; k < axes.rank; ++k) {
        plan.extent[k] = axes.axis[k].extent;
        plan.stride[k] = {axes.axis[k].y_stride, axes.axis[k].x_stride};
        plan.rows *= axes.axis[k].extent;
    }
    return plan;
}

/// Where y runs on along q and x along p: matrices, in bands of rows of y.
template <class T>
void permute_matrices(const Axes& around, const Axis& p, const Axis& q, const T* x, T* y, bool accumulate) {
    constexpr Index band = 4 * width<T>;
    const Plan plan = walk_of(around, 1);
    const Index bands = (p.extent + band - 1) / band;
    const Index work = std::min(band, p.extent) * q.extent;
    const bool threaded = worth_threads_over<T>(static_cast<double>(plan.rows * p.extent * q.extent), 2);
    parallel_for(plan.rows * bands, std::max<Index>(1, tile_size / work), threaded, [&](Index begin, Index end) {
        for (Index t = begin; t < end; ++t) {
            const RowWalk<T> walk(plan, &x, t / bands);
            const Index first = t % bands * band;
            const Transposed<T> m{*walk.x() + first, y + walk.offset() + first * p.y_stride, q.x_stride, p.y_stride};
            const Index rows = std::min(band, p.extent - first);
            accumulate ? transpose<true>(rows, q.extent, m) : transpose<false>(rows, q.extent, m);
        }
    });
}

}  // namespace

template <class T> void copy_window(const Window& w, const T* x, T* y, Write write) {
    const Index run = w.count * w.inner;
    const auto copy = [&](Index begin, Index end) {
        for (Index o = begin; o < end; ++o) {
            T* slices = y + o * w.to_extent * w.inner;
            T* start = slices + w.to * w.inner;
            if (write == Write::with_zeros) {
                std::fill(slices, start, T(0));
                std::fill(start + run, slices + w.to_extent * w.inner, T(0));
            }
            copy_run(run, x + (o * w.from_extent + w.from) * w.inner, start, write == Write::add);
        }
    };
    const bool threaded = worth_threads_over<T>(static_cast<double>(w.outer * w.to_extent * w.inner), 2);
    parallel_for(w.outer, std::max<Index>(1, tile_size / std::max<Index>(1, w.to_extent * w.inner)), threaded, copy);
}

template <class T> void permute(std::span<const PermutedAxis> axes, const T* x, T* y, bool accumulate) {
    Axes rest = merged(axes);
    if (rest.rank == 0 || rest.axis[0].x_stride == 1) {
        const Index run = rest.rank == 0 ? 1 : rest.take(0).extent;
        for_rows<T>(walk_of(rest, run), &x,
                    [&](Index n, Index offset, const T* const* from) { copy_run(n, *from, y + offset, accumulate); });
        return;
    }
    const Axis q = rest.take(0);
    std::size_t along_x = 0;
    while (rest.axis[along_x].x_stride != 1) ++along_x;
    const Axis p = rest.take(along_x);
    permute_matrices(rest, p, q, x, y, accumulate);
}

template void copy_window(const Window&, const float*, float*, Write);
template void copy_window(const Window&, const double*, double*, Write);
template void permute(std::span<const PermutedAxis>, const float*, float*, bool);
template void permute(std::span<const PermutedAxis>, const double*, double*, bool);

}  // namespace xtape::kernels
