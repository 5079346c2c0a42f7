// Writing the elements of a tensor.
// must say: assignment of read-only location|read-only variable is not assignable
#include <xtape/engine/parameter.hpp>

void write(xtape::Tensor<float>& x, xtape::Parameter<float>& p) {
    p.write()[0] = 1;
#ifdef XTAPE_COMPILE_FAIL
    x.data()[0] = 1;
#else
    x = p;
#endif
}
