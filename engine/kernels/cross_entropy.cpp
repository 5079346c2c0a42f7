#include <xtape/engine/kernels/cross_entropy.hpp>
#include <xtape/engine/kernels/softmax_row.hpp>

namespace xtape::kernels {
namespace {

/// Σ target ⊙ logits of a row.
template <class T> double at_target(const CrossEntropy& shape, const T* logits, std::int32_t target) {
    const auto value = static_cast<double>(logits[target]);
    if (shape.smoothing == 0) return value;
    const Batch<T> all = sum_along<T>(shape.columns, [=](Index i, auto count) { return get(logits + i, count); });
    return (1 - shape.smoothing) * value +
           shape.smoothing / static_cast<double>(shape.columns) * static_cast<double>(first_lane(all));
}

}  // namespace

Index counted_rows(const CrossEntropy& shape, const std::int32_t* targets) {
    return shape.rows - std::count(targets, targets + shape.rows, shape.ignore);
}

template <class T>
double cross_entropy(const CrossEntropy& shape, const T* logits, const std::int32_t* targets, T* lse) {
    each_block<T>(shape.rows, shape.columns, [&](Index begin, Index rows) {
        logsumexp_block(rows, shape.columns, logits + begin * shape.columns, lse + begin);
    });
    double total = 0;
    for (Index row = 0; row < shape.rows; ++row) {
        if (targets[row] == shape.ignore) continue;
        total += static_cast<double>(lse[row]) - at_target(shape, logits + row * shape.columns, targets[row]);
    }
    return total;
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
        with_constant(accumulate, [&](auto add) {
            for_batches<T>(shape.columns, [&](Index i, auto count) {
                put(to + i, exp(get(from + i, count) - subtract) * factor - everywhere, count, add);
            });
        });
        to[targets[row]] -= at_target;
    });
}

template double cross_entropy(const CrossEntropy&, const float*, const std::int32_t*, float*);
template double cross_entropy(const CrossEntropy&, const double*, const std::int32_t*, double*);
template void cross_entropy_backward(const CrossEntropy&, const float*, const std::int32_t*, const float*, float,
                                     float*, bool);
template void cross_entropy_backward(const CrossEntropy&, const double*, const std::int32_t*, const double*, double,
                                     double*, bool);

}  // namespace xtape::kernels
