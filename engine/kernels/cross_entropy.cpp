#include <xtape/engine/kernels/cross_entropy.hpp>
#include <xtape/engine/kernels/softmax_row.hpp>

#include <array>
#include <numeric>

namespace xtape::kernels {
namespace {

/// lse of a row, and its loss.
template <class T>
double row_loss(const CrossEntropy& shape, const T* logits, std::int32_t target, T& lse) {
    const double row_lse = logsumexp_row(shape.columns, logits);
    lse = static_cast<T>(row_lse);
    const double at_target = static_cast<double>(logits[target]);
    if (shape.smoothing == 0) return row_lse - at_target;
    const double all = sum_along<T>(shape.columns, [=](Index i, auto count) { return get(logits + i, count); });
    return row_lse - (1 - shape.smoothing) * at_target - shape.smoothing / static_cast<double>(shape.columns) * all;
}

}  // namespace

Index counted_rows(const CrossEntropy& shape, const std::int32_t* targets) {
    return shape.rows - std::count(targets, targets + shape.rows, shape.ignore);
}

template <class T>
double cross_entropy(const CrossEntropy& shape, const T* logits, const std::int32_t* targets, T* lse) {
    constexpr std::size_t parts = 64;
    std::array<double, parts> losses{};
    const Index tile = (shape.rows + Index{parts} - 1) / Index{parts};
    const double bytes = 3.0 * sizeof(T) * static_cast<double>(shape.rows) * static_cast<double>(shape.columns);
    parallel_for(shape.rows, tile, worth_threads(0, bytes), [&](Index begin, Index end) {
        double total = 0;
        for (Index row = begin; row < end; ++row) {
            lse[row] = T(0);
            if (targets[row] == shape.ignore) continue;
            total += row_loss(shape, logits + row * shape.columns, targets[row], lse[row]);
        }
        losses[static_cast<std::size_t>(begin / tile)] = total;
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0);
}

template <class T>
void cross_entropy_backward(const CrossEntropy& shape, const T* logits, const std::int32_t* targets, const T* lse, T d,
                            T* dlogits, bool accumulate) {
    const Batch<T> factor(d), everywhere(static_cast<T>(shape.smoothing / static_cast<double>(shape.columns)) * d);
    const T at_target = static_cast<T>(1 - shape.smoothing) * d;
    each_row<T>(shape.rows, shape.columns, [=](Index row) {
        const T* from = logits + row * shape.columns;
        T* to = dlogits + row * shape.columns;
        if (targets[row] == shape.ignore) {
            if (!accumulate) std::fill_n(to, shape.columns, T(0));
            return;
        }
        const Batch<T> subtract(lse[row]);
        for_batches<T>(shape.columns, [&](Index i, auto count) {
            put(to + i, exp(get(from + i, count) - subtract) * factor - everywhere, count, accumulate);
        });
        to[targets[row]] -= at_target;
    });
}

template double cross_entropy(const CrossEntropy&, const float*, const std::int32_t*, float*);
template double cross_entropy(const CrossEntropy&, const double*, const std::int32_t*, double*);
template void cross_entropy_backward(const CrossEntropy&, const float*, const std::int32_t*, const float*, float, float*,
                                     bool);
template void cross_entropy_backward(const CrossEntropy&, const double*, const std::int32_t*, const double*, double,
                                     double*, bool);

}  // namespace xtape::kernels
