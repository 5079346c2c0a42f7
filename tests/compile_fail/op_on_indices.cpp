// A differentiable op on integers.
// must say: constraints not satisfied
#include <xtape/engine/ops.hpp>

using namespace xtape;

Tensor<float> rows(const Tensor<float>& table, const Indices& ids) {
#ifdef XTAPE_COMPILE_FAIL
    exp(ids);
#endif
    return embedding(table, ids);
}
