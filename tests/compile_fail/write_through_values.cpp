// Writing the elements of a parameter without saying so.
// must say: assignment of read-only location|cannot assign to return value
#include <xtape/engine/parameter.hpp>

void write(xtape::Parameter<float>& p) {
#ifdef XTAPE_COMPILE_FAIL
    p.values()[0] = 1;
#else
    p.write()[0] = 1;
#endif
}
