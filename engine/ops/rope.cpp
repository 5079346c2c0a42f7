// Rotary positions.

#include <xtape/engine/kernels/rope.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

template <class T> struct Rotation {
    static constexpr std::string_view name = "rope";
    RopeOptions options;

    Shape shape(const Shape& x, const Indices& positions) const {
        if (!(options.theta > 0))
            throw ValueError(fmt::format("rope: theta must be positive: theta is {}", options.theta));
        if (options.heads < 1 || x.rank() == 0 || x.columns() == 0 || x.columns() % (2 * options.heads) != 0)
            throw ShapeError(fmt::format("rope: the rows of x do not make {} heads of an even width: x is {}",
                                         options.heads, to_string(x)));
        if (x.rows() != positions.size())
            throw ShapeError(fmt::format("rope: {} rows but {} positions: x is {}, positions is {}", x.rows(),
                                         positions.size(), to_string(x), to_string(positions.shape())));
        return x;
    }

    void forward(View<T> x, View<std::int32_t> positions, Out<T> y) const {
        rotate(x, positions, y.data, false, false);
    }
    void vjp(Grad<0, T> dx, Input<1, std::int32_t> positions, Cotangent<T> dy) const {
        rotate(dy, positions, dx.data, true, dx.accumulate);  // dx = dy, rotated back
    }

private:
    void rotate(const View<T>& x, const View<std::int32_t>& positions, T* y, bool back, bool accumulate) const {
        const Index pairs = x.shape.columns() / (2 * options.heads);
        const auto frequencies = Tensor<double>::unwritten(Shape{pairs});
        kernels::rope_frequencies(pairs, options.theta, frequencies.body()->data);
        const kernels::Rope shape{.rows = positions.size(),
                                  .heads = options.heads,
                                  .pairs = pairs,
                                  .interleaved = options.form == RopeForm::interleaved,
                                  .positions = positions.data,
                                  .frequencies = frequencies.data()};
        kernels::rope(shape, back, x.data, y, accumulate);
    }
};

}  // namespace

template <Real T> Tensor<T> rope(const Tensor<T>& x, const Indices& positions, RopeOptions options, Where where) {
    return apply<T>(Rotation<T>{options}, where, x, positions);
}

template Tensor<float> rope(const Tensor<float>&, const Indices&, RopeOptions, Where);
template Tensor<double> rope(const Tensor<double>&, const Indices&, RopeOptions, Where);

}  // namespace xtape
