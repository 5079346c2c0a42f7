// A hand-written backward of a form that compare does not know.
// must say: compare: the backward must take
#include <xtape/engine/check/compare.hpp>

using namespace xtape;

GradReport judge_it(const Tensor<double>& x) {
    const auto forward = [](const auto& in) { return in; };
#ifdef XTAPE_COMPILE_FAIL
    return compare(forward, [](const float*, float*) {}, {x});
#else
    return compare(forward, [](const std::vector<std::vector<float>>&, std::vector<std::vector<float>>&) {}, {x});
#endif
}
