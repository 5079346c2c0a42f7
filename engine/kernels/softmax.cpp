#include <xtape/engine/kernels/softmax.hpp>
#include <xtape/engine/kernels/softmax_row.hpp>

namespace xtape::kernels {

template <class T> void softmax(Index rows, Index columns, const T* x, T* y) {
    each_row<T>(rows, columns, [=](Index row) {
        const T* from = x + row * columns;
        T* to = y + row * columns;
        const auto keep = [to](Index i, auto count, const Batch<T>& e) { put(to + i, e, count); };
        const Batch<T> total = sum_exponentials(columns, from, softmax_shift(columns, from), keep);
        const Batch<T> zero(T(0)), inverse = select(total == zero, zero, Batch<T>(T(1)) / total);
        for_batches<T>(columns, [&](Index i, auto count) { put(to + i, get(to + i, count) * inverse, count); });
    });
}

template <class T> void softmax_backward(Index rows, Index columns, const T* y, const T* dy, T* dx, bool accumulate) {
    with_constant(accumulate, [=](auto add) {
        each_row<T>(rows, columns, [=](Index row) {
            const T* p = y + row * columns;
            const T* g = dy + row * columns;
            const Batch<T> mean =
                sum_along<T>(columns, [=](Index i, auto count) { return get(p + i, count) * get(g + i, count); });
            for_batches<T>(columns, [&](Index i, auto count) {
                put(dx + row * columns + i, get(p + i, count) * (get(g + i, count) - mean), count, add);
            });
        });
    });
}

template <class T> void logsumexp(Index rows, Index columns, const T* x, T* lse) {
    each_block<T>(rows, columns,
                  [=](Index begin, Index count) { logsumexp_block(count, columns, x + begin * columns, lse + begin); });
}

template <class T>
void logsumexp_backward(Index rows, Index columns, const T* x, const T* lse, const T* d, T* dx, bool accumulate) {
    with_constant(accumulate, [=](auto add) {
        each_row<T>(rows, columns, [=](Index row) {
            const Batch<T> subtract = finite_shift(Batch<T>(lse[row])), factor(d[row]);
            for_batches<T>(columns, [&](Index i, auto count) {
                const Batch<T> e = exp(get(x + row * columns + i, count) - subtract);
                put(dx + row * columns + i, e * factor, count, add);
            });
        });
    });
}

template <class T> void log_softmax(Index rows, Index columns, const T* x, T* y) {
    each_block<T>(rows, columns, [=](Index begin, Index block) {
        Local<T, rows_of_block> lse;
        logsumexp_block(block, columns, x + begin * columns, lse.data());
        for (Index row = 0; row < block; ++row) {
            const Batch<T> subtract = finite_shift(Batch<T>(lse[row]));
            const Index at = (begin + row) * columns;
            for_batches<T>(columns,
                           [&](Index i, auto count) { put(y + at + i, get(x + at + i, count) - subtract, count); });
        }
    });
}

template <class T>
void log_softmax_backward(Index rows, Index columns, const T* y, const T* dy, T* dx, bool accumulate) {
    with_constant(accumulate, [=](auto add) {
        each_row<T>(rows, columns, [=](Index row) {
            const T* g = dy + row * columns;
            const Batch<T> total = sum_along<T>(columns, [g](Index i, auto count) { return get(g + i, count); });
            for_batches<T>(columns, [&](Index i, auto count) {
                const Batch<T> value = get(g + i, count) - exp(get(y + row * columns + i, count)) * total;
                put(dx + row * columns + i, value, count, add);
            });
        });
    });
}

template void softmax(Index, Index, const float*, float*);
template void softmax(Index, Index, const double*, double*);
template void softmax_backward(Index, Index, const float*, const float*, float*, bool);
template void softmax_backward(Index, Index, const double*, const double*, double*, bool);
template void logsumexp(Index, Index, const float*, float*);
template void logsumexp(Index, Index, const double*, double*);
template void logsumexp_backward(Index, Index, const float*, const float*, const float*, float*, bool);
template void logsumexp_backward(Index, Index, const double*, const double*, const double*, double*, bool);
template void log_softmax(Index, Index, const float*, float*);
template void log_softmax(Index, Index, const double*, double*);
template void log_softmax_backward(Index, Index, const float*, const float*, float*, bool);
template void log_softmax_backward(Index, Index, const double*, const double*, double*, bool);

}  // namespace xtape::kernels
