#include <xtape/bench/peers/torch_common.hpp>
#include <xtape/bench/peers/torch_tuned.hpp>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace peers {

void tune_torch(int threads) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
    torch::get_num_threads();  // chooses a number of its own when first asked
    torch::set_num_threads(threads);
}

}  // namespace peers
