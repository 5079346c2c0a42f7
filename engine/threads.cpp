#include <xtape/engine/threads.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace xtape {

void set_threads([[maybe_unused]] int threads) {
#ifdef _OPENMP
    static const int all = omp_get_max_threads();  // at first: as OMP_NUM_THREADS says, or one a core
    omp_set_num_threads(threads > 0 ? threads : all);
#endif
}

}  // namespace xtape
