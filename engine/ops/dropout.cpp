// Dropout whose mask is a function of its key.

#include <xtape/engine/kernels/dropout.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

template <class T> struct Dropout {
    static constexpr std::string_view name = "dropout";
    kernels::DropoutMask mask;

    Shape shape(const Shape& x) const { return x; }
    void forward(View<T> x, Out<T> y) const { kernels::dropout(mask, x.size(), x.data, y.data, false); }
    void vjp(Grad<0, T> dx, Cotangent<T> dy) const {
        kernels::dropout(mask, dy.size(), dy.data, dx.data, dx.accumulate);  // dx = dy mask / (1 − p)
    }
};

}  // namespace

template <Real T> Tensor<T> dropout(const Tensor<T>& x, double p, DropoutKey key, Where where) {
    located(where, [&] {
        if (!(p >= 0 && p < 1)) throw ValueError(fmt::format("dropout: p must be from 0 to below 1: p is {}", p));
    });
    if (p == 0) return x;
    return apply<T>(Dropout<T>{{key.seed, key.step, key.record, p}}, where, x);
}

template Tensor<float> dropout(const Tensor<float>&, double, DropoutKey, Where);
template Tensor<double> dropout(const Tensor<double>&, double, DropoutKey, Where);

}  // namespace xtape
