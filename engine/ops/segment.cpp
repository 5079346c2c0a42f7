// Means of the sequences of a ragged batch.

#include <xtape/engine/kernels/segment.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/offsets.hpp>

#include <algorithm>

namespace xtape {
namespace {

template <class T> struct SegmentMean {
    static constexpr std::string_view name = "segment_mean";

    Shape shape(const Shape& x, const Indices& offsets) const {
        if (x.rank() == 0) throw ShapeError("segment_mean: a scalar has no rows: x is []");
        check_offsets(name, "x", offsets, x[0]);
        const auto values = offsets.values();
        if (const auto empty = std::ranges::adjacent_find(values); empty != values.end())
            throw ValueError(fmt::format("segment_mean: the mean of nothing: sequence {} begins and ends at row {}",
                                         empty - values.begin(), *empty));
        return x.with(0, offsets.size() - 1);
    }

    void forward(View<T> x, View<std::int32_t> offsets, Out<T> y) const {
        kernels::segment_mean(y.shape[0], y.shape.without(0).size(), offsets.data, x.data, y.data);
    }
    void vjp(Grad<0, T> dx, Input<1, std::int32_t> offsets, Cotangent<T> dy) const {
        kernels::segment_mean_backward(dy.shape[0], dy.shape.without(0).size(), offsets.data, dy.data, dx.data,
                                       dx.accumulate);  // dx[t] = dy[sequence of t] / its length
    }
};

}  // namespace

template <Real T> Tensor<T> segment_mean(const Tensor<T>& x, const Indices& offsets, Where where) {
    return apply<T>(SegmentMean<T>{}, where, x, offsets);
}

template Tensor<float> segment_mean(const Tensor<float>&, const Indices&, Where);
template Tensor<double> segment_mean(const Tensor<double>&, const Indices&, Where);

}  // namespace xtape
