#include <xtape/engine/threads.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace xtape {

void set_threads([[maybe_unused]] int threads) {
#ifdef _OPENMP
    omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
#endif
}

}  // namespace xtape
