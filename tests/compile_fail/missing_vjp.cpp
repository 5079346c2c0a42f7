// An op without a vjp for one of its inputs.
// must say: this op has no vjp for one of its inputs
#include <xtape/engine/op.hpp>

using namespace xtape;

struct Product {
    static constexpr std::string_view name = "product";

    Shape shape(const Shape& a, const Shape&) const { return a; }
    void forward(View<float>, View<float>, Out<float>) const {}
    void vjp(Grad<0, float>, Input<1, float>, Cotangent<float>) const {}
#ifndef XTAPE_COMPILE_FAIL
    void vjp(Grad<1, float>, Input<0, float>, Cotangent<float>) const {}
#endif
};

Tensor<float> product(const Tensor<float>& a, const Tensor<float>& b) {
    return apply<float>(Product{}, Where::here(), a, b);
}
