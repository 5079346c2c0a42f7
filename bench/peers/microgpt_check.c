#include "microgpt.h"

#include <math.h>
#include <stdlib.h>

/* The same model in double and plain loops: the loss only. */

enum { LARGEST_DIM = 64, V = MICROGPT_VOCAB, S = MICROGPT_CONTEXT, H = MICROGPT_HEADS };

typedef struct {
    int dim;
    double* tensors[MICROGPT_TENSORS];
} Reference;

static void apply(const double* x, const double* w, int in, int out, double* y) {
    for (int j = 0; j < out; j++) {
        y[j] = 0;
        for (int i = 0; i < in; i++) y[j] += x[i] * w[i * out + j];
    }
}

static void attend(int d, int t, const double* q, const double (*k)[LARGEST_DIM], const double (*v)[LARGEST_DIM],
                   double* out) {
    const int width = d / H;
    for (int h = 0; h < d; h += width) {
        double weight[S], sum = 0;
        for (int s = 0; s <= t; s++) {
            double dot = 0;
            for (int j = h; j < h + width; j++) dot += q[j] * k[s][j];
            sum += weight[s] = exp(dot / sqrt(width));
        }
        for (int j = h; j < h + width; j++) {
            out[j] = 0;
            for (int s = 0; s <= t; s++) out[j] += weight[s] / sum * v[s][j];
        }
    }
}

static double sequence_loss(const Reference* m, const int* inputs, const int* targets, int length) {
    const int d = m->dim;
    double *const *w = m->tensors, loss = 0;
    double k[S][LARGEST_DIM], v[S][LARGEST_DIM];
    for (int t = 0; t < length; t++) {
        double x[LARGEST_DIM], n[LARGEST_DIM], q[LARGEST_DIM], a[LARGEST_DIM], y[LARGEST_DIM], h[4 * LARGEST_DIM];
        double logits[V], squares = 0, sum = 0;
        for (int j = 0; j < d; j++) {
            x[j] = w[0][inputs[t] * d + j] + w[1][t * d + j];
            squares += x[j] * x[j];
        }
        for (int j = 0; j < d; j++) n[j] = x[j] / sqrt(squares / d + 1e-5);
        apply(n, w[2], d, d, q);
        apply(n, w[3], d, d, k[t]);
        apply(n, w[4], d, d, v[t]);
        attend(d, t, q, (const double(*)[LARGEST_DIM])k, (const double(*)[LARGEST_DIM])v, a);
        apply(a, w[5], d, d, y);
        for (int j = 0; j < d; j++) x[j] += y[j];
        apply(x, w[6], d, 4 * d, h);
        for (int j = 0; j < 4 * d; j++) h[j] = h[j] > 0 ? h[j] : 0;
        apply(h, w[7], 4 * d, d, y);
        for (int j = 0; j < d; j++) x[j] += y[j];
        apply(x, w[8], d, V, logits);
        for (int j = 0; j < V; j++) sum += exp(logits[j]);
        loss += log(sum) - logits[targets[t]];
    }
    return loss;
}

static double reference_loss(const Reference* m, const int* inputs, const int* targets, const int* offsets,
                             int sequences) {
    double loss = 0;
    for (int s = 0; s < sequences; s++)
        loss += sequence_loss(m, inputs + offsets[s], targets + offsets[s], offsets[s + 1] - offsets[s]);
    return loss / offsets[sequences];
}

static double central_difference(const Reference* m, double* value, const int* inputs, const int* targets,
                                 const int* offsets, int sequences) {
    const double kept = *value, step = 1e-6;
    *value = kept + step;
    const double above = reference_loss(m, inputs, targets, offsets, sequences);
    *value = kept - step;
    const double below = reference_loss(m, inputs, targets, offsets, sequences);
    *value = kept;
    return (above - below) / (2 * step);
}

/* A ragged batch: every length from 1 to 16 that matters, repeated tokens, a first token that is no BOS. */

enum { SEQUENCES = 5, POSITIONS = 37, STEPS = 2 };
static const int offsets[SEQUENCES + 1] = {0, 5, 6, 14, 30, 37};

typedef struct {
    int dim, elements;
    Microgpt* fast;
    Reference slow;
    double *first, *second;
    float *before, *after, *gradient;
    int inputs[POSITIONS], targets[POSITIONS];
} Trial;

static int wrong(double is, double should_be, double tolerance) {
    return !(fabs(is - should_be) <= tolerance * (1 + fabs(should_be)));
}

static double next_random(unsigned* state) {
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) / (1 << 24) - 0.5;
}

/// One step of both; every `stride`-th gradient is compared with a central difference, every update with Adam.
static int compare_step(Trial* t, int step, int stride) {
    int failures = 0;
    const double expected = reference_loss(&t->slow, t->inputs, t->targets, offsets, SEQUENCES);
    float* at = t->before;
    for (int i = 0; i < MICROGPT_TENSORS; at += microgpt_elements(t->fast, i++)) microgpt_parameter(t->fast, i, at);
    failures += wrong(microgpt_step(t->fast, t->inputs, t->targets, offsets, SEQUENCES, 0.01f), expected, 2e-6);
    for (int i = 0, e = 0; i < MICROGPT_TENSORS; e += (int)microgpt_elements(t->fast, i++)) {
        microgpt_parameter(t->fast, i, t->after + e);
        microgpt_gradient(t->fast, i, t->gradient + e);
    }
    double* const values = t->slow.tensors[0];
    for (int e = 0; e < t->elements; e += stride) {
        const double slope = central_difference(&t->slow, values + e, t->inputs, t->targets, offsets, SEQUENCES);
        failures += !(fabs(t->gradient[e] - slope) <= 5e-7 + 2e-5 * fabs(slope));
    }
    for (int e = 0; e < t->elements; e++) {
        const double g = t->gradient[e];
        t->first[e] = 0.85 * t->first[e] + 0.15 * g;
        t->second[e] = 0.99 * t->second[e] + 0.01 * g * g;
        const double m = t->first[e] / (1 - pow(0.85, step)), v = t->second[e] / (1 - pow(0.99, step));
        failures += wrong(t->after[e], t->before[e] - 0.01 * m / (sqrt(v) + 1e-8), 2e-6);
        values[e] = t->after[e];
    }
    return failures;
}

static int check_dim(int dim, int stride) {
    Trial t = {.dim = dim, .elements = (V + S + 12 * dim + V) * dim};
    const size_t elements = (size_t)t.elements;
    const size_t sizes[MICROGPT_TENSORS] = {
        V, S, (size_t)dim, (size_t)dim, (size_t)dim, (size_t)dim, 4 * (size_t)dim, 4 * (size_t)dim, V};
    const MicrogptConfig config = {.dim = dim, .max_positions = POSITIONS};
    void* memory = aligned_alloc(64, microgpt_size(config));
    double* doubles = calloc(3 * elements, sizeof *doubles);
    float* floats = calloc(3 * elements, sizeof *floats);
    int failures = 1;
    if (memory && doubles && floats) {
        unsigned random = 7;
        const float* tensors[MICROGPT_TENSORS];
        t.first = doubles + elements, t.second = doubles + 2 * elements;
        t.before = floats, t.after = floats + elements, t.gradient = floats + 2 * elements;
        for (size_t e = 0; e < elements; e++) doubles[e] = floats[e] = (float)(2.4 / sqrt(dim) * next_random(&random));
        for (size_t i = 0, e = 0; i < MICROGPT_TENSORS; e += sizes[i++] * (size_t)dim) {
            tensors[i] = floats + e;
            t.slow.tensors[i] = doubles + e;
        }
        for (int p = 0; p < POSITIONS; p++) {
            t.inputs[p] = (int)((next_random(&random) + 0.5) * V);
            t.targets[p] = (int)((next_random(&random) + 0.5) * V);
        }
        t.slow.dim = dim;
        t.fast = microgpt_init(memory, config, tensors);
        failures = 0;
        for (int step = 1; step <= STEPS; step++) failures += compare_step(&t, step, stride);
    }
    free(memory), free(doubles), free(floats);
    return failures;
}

int microgpt_check(void) { return check_dim(16, 13) + check_dim(32, 211) + check_dim(64, 1009); }
