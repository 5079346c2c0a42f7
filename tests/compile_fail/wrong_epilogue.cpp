// An epilogue whose signature does not fit: it would be passed over, and the gradients be wrong.
// must say: write .void vjp_epilogue
#include <xtape/engine/op.hpp>

using namespace xtape;

struct Positive {
    static constexpr std::string_view name = "positive";

    Shape shape(const Shape& x) const { return x; }
    void forward(View<float> x, Out<float> y) const { y.data[0] = x.data[0] > 0 ? x.data[0] : 0; }
#ifdef XTAPE_COMPILE_FAIL
    void vjp_epilogue(Out<float> dz, Cotangent<float> dy, Output<float> y) const { mask(dz, y, dy); }
#else
    void vjp_epilogue(Out<float> dz, Output<float> y, Cotangent<float> dy) const { mask(dz, y, dy); }
#endif
    void vjp(Grad<0, float> dx, Cotangent<float> dz) const { dx.data[0] = dz.data[0]; }

    static void mask(Out<float> dz, View<float> y, View<float> dy) { dz.data[0] = y.data[0] > 0 ? dy.data[0] : 0; }
};

Tensor<float> positive(const Tensor<float>& x) { return apply<float>(Positive{}, Where::here(), x); }
