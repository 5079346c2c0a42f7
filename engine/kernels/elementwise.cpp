#include <xtape/engine/kernels/elementwise.hpp>

namespace xtape::kernels {

// Loops over operands run over all that there could be: they are one vector instruction each.

Plan plan_of(std::span<const Index> over, std::span<const std::span<const Index>> operands) {
    Plan plan;
    plan.operands = operands.size();
    PerOperand run = every_step;  // elements of an operand inside the present axis
    bool first = true;
    for (std::size_t axis = over.size(); axis-- > 0;) {
        const Index n = over[axis];
        if (n == 1) continue;
        const std::size_t from_end = over.size() - axis;
        PerOperand along = every_step, stride;
        for (std::size_t k = 0; k < operands.size(); ++k) {
            if (from_end <= operands[k].size()) along[k] = operands[k][operands[k].size() - from_end];
        }
        for (std::size_t k = 0; k < most_operands; ++k) stride[k] = along[k] == 1 ? 0 : run[k];
        for (std::size_t k = 0; k < most_operands; ++k) run[k] *= along[k];
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
        for (std::size_t k = 0; k < most_operands; ++k) differs |= stride[k] ^ (below[k] * extent);
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

RowWalk::RowWalk(const Plan& plan, Index row) : plan_(plan) {
    for (std::size_t axis = 0; axis < plan.outer_rank && row > 0; ++axis) {
        at_[axis] = row % plan.extent[axis];
        row /= plan.extent[axis];
        for (std::size_t k = 0; k < most_operands; ++k) offsets_[k] += at_[axis] * plan.stride[axis][k];
    }
}

void RowWalk::next() {
    for (std::size_t axis = 0; axis < plan_.outer_rank; ++axis) {
        for (std::size_t k = 0; k < most_operands; ++k) offsets_[k] += plan_.stride[axis][k];
        if (++at_[axis] < plan_.extent[axis]) return;
        at_[axis] = 0;
        for (std::size_t k = 0; k < most_operands; ++k) offsets_[k] -= plan_.extent[axis] * plan_.stride[axis][k];
    }
}

template <class T> void map(const Plan& plan, T* y, const T* const* x, RowFunction<T> row) {
    for_rows<T>(plan, [&](Index n, const PerOperand& offsets) {
        std::array<const T*, most_operands - 1> operand{};
        for (std::size_t k = 0; k + 1 < plan.operands; ++k) operand[k] = x[k] + offsets[k + 1];
        row.call(row.f, n, y + offsets[0], operand.data(), plan.step.data() + 1);
    });
}

template void map(const Plan&, float*, const float* const*, RowFunction<float>);
template void map(const Plan&, double*, const double* const*, RowFunction<double>);

}  // namespace xtape::kernels
