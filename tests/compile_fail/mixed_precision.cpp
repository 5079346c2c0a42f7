// Mixing float and double in one op.
// must say: deduced conflicting types for parameter
#include <xtape/engine/ops.hpp>

xtape::Tensor<double> mixed(const xtape::Tensor<double>& a, const xtape::Tensor<float>& b) {
#ifdef XTAPE_COMPILE_FAIL
    return xtape::add(a, b);
#else
    return b ? xtape::add(a, a) : a;
#endif
}
