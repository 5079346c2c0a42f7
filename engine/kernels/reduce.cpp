#include <xtape/engine/kernels/reduce.hpp>

namespace xtape::kernels {
namespace {

/// All elements of a batch as one.
template <class Join, class T> T across(const Batch<T>& batch) {
    if constexpr (std::same_as<Join, Add>) {
        return sum(batch);
    } else {
        alignas(64) T part[static_cast<std::size_t>(width<T>)];
        batch.store_aligned(part);
        T total = part[0];
        for (Index j = 1; j < width<T>; ++j) total = Join::join(total, part[j]);
        return total;
    }
}

/// The first `count` elements of a batch; those behind change nothing.
template <class Join, class T> Batch<T> only(const Batch<T>& batch, std::integral_constant<Index, width<T>>) {
    return batch;
}
template <class Join, class T> Batch<T> only(const Batch<T>& batch, Index count) {
    alignas(64) static constexpr auto lanes = [] {
        std::array<T, static_cast<std::size_t>(width<T>)> indices{};
        for (std::size_t j = 0; j < indices.size(); ++j) indices[j] = static_cast<T>(j);
        return indices;
    }();
    return select(load(lanes.data()) < Batch<T>(static_cast<T>(count)), batch, Batch<T>(Join::template none<T>));
}

/// All of n elements as one: four chains side by side, in blocks.
template <class Join, class T> T fold_row(Index n, const T* x) {
    constexpr Index w = width<T>;
    constexpr Index block = 64 * 4 * w;
    const Batch<T> none(Join::template none<T>);
    Batch<T> total = none;
    Index i = 0;
    while (n - i >= 4 * w) {
        const Index end = std::min(n, i + block) - 4 * w;
        std::array<Batch<T>, 4> chain{none, none, none, none};
        for (; i <= end; i += 4 * w) {
            for (std::size_t j = 0; j < 4; ++j)
                chain[j] = Join::join(chain[j], load(x + i + static_cast<Index>(j) * w));
        }
        total = Join::join(total, Join::join(Join::join(chain[0], chain[1]), Join::join(chain[2], chain[3])));
    }
    for_batches<T>(
        n - i, [&](Index j, auto count) { total = Join::join(total, only<Join, T>(load(x + i + j, count), count)); });
    return across<Join, T>(total);
}

/// y[i] = y[i] joined with x[r, i] of the rows r < n, for `Tile` batches of columns; blocks of rows in registers.
template <class Join, std::size_t Tile, class T, class Count>
void fold_tile(Index n, Count count, const T* x, Index row_stride, T* y) {
    constexpr Index block = 128;
    constexpr Index w = width<T>;
    for (Index begin = 0; begin < n; begin += block) {
        std::array<Batch<T>, Tile> total;
        total.fill(Batch<T>(Join::template none<T>));
        for (Index row = begin; row < std::min(n, begin + block); ++row) {
            for (std::size_t j = 0; j < Tile; ++j)
                total[j] = Join::join(total[j], load(x + row * row_stride + static_cast<Index>(j) * w, count));
        }
        for (std::size_t j = 0; j < Tile; ++j) {
            T* out = y + static_cast<Index>(j) * w;
            store(out, Join::join(load(out, count), total[j]), count);
        }
    }
}

/// y[i] = y[i] joined with x[r, i] of the rows r < n, for i < columns.
template <class Join, class T> void fold_rows(Index n, Index columns, const T* x, Index row_stride, T* y) {
    constexpr Index w = width<T>;
    Index i = 0;
    for (; i + 4 * w <= columns; i += 4 * w)
        fold_tile<Join, 4>(n, std::integral_constant<Index, w>(), x + i, row_stride, y + i);
    for_batches<T>(columns - i,
                   [&](Index j, auto count) { fold_tile<Join, 1>(n, count, x + i + j, row_stride, y + i + j); });
}

/// What map_reduce does below the axes that it walks: `height` rows of elements, all into one element of y or all
/// into one row of it. Values that are computed go through a block of scratch.
template <class Join, class T> class BlockFold {
public:
    BlockFold(const Plan& plan, Index height, RowFunction<T> row) : plan_(plan), height_(height), row_(row) {}

    /// For `columns` columns, from the one where the operands begin at the given offsets.
    void operator()(Index columns, T* y, const T* const* x, const PerOperand& offsets) const {
        if (row_.call == nullptr) {
            fold(height_, columns, x[0] + offsets[1], plan_.stride[0][1], y + offsets[0]);
            return;
        }
        alignas(64) std::array<T, scratch_size> scratch;
        const Index width = std::min(columns, scratch_size);
        const Index high = scratch_size / width;
        for (Index i = 0; i < columns; i += width) {
            const Index n = std::min(width, columns - i);
            for (Index r = 0; r < height_; r += high) {
                const Index rows = std::min(high, height_ - r);
                for (Index j = 0; j < rows; ++j) compute(n, scratch.data() + j * n, x, offsets, i, r + j);
                fold(rows, n, scratch.data(), n, y + offsets[0] + i * plan_.step[0]);
            }
        }
    }

private:
    static constexpr Index scratch_size = 2048;

    void fold(Index rows, Index columns, const T* x, Index row_stride, T* y) const {
        if (plan_.step[0] != 0)
            fold_rows<Join>(rows, columns, x, row_stride, y);
        else
            *y = Join::join(*y, fold_row<Join>(columns, x));
    }
    void compute(Index n, T* to, const T* const* x, const PerOperand& offsets, Index i, Index row) const {
        std::array<const T*, most_operands> operand{};
        for (std::size_t k = 1; k < plan_.operands; ++k)
            operand[k] = x[k - 1] + offsets[k] + i * plan_.step[k] + row * plan_.stride[0][k];
        row_.call(row_.f, n, to, operand.data() + 1, plan_.step.data() + 1);
    }

    const Plan& plan_;
    Index height_;
    RowFunction<T> row_;
};

/// The plan without its innermost outer axis.
Plan without_inner(Plan plan) {
    plan.rows /= plan.extent[0];
    std::copy(plan.extent.begin() + 1, plan.extent.end(), plan.extent.begin());
    std::copy(plan.stride.begin() + 1, plan.stride.end(), plan.stride.begin());
    --plan.outer_rank;
    return plan;
}

}  // namespace

/// Threads share out columns, and the outermost axis where y runs along it: no two write the same element.
template <class Join, class T> void map_reduce(const Plan& plan, T* y, const T* const* x, RowFunction<T> row) {
    const bool folds_rows = plan.outer_rank > 0 && plan.step[0] != 0 && plan.stride[0][0] == 0;
    const Plan walked = folds_rows ? without_inner(plan) : plan;
    const std::size_t last = walked.outer_rank - 1;
    const Index parts = walked.outer_rank > 0 && walked.stride[last][0] != 0 ? walked.extent[last] : 1;
    const Index rows = walked.rows / parts;
    const Index tile = folds_rows ? 8 * width<T> : plan.columns;
    const Index tiles = (plan.columns + tile - 1) / tile;
    const BlockFold<Join, T> fold(plan, folds_rows ? plan.extent[0] : 1, row);
    const auto task = [&](Index t) {
        const Index i = t % tiles * tile;
        RowWalk walk(walked, t / tiles * rows);
        for (Index r = 0; r < rows; ++r, walk.next()) {
            PerOperand offsets = walk.offsets();
            for (std::size_t k = 0; k < plan.operands; ++k) offsets[k] += i * plan.step[k];
            fold(std::min(tile, plan.columns - i), y, x, offsets);
        }
    };
    const Index work = static_cast<Index>(plan.elements()) / (parts * tiles);
    const bool threaded = worth_threads_over<T>(plan.elements(), plan.operands);
    parallel_for(parts * tiles, std::max<Index>(1, tile_size / work), threaded, [&](Index begin, Index end) {
        for (Index t = begin; t < end; ++t) task(t);
    });
}

template <class T> double sum_in_double(Index n, const T* x) {
    constexpr Index lanes = 32;
    constexpr Index most_tiles = 64;
    const auto sum_of = [x](Index begin, Index end) {
        std::array<double, lanes> total{};
        Index i = begin;
        for (; i + lanes <= end; i += lanes) {
            for (Index j = 0; j < lanes; ++j) total[static_cast<std::size_t>(j)] += static_cast<double>(x[i + j]);
        }
        for (Index j = 0; i < end; ++i, ++j) total[static_cast<std::size_t>(j)] += static_cast<double>(x[i]);
        for (std::size_t half = lanes / 2; half > 0; half /= 2) {
            for (std::size_t j = 0; j < half; ++j) total[j] += total[j + half];
        }
        return total[0];
    };
    const Index tile = std::max<Index>(tile_size, (n + most_tiles - 1) / most_tiles);
    std::array<double, most_tiles> parts{};
    parallel_for(n, tile, worth_threads_over<T>(static_cast<double>(n), 1),
                 [&](Index begin, Index end) { parts[static_cast<std::size_t>(begin / tile)] = sum_of(begin, end); });
    double total = 0;
    for (Index t = 0; t < (n + tile - 1) / tile; ++t) total += parts[static_cast<std::size_t>(t)];
    return total;
}

template void map_reduce<Add>(const Plan&, float*, const float* const*, RowFunction<float>);
template void map_reduce<Add>(const Plan&, double*, const double* const*, RowFunction<double>);
template void map_reduce<Larger>(const Plan&, float*, const float* const*, RowFunction<float>);
template void map_reduce<Larger>(const Plan&, double*, const double* const*, RowFunction<double>);
template void map_reduce<Smaller>(const Plan&, float*, const float* const*, RowFunction<float>);
template void map_reduce<Smaller>(const Plan&, double*, const double* const*, RowFunction<double>);
template double sum_in_double(Index, const float*);
template double sum_in_double(Index, const double*);

}  // namespace xtape::kernels
