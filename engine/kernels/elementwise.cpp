#include <xtape/engine/kernels/elementwise.hpp>

namespace xtape::kernels {

Plan plan_of(std::span<const Index> over, std::span<const std::span<const Index>> operands) {
    Plan plan;
    plan.operands = operands.size();
    PerOperand run = every_step;  // elements of an operand inside the present axis
    bool first = true;
    for (std::size_t axis = over.size(); axis-- > 0;) {
        const Index n = over[axis];
        if (n == 1) continue;
        const std::size_t from_end = over.size() - axis;
        PerOperand stride{};
        for (std::size_t k = 0; k < operands.size(); ++k) {
            const Index extent = from_end <= operands[k].size() ? operands[k][operands[k].size() - from_end] : 1;
            stride[k] = extent == 1 ? 0 : run[k];
            run[k] *= extent;
        }
        if (first) {
            plan.columns = n;
            plan.step = stride;
            first = false;
            continue;
        }
        const bool inner = plan.outer_rank == 0;
        Index& extent = inner ? plan.columns : plan.extent[plan.outer_rank - 1];
        const PerOperand& below = inner ? plan.step : plan.stride[plan.outer_rank - 1];
        Index differs = 0;
        for (std::size_t k = 0; k < operands.size(); ++k) differs |= stride[k] ^ (below[k] * extent);
        if (differs == 0) {
            extent *= n;
        } else {
            plan.extent[plan.outer_rank] = n;
            plan.stride[plan.outer_rank] = stride;
            ++plan.outer_rank;
        }
        if (!inner || differs != 0) plan.rows *= n;
    }
    return plan;
}

template <class T> RowWalk<T>::RowWalk(const Plan& plan, const T* const* x, Index row) : plan_(plan) {
    for (std::size_t k = 0; k + 1 < plan.operands; ++k) x_[k] = x[k];
    for (std::size_t axis = 0; axis < plan.outer_rank && row > 0; ++axis) {
        at_[axis] = row % plan.extent[axis];
        row /= plan.extent[axis];
        offset_ += at_[axis] * plan.stride[axis][0];
        for (std::size_t k = 0; k + 1 < plan.operands; ++k) x_[k] += at_[axis] * plan.stride[axis][k + 1];
    }
}

template <class T> void RowWalk<T>::next() {
    for (std::size_t axis = 0; axis < plan_.outer_rank; ++axis) {
        const PerOperand& stride = plan_.stride[axis];
        offset_ += stride[0];
        for (std::size_t k = 0; k + 1 < plan_.operands; ++k) x_[k] += stride[k + 1];
        if (++at_[axis] < plan_.extent[axis]) return;
        at_[axis] = 0;
        offset_ -= plan_.extent[axis] * stride[0];
        for (std::size_t k = 0; k + 1 < plan_.operands; ++k) x_[k] -= plan_.extent[axis] * stride[k + 1];
    }
}

namespace {

template <class T, class Body> void each_run(const Plan& plan, const T* const* x, const Body& body) {
    const bool threaded = worth_threads_over<T>(plan.elements(), plan.operands);
    if (plan.rows == 1) {
        parallel_for(plan.columns, tile_size, threaded, [&](Index begin, Index end) {
            std::array<const T*, most_operands> at{};
            for (std::size_t k = 0; k + 1 < plan.operands; ++k) at[k] = x[k] + begin * plan.step[k + 1];
            body(end - begin, begin * plan.step[0], at.data());
        });
        return;
    }
    parallel_for(plan.rows, std::max<Index>(1, tile_size / plan.columns), threaded, [&](Index begin, Index end) {
        RowWalk<T> walk(plan, x, begin);
        for (Index row = begin; row < end; ++row, walk.next()) body(plan.columns, walk.offset(), walk.x());
    });
}

}  // namespace

template <class T> void for_rows(const Plan& plan, const T* const* x, RunFunction<T> run) {
    each_run<T>(plan, x, [&](Index n, Index offset, const T* const* at) { run.call(run.f, n, offset, at); });
}

template <class T> void map(const Plan& plan, T* y, const T* const* x, RowFunction<T> row) {
    each_run<T>(plan, x, [&](Index n, Index offset, const T* const* at) {
        row.call(row.f, n, y + offset, at, plan.step.data() + 1);
    });
}

template class RowWalk<float>;
template class RowWalk<double>;
template void for_rows(const Plan&, const float* const*, RunFunction<float>);
template void for_rows(const Plan&, const double* const*, RunFunction<double>);
template void map(const Plan&, float*, const float* const*, RowFunction<float>);
template void map(const Plan&, double*, const double* const*, RowFunction<double>);

}  // namespace xtape::kernels
