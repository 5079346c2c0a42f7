/// The yardstick: the training step of lrnn as written by hand in C, in plain loops: forward, explicit backward,
/// clipping, Adam; f32, one thread; the slot states of every position are kept.
/// Meant for `-O3 -march=native -ffast-math`.
#ifndef XTAPE_BENCH_PEERS_LRNN_H
#define XTAPE_BENCH_PEERS_LRNN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// `dim` is a multiple of `heads`; `context` is the length of the longest window.
typedef struct {
    int vocab, dim, layers, heads, context, rank, ffn, slots;
} LrnnConfig;

typedef struct Lrnn Lrnn;

/// Number of parameter arrays, row-major (in x out), in this order: emb, ln0.weight, ln0.bias; for each layer
/// ln1.weight, ln1.bias, ln2.weight, ln2.bias, time_shift_w1, w2, w4, time_mix_r, k, v, decay_lora_a, decay_lora_b,
/// decay_base, time_first, Wr, Wk, Wv, Wo, channel_mix, ffn_gate, ffn_up, ffn_down, mem_gate_write, mem_gate_read;
/// ln_out.weight, ln_out.bias, head.
int lrnn_tensors(LrnnConfig config);

/// Elements of array `index`.
size_t lrnn_elements(LrnnConfig config, int index);

/// A model in training that starts from the given arrays; NULL where memory is short.
Lrnn* lrnn_create(LrnnConfig config, const float* const* parameters);
void lrnn_destroy(Lrnn* model);

/// One training step on a window: gradients clipped to a global norm of 5, Adam(0.9, 0.999, 1e-8). A target of -1 is
/// none. Returns the mean loss before the update; without an update where that is not finite.
float lrnn_step(Lrnn* model, const int* inputs, const int* targets, int length, float learning_rate);

/// One epoch: a step on each window of `context` tokens from `offset` on (0 to 9, drawn by the caller), the last one
/// shorter; each token of a window but the first is a target. Returns the mean of the finite losses (NaN of none); the
/// number of windows skipped is added to `skipped`. The published course: 20 epochs at a learning rate of 3e-4.
float lrnn_epoch(Lrnn* model, const int* tokens, int count, int offset, float learning_rate, int* skipped);

/// Copies array `index` as it is now, or its gradient as of the last step, as scaled by the clip.
void lrnn_parameter(const Lrnn* model, int index, float* values);
void lrnn_gradient(const Lrnn* model, int index, float* values);

/// Writes the published program's first form of checkpoint, `lrnnC01`, for a tokenizer of bytes: token i is
/// characters[i], other bytes are token 0. Returns 0, or -1 where the file could not be written.
int lrnn_save(const Lrnn* model, const unsigned char* characters, const char* path);

/// Self check against a plain double-precision model in recurrent form: loss, gradients by central differences, two
/// Adam updates. Returns 0 when right, else the number of wrong values.
int lrnn_check(void);

#ifdef __cplusplus
}
#endif

#endif
