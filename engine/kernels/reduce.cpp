#include <xtape/engine/kernels/reduce.hpp>

namespace xtape::kernels {
namespace {

/// All elements of a batch as one.
template <class Join, class T> T across(const Batch<T>& batch) {
    if constexpr (std::same_as<Join, Add>) {
        return sum(batch);
    } else {
        constexpr auto w = static_cast<std::size_t>(width<T>);
        alignas(64) std::array<T, w> part;
        batch.store_aligned(part.data());
        for (std::size_t half = w / 2; half > 0; half /= 2) {
            for (std::size_t j = 0; j < half; ++j) part[j] = Join::join(part[j], part[j + half]);
        }
        return part[0];
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

/// All of n elements as one: four chains side by side.
template <class Join, class T> T fold_row(Index n, const T* x) {
    constexpr Index w = width<T>;
    std::array<Batch<T>, 4> chain;
    chain.fill(Batch<T>(Join::template none<T>));
    Index i = 0;
    for (; i + 4 * w <= n; i += 4 * w) {
        for (std::size_t j = 0; j < 4; ++j) chain[j] = Join::join(chain[j], load(x + i + static_cast<Index>(j) * w));
    }
    for_batches<T>(n - i, [&](Index j, auto count) {
        chain[0] = Join::join(chain[0], only<Join, T>(load(x + i + j, count), count));
    });
    return across<Join, T>(Join::join(Join::join(chain[0], chain[1]), Join::join(chain[2], chain[3])));
}

/// total[i] = total[i] joined with x[r, i] of the rows r < n, for `Tile` batches of columns, which stay in registers.
template <class Join, std::size_t Tile, class T, class Count>
void fold_tile(Index n, Count count, const T* x, Index row_stride, double* total) {
    constexpr auto w = static_cast<std::size_t>(width<T>);
    std::array<Batch<T>, Tile> sums;
    sums.fill(Batch<T>(Join::template none<T>));
    for (Index row = 0; row < n; ++row) {
        for (std::size_t j = 0; j < Tile; ++j)
            sums[j] = Join::join(sums[j], load(x + row * row_stride + static_cast<Index>(j * w), count));
    }
    alignas(64) std::array<T, Tile * w> part;
    for (std::size_t j = 0; j < Tile; ++j) sums[j].store_aligned(part.data() + j * w);
    const auto elements = static_cast<std::size_t>(count) * Tile;
    for (std::size_t i = 0; i < elements; ++i) total[i] = Join::join(total[i], static_cast<double>(part[i]));
}

/// The same for all columns.
template <class Join, class T> void fold_rows(Index n, Index columns, const T* x, Index row_stride, double* total) {
    constexpr Index w = width<T>;
    Index i = 0;
    for (; i + 4 * w <= columns; i += 4 * w)
        fold_tile<Join, 4>(n, std::integral_constant<Index, w>(), x + i, row_stride, total + i);
    for_batches<T>(columns - i,
                   [&](Index j, auto count) { fold_tile<Join, 1>(n, count, x + i + j, row_stride, total + i + j); });
}

/// What map_reduce does below the axes that it walks: `height` rows of elements, all into one element of y or all
/// into one row of it. Blocks are joined in T, what comes of them in double. What is computed goes through scratch.
template <class Join, class T> class BlockFold {
public:
    BlockFold(const Plan& plan, bool folds_rows, RowFunction<T> row) : plan_(plan), row_(row) {
        if (!folds_rows) return;
        stride_ = plan.stride[0];
        height_ = plan.extent[0];
    }

    /// For the columns where the operands begin.
    void operator()(Index columns, T* y, const T* const* x) const {
        alignas(64) std::array<T, scratch_size> scratch;
        const Source source{x, scratch.data()};
        if (plan_.step[0] == 0)
            *y = static_cast<T>(Join::join(static_cast<double>(*y), fold_all(columns, source)));
        else
            for (Index i = 0; i < columns; i += widest) fold_band(i, std::min(widest, columns - i), y + i, source);
    }

private:
    static constexpr Index scratch_size = 4096;
    static constexpr Index widest = 512;  // columns that are folded at a time

    struct Source {
        const T* const* x;
        T* scratch;
    };
    struct Block {
        const T* data;
        Index row_stride;
    };

    double fold_all(Index columns, const Source& source) const {
        double total = Join::template none<double>;
        for (Index i = 0; i < columns; i += scratch_size) {
            const Index n = std::min(scratch_size, columns - i);
            total = Join::join(total, static_cast<double>(fold_row<Join>(n, block(i, n, 0, 1, source).data)));
        }
        return total;
    }
    void fold_band(Index i, Index columns, T* y, const Source& source) const {
        std::array<double, static_cast<std::size_t>(widest)> total;
        std::fill_n(total.begin(), columns, Join::template none<double>);
        const Index high = std::min<Index>(64, scratch_size / columns);
        for (Index row = 0; row < height_; row += high) {
            const Index rows = std::min(high, height_ - row);
            const Block values = block(i, columns, row, rows, source);
            fold_rows<Join>(rows, columns, values.data, values.row_stride, total.data());
        }
        for (std::size_t j = 0; j < static_cast<std::size_t>(columns); ++j)
            y[j] = static_cast<T>(Join::join(static_cast<double>(y[j]), total[j]));
    }

    /// The values to join: computed, or where they are.
    Block block(Index i, Index columns, Index row, Index rows, const Source& source) const {
        const Index* step = plan_.step.data() + 1;
        const Index* stride = stride_.data() + 1;
        if (row_.call == nullptr) return {source.x[0] + i * step[0] + row * stride[0], stride[0]};
        std::array<const T*, most_operands> at{};
        for (std::size_t k = 0; k + 1 < plan_.operands; ++k) at[k] = source.x[k] + i * step[k] + row * stride[k];
        for (Index r = 0; r < rows; ++r) {
            row_.call(row_.f, columns, source.scratch + r * columns, at.data(), step);
            for (std::size_t k = 0; k + 1 < plan_.operands; ++k) at[k] += stride[k];
        }
        return {source.scratch, columns};
    }

    const Plan& plan_;
    PerOperand stride_{};  ///< of the operands from one of the rows to the next
    Index height_ = 1;
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
    const bool threaded = worth_threads_over<T>(plan.elements(), plan.operands);
    const bool folds_rows = plan.outer_rank > 0 && plan.step[0] != 0 && plan.stride[0][0] == 0;
    const Plan walked = folds_rows ? without_inner(plan) : plan;
    const std::size_t last = walked.outer_rank - 1;
    const Index parts = walked.outer_rank > 0 && walked.stride[last][0] != 0 ? walked.extent[last] : 1;
    const Index rows = walked.rows / parts;
    const Index band = folds_rows && threaded ? std::max<Index>(64, plan.columns / 256 * 64) : plan.columns;
    const BlockFold<Join, T> fold(plan, folds_rows, row);
    const auto fold_parts = [&](Index part, Index count, Index i) {
        std::array<const T*, most_operands> begin{};
        for (std::size_t k = 0; k + 1 < plan.operands; ++k) begin[k] = x[k] + i * plan.step[k + 1];
        RowWalk<T> walk(walked, begin.data(), part * rows);
        for (Index r = 0; r < count * rows; ++r, walk.next())
            fold(std::min(band, plan.columns - i), y + i * plan.step[0] + walk.offset(), walk.x());
    };
    const Index bands = (plan.columns + band - 1) / band;
    const Index work = static_cast<Index>(plan.elements()) / (parts * bands);
    parallel_for(parts * bands, std::max<Index>(1, tile_size / work), threaded, [&](Index begin, Index end) {
        for (Index t = begin; t < end;) {
            const Index count = std::min(end, (t / parts + 1) * parts) - t;
            fold_parts(t % parts, count, t / parts * band);
            t += count;
        }
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
