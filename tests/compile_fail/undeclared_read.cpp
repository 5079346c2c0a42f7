// A vjp that reads what it did not declare: a shape comes without data.
// must say: has no member named|no member named 'data'
#include <xtape/engine/op.hpp>

using namespace xtape;

struct Square {
    static constexpr std::string_view name = "square";

    Shape shape(const Shape& x) const { return x; }
    void forward(View<float> x, Out<float> y) const { y.data[0] = x.data[0] * x.data[0]; }
#ifdef XTAPE_COMPILE_FAIL
    void vjp(Grad<0, float> dx, ShapeOf<0> x, Cotangent<float> dy) const { dx.data[0] = 2 * x.data[0] * dy.data[0]; }
#else
    void vjp(Grad<0, float> dx, Input<0, float> x, Cotangent<float> dy) const {
        dx.data[0] = 2 * x.data[0] * dy.data[0];
    }
#endif
};

Tensor<float> square(const Tensor<float>& x) { return apply<float>(Square{}, Where::here(), x); }
