#include <xtape/engine/kernels/rows.hpp>
#include <xtape/engine/kernels/segment.hpp>

namespace xtape::kernels {
namespace {

/// Calls body(segment, its first row, their number, their number's inverse).
template <class T, class Body>
void each_segment(Index segments, Index columns, const std::int32_t* offsets, Body&& body) {
    const double bytes = sizeof(T) * static_cast<double>(offsets[segments]) * static_cast<double>(columns);
    parallel_for(segments, 1, worth_threads(0, bytes), [&](Index segment, Index) {
        const Index begin = offsets[segment], rows = offsets[segment + 1] - begin;
        body(segment, begin, rows, Batch<T>(T(1) / static_cast<T>(rows)));
    });
}

}  // namespace

template <class T> void segment_mean(Index segments, Index columns, const std::int32_t* offsets, const T* x, T* y) {
    each_segment<T>(segments, columns, offsets, [=](Index segment, Index begin, Index rows, const Batch<T>& part) {
        for_batches<T>(columns, [=, &part](Index i, auto count) {
            Batch<T> sum(T(0));
            for (Index row = begin; row < begin + rows; ++row) sum += get(x + row * columns + i, count);
            put(y + segment * columns + i, sum * part, count);
        });
    });
}

template <class T>
void segment_mean_backward(Index segments, Index columns, const std::int32_t* offsets, const T* dy, T* dx,
                           bool accumulate) {
    with_constant(accumulate, [=](auto add) {
        each_segment<T>(segments, columns, offsets, [=](Index segment, Index begin, Index rows, const Batch<T>& part) {
            for (Index row = begin; row < begin + rows; ++row) {
                for_batches<T>(columns, [=, &part](Index i, auto count) {
                    put(dx + row * columns + i, get(dy + segment * columns + i, count) * part, count, add);
                });
            }
        });
    });
}

template void segment_mean(Index, Index, const std::int32_t*, const float*, float*);
template void segment_mean(Index, Index, const std::int32_t*, const double*, double*);
template void segment_mean_backward(Index, Index, const std::int32_t*, const float*, float*, bool);
template void segment_mean_backward(Index, Index, const std::int32_t*, const double*, double*, bool);

}  // namespace xtape::kernels
