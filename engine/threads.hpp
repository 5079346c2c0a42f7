#pragma once

namespace xtape {

/// How many threads ops called from this thread may use; 0 for all of the machine. Results do not depend on it.
void set_threads(int threads);

}  // namespace xtape
