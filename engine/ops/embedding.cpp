// Gather and scatter of rows: each is the vjp of the other.

#include <xtape/engine/kernels/embedding.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/place.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace xtape {
namespace {

/// Throws for an id outside a table of so many rows, saying where it stands.
void check_ids(std::string_view op, const Indices& ids, Index rows) {
    const auto known = [rows](std::int32_t id) { return id >= 0 && id < rows; };
    const auto values = ids.values();
    const auto wrong = std::ranges::find_if_not(values, known);
    if (wrong == values.end()) return;
    const std::string bounds = rows == 0 ? "" : fmt::format(" (0 to {})", rows - 1);
    throw ValueError(fmt::format("{}: id {} at {} is outside the table of {} rows{}", op, *wrong,
                                 place(ids.shape(), wrong - values.begin()), rows, bounds));
}

template <class T> struct Embedding {
    static constexpr std::string_view name = "embedding";

    Shape shape(const Shape& table, const Indices& ids) const {
        if (table.rank() != 2)
            throw ShapeError(fmt::format("embedding: the table must be a matrix: table is {}", to_string(table)));
        check_ids(name, ids, table[0]);
        return ids.shape().inserted(ids.shape().rank(), table[1]);
    }

    void forward(View<T> table, View<std::int32_t> ids, Out<T> y) const {
        kernels::gather_rows(ids.size(), table.shape[1], table.data, ids.data, y.data, false);
    }
    void vjp(Grad<0, T> dtable, Input<1, std::int32_t> ids, Cotangent<T> dy) const {
        kernels::scatter_rows(ids.size(), dtable.shape[1], dy.data, ids.data, dtable.shape[0], dtable.data,
                              dtable.accumulate);  // dtable[ids[t]] += dy[t]
    }
};

template <class T> struct ScatterAdd {
    static constexpr std::string_view name = "scatter_add";
    Index rows;

    Shape shape(const Shape& x, const Indices& ids) const {
        if (rows < 0)
            throw ValueError(fmt::format("scatter_add: the number of rows must not be negative: it is {}", rows));
        if (x.rank() != ids.shape().rank() + 1 || !std::equal(ids.shape().begin(), ids.shape().end(), x.begin()))
            throw ShapeError(fmt::format("scatter_add: each row needs one id: x is {}, ids is {}", to_string(x),
                                         to_string(ids.shape())));
        check_ids(name, ids, rows);
        return {rows, x.columns()};
    }

    void forward(View<T> x, View<std::int32_t> ids, Out<T> y) const {
        kernels::scatter_rows(ids.size(), x.shape.columns(), x.data, ids.data, rows, y.data, false);
    }
    void vjp(Grad<0, T> dx, Input<1, std::int32_t> ids, Cotangent<T> dy) const {
        kernels::gather_rows(ids.size(), dy.shape[1], dy.data, ids.data, dx.data, dx.accumulate);  // dx[t] = dy[ids[t]]
    }
};

}  // namespace

template <Real T> Tensor<T> embedding(const Tensor<T>& table, const Indices& ids, Where where) {
    return apply<T>(Embedding<T>{}, where, table, ids);
}

template <Real T> Tensor<T> scatter_add(const Tensor<T>& x, const Indices& ids, Index rows, Where where) {
    return apply<T>(ScatterAdd<T>{rows}, where, x, ids);
}

template Tensor<float> embedding(const Tensor<float>&, const Indices&, Where);
template Tensor<double> embedding(const Tensor<double>&, const Indices&, Where);
template Tensor<float> scatter_add(const Tensor<float>&, const Indices&, Index, Where);
template Tensor<double> scatter_add(const Tensor<double>&, const Indices&, Index, Where);

}  // namespace xtape
