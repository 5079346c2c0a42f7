#include <xtape/engine/kernels/norm.hpp>
#include <xtape/engine/kernels/rows.hpp>

namespace xtape::kernels {
namespace {

/// x, times w where the norm has a weight.
template <class T, class Count, bool Weighted>
Batch<T> times_weight(const Batch<T>& x, const T* w, Count count, std::bool_constant<Weighted>) {
    if constexpr (Weighted)
        return x * get(w, count);
    else
        return x;
}

/// y (+)= Σ over rows of term(row, i, count) for N batches of columns side by side, so that no add waits for another.
template <class T, Index N, class Count, class Term>
void sum_columns(Index rows, Index i, Count count, T* y, bool accumulate, const Term& term) {
    Local<Batch<T>, N> totals;
    for (Index j = 0; j < N; ++j) totals[j] = accumulate ? get(y + i + j * width<T>, count) : Batch<T>(T(0));
    for (Index row = 0; row < rows; ++row)
        for (Index j = 0; j < N; ++j) totals[j] += term(row, i + j * width<T>, count);
    for (Index j = 0; j < N; ++j) put(y + i + j * width<T>, totals[j], count);
}

/// y (+)= Σ over rows of term(row, i, count), for tiles of columns; rows in order.
template <class T, class Term> void sum_rows(Index rows, Index columns, T* y, bool accumulate, const Term& term) {
    constexpr Index side_by_side = 8, tile = side_by_side * width<T>;
    const double bytes = sizeof(T) * static_cast<double>(rows) * static_cast<double>(columns);
    parallel_for(columns, tile, worth_threads(0, bytes), [&](Index begin, Index end) {
        if (end - begin == tile)
            return sum_columns<T, side_by_side>(rows, begin, std::integral_constant<Index, width<T>>(), y, accumulate,
                                                term);
        for_batches<T>(end - begin,
                       [&](Index j, auto count) { sum_columns<T, 1>(rows, begin + j, count, y, accumulate, term); });
    });
}

}  // namespace

template <class T> void rms_norm(Index rows, Index columns, double eps, const T* x, const T* w, T* y, T* rstd) {
    const Batch<T> per_column(T(1) / static_cast<T>(columns)), offset(static_cast<T>(eps));
    with_constant(w != nullptr, [=](auto weighted) {
        each_row<T>(rows, columns, [=](Index row) {
            const T* from = x + row * columns;
            T* to = y + row * columns;
            const Batch<T> squares = sum_along<T>(columns, [from](Index i, auto count) {
                const Batch<T> v = get(from + i, count);
                return v * v;
            });
            const Batch<T> r = Batch<T>(T(1)) / sqrt(squares * per_column + offset);
            rstd[row] = first_lane(r);
            for_batches<T>(columns, [&](Index i, auto count) {
                put(to + i, times_weight(get(from + i, count) * r, w + i, count, weighted), count);
            });
        });
    });
}

template <class T>
void rms_norm_backward(Index rows, Index columns, const T* x, const T* w, const T* rstd, const T* dy, T* dx,
                       bool accumulate) {
    const Batch<T> per_column(T(1) / static_cast<T>(columns));
    const auto backward = [=](auto weighted, auto add) {
        each_row<T>(rows, columns, [=](Index row) {
            const T* in = x + row * columns;
            const T* d = dy + row * columns;
            const auto g = [=](Index i, auto count) { return times_weight(get(d + i, count), w + i, count, weighted); };
            const Batch<T> products =
                sum_along<T>(columns, [&](Index i, auto count) { return g(i, count) * get(in + i, count); });
            const Batch<T> scale(rstd[row]), mean = scale * scale * scale * products * per_column;
            for_batches<T>(columns, [&](Index i, auto count) {
                put(dx + row * columns + i, scale * g(i, count) - mean * get(in + i, count), count, add);
            });
        });
    };
    with_constant(w != nullptr,
                  [&](auto weighted) { with_constant(accumulate, [&](auto add) { backward(weighted, add); }); });
}

template <class T>
void rms_norm_backward_weight(Index rows, Index columns, const T* x, const T* rstd, const T* dy, T* dw,
                              bool accumulate) {
    sum_rows(rows, columns, dw, accumulate, [=](Index row, Index i, auto count) {
        return get(dy + row * columns + i, count) * get(x + row * columns + i, count) * rstd[row];
    });
}

template <class T>
void layer_norm(Index rows, Index columns, double eps, const T* x, const T* w, const T* b, T* y, T* mean, T* rstd) {
    const Batch<T> per_column(T(1) / static_cast<T>(columns)), offset(static_cast<T>(eps));
    with_constant(w != nullptr, [=](auto weighted) {
        each_row<T>(rows, columns, [=](Index row) {
            const T* from = x + row * columns;
            const Batch<T> total = sum_along<T>(columns, [=](Index i, auto count) { return get(from + i, count); });
            const Batch<T> m = total * per_column;
            const Batch<T> squares = sum_along<T>(columns, [=](Index i, auto count) {
                const Batch<T> v = get(from + i, count, first_lane(m)) - m;
                return v * v;
            });
            const Batch<T> r = Batch<T>(T(1)) / sqrt(squares * per_column + offset);
            mean[row] = first_lane(m);
            rstd[row] = first_lane(r);
            for_batches<T>(columns, [&](Index i, auto count) {
                Batch<T> v = times_weight((get(from + i, count) - m) * r, w + i, count, weighted);
                if constexpr (decltype(weighted)::value) v += get(b + i, count);
                put(y + row * columns + i, v, count);
            });
        });
    });
}

template <class T>
void layer_norm_backward(Index rows, Index columns, const T* x, const T* w, const T* mean, const T* rstd, const T* dy,
                         T* dx, bool accumulate) {
    const Batch<T> per_column(T(1) / static_cast<T>(columns));
    const auto backward = [=](auto weighted, auto add) {
        each_row<T>(rows, columns, [=](Index row) {
            const T* in = x + row * columns;
            const T* d = dy + row * columns;
            const Batch<T> m(mean[row]), r(rstd[row]);
            const auto g = [=](Index i, auto count) { return times_weight(get(d + i, count), w + i, count, weighted); };
            const auto normed = [=](Index i, auto count) { return (get(in + i, count) - m) * r; };
            const Batch<T> mean_g = per_column * sum_along<T>(columns, g);
            const Batch<T> mean_product = per_column * sum_along<T>(columns, [&](Index i, auto count) {
                                              return g(i, count) * normed(i, count);  // g is 0 beyond count
                                          });
            for_batches<T>(columns, [&](Index i, auto count) {
                put(dx + row * columns + i, r * (g(i, count) - mean_g - normed(i, count) * mean_product), count, add);
            });
        });
    };
    with_constant(w != nullptr,
                  [&](auto weighted) { with_constant(accumulate, [&](auto add) { backward(weighted, add); }); });
}

template <class T>
void layer_norm_backward_weight(Index rows, Index columns, const T* x, const T* mean, const T* rstd, const T* dy, T* dw,
                                bool accumulate) {
    sum_rows(rows, columns, dw, accumulate, [=](Index row, Index i, auto count) {
        return get(dy + row * columns + i, count) * (get(x + row * columns + i, count) - mean[row]) * rstd[row];
    });
}

template <class T> void add_rows(Index rows, Index columns, const T* x, T* y, bool accumulate) {
    sum_rows(rows, columns, y, accumulate,
             [=](Index row, Index i, auto count) { return get(x + row * columns + i, count); });
}

template void rms_norm(Index, Index, double, const float*, const float*, float*, float*);
template void rms_norm(Index, Index, double, const double*, const double*, double*, double*);
template void rms_norm_backward(Index, Index, const float*, const float*, const float*, const float*, float*, bool);
template void rms_norm_backward(Index, Index, const double*, const double*, const double*, const double*, double*,
                                bool);
template void rms_norm_backward_weight(Index, Index, const float*, const float*, const float*, float*, bool);
template void rms_norm_backward_weight(Index, Index, const double*, const double*, const double*, double*, bool);
template void layer_norm(Index, Index, double, const float*, const float*, const float*, float*, float*, float*);
template void layer_norm(Index, Index, double, const double*, const double*, const double*, double*, double*, double*);
template void layer_norm_backward(Index, Index, const float*, const float*, const float*, const float*, const float*,
                                  float*, bool);
template void layer_norm_backward(Index, Index, const double*, const double*, const double*, const double*,
                                  const double*, double*, bool);
template void layer_norm_backward_weight(Index, Index, const float*, const float*, const float*, const float*, float*,
                                         bool);
template void layer_norm_backward_weight(Index, Index, const double*, const double*, const double*, const double*,
                                         double*, bool);
template void add_rows(Index, Index, const float*, float*, bool);
template void add_rows(Index, Index, const double*, double*, bool);

}  // namespace xtape::kernels
