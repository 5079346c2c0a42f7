#include <xtape/engine/kernels/embedding.hpp>
#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/kernels/rows.hpp>

namespace xtape::kernels {

template <class T>
void gather_rows(Index rows, Index columns, const T* table, const std::int32_t* ids, T* y, bool accumulate) {
    const Index tile = std::max<Index>(1, (1 << 14) / std::max<Index>(1, columns));
    const double bytes = 2.0 * sizeof(T) * static_cast<double>(rows) * static_cast<double>(columns);
    with_constant(accumulate, [=](auto add) {
        parallel_for(rows, tile, worth_threads(0, bytes), [=](Index begin, Index end) {
            for (Index t = begin; t < end; ++t) {
                const T* from = table + ids[t] * columns;
                T* to = y + t * columns;
                for_batches<T>(columns, [=](Index i, auto count) { put(to + i, get(from + i, count), count, add); });
            }
        });
    });
}

template <class T>
void scatter_rows(Index rows, Index columns, const T* x, const std::int32_t* ids, Index table_rows, T* table,
                  bool accumulate) {
    if (!accumulate) std::fill_n(table, table_rows * columns, T(0));
    // Threads share the columns, so that each element is summed in the order of the rows.
    const Index tile = std::max<Index>(8 * width<T>, (columns / 8 + width<T> - 1) / width<T> * width<T>);
    const double bytes = 3.0 * sizeof(T) * static_cast<double>(rows) * static_cast<double>(columns);
    parallel_for(columns, tile, worth_threads(0, bytes), [=](Index begin, Index end) {
        for (Index t = 0; t < rows; ++t) {
            const T* from = x + t * columns + begin;
            T* to = table + ids[t] * columns + begin;
            for_batches<T>(end - begin,
                           [=](Index i, auto count) { put(to + i, get(from + i, count), count, std::true_type()); });
        }
    });
}

template void gather_rows(Index, Index, const float*, const std::int32_t*, float*, bool);
template void gather_rows(Index, Index, const double*, const std::int32_t*, double*, bool);
template void scatter_rows(Index, Index, const float*, const std::int32_t*, Index, float*, bool);
template void scatter_rows(Index, Index, const double*, const std::int32_t*, Index, double*, bool);

}  // namespace xtape::kernels
