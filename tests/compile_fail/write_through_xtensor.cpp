// Writing the elements of a tensor through its xtensor view.
// must say: assignment of read-only location|cannot assign to return value
#include <xtape/engine/xtensor.hpp>

float write(const xtape::Tensor<float>& x) {
#ifdef XTAPE_COMPILE_FAIL
    auto view = x.flat();
    view(0) = 1;
    return view(0);
#else
    return x.flat()(0);
#endif
}
