/// The yardstick: microgpt's training step as written by hand in C, forward, explicit and complete backward, Adam.
/// Variant: one layer, 4 heads, one rms norm (before attention), relu, f32, one thread.
/// Meant for `-O3 -march=native -ffast-math`.
#ifndef XTAPE_BENCH_PEERS_MICROGPT_H
#define XTAPE_BENCH_PEERS_MICROGPT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MICROGPT_VOCAB = 27, MICROGPT_CONTEXT = 16, MICROGPT_HEADS = 4, MICROGPT_TENSORS = 9 };

/// `dim` is 16, 32 or a multiple of 64 (16 and 64 are specialised); `max_positions` bounds the positions of one batch.
typedef struct {
    int dim;
    int max_positions;
} MicrogptConfig;

typedef struct Microgpt Microgpt;

/// Bytes of the whole training state: parameters, gradients, Adam moments, activations, temporaries.
size_t microgpt_size(MicrogptConfig config);

/// Builds the state in `memory` (microgpt_size bytes, aligned to 64) from nine row-major arrays (in x out):
/// wte [27,D], wpe [16,D], wq wk wv wo [D,D], w1 [D,4D], w2 [4D,D], wout [D,27].
Microgpt* microgpt_init(void* memory, MicrogptConfig config, const float* const parameters[MICROGPT_TENSORS]);

/// One training step on a ragged batch: sequence s is positions offsets[s] .. offsets[s + 1] - 1 (1 to 16 of them),
/// offsets[0] is 0. Returns the mean loss over all positions, taken before the update.
float microgpt_step(Microgpt* model, const int* inputs, const int* targets, const int* offsets, int sequences,
                    float learning_rate);

/// Elements of tensor `index` (0 to 8, in the order of microgpt_init).
size_t microgpt_elements(const Microgpt* model, int index);

/// Copies tensor `index` as it is now.
void microgpt_parameter(const Microgpt* model, int index, float* values);

/// Copies the gradient of tensor `index` as of the last step.
void microgpt_gradient(const Microgpt* model, int index, float* values);

/// Self check against a plain double-precision model: gradients by central differences, loss, two Adam updates.
/// Returns 0 when right, else the number of wrong values.
int microgpt_check(void);

#ifdef __cplusplus
}
#endif

#endif
