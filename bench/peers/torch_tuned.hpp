#pragma once

namespace peers {

/// PyTorch at its best with so many threads: before it is told, it may take fewer (and with it all OpenMP loops of the
/// calling thread), and memory that it frees goes back to the system, which costs a fifth of a step of the gate.
void tune_torch(int threads);

}  // namespace peers
