#include "lrnn.h"

#include <math.h>
#include <stdlib.h>

/* The same model in double, one token after another from the state of each layer: the loss only. */

enum { V = 11, D = 8, LAYERS = 2, H = 2, CONTEXT = 12, R = 3, F = 13, M = 3 };
static const LrnnConfig config = {V, D, LAYERS, H, CONTEXT, R, F, M};

/// The arrays of a layer, in the order of lrnn.h.
typedef struct {
    double *ln1_weight, *ln1_bias, *ln2_weight, *ln2_bias, *shift_1, *shift_2, *shift_4, *mix_r, *mix_k, *mix_v;
    double *lora_a, *lora_b, *decay_base, *time_first, *wr, *wk, *wv, *wo;
    double *channel_mix, *ffn_gate, *ffn_up, *ffn_down, *gate_write, *gate_read;
} Weights;

enum { BEFORE = 3, PER_LAYER = sizeof(Weights) / sizeof(double*), TENSORS = BEFORE + LAYERS * PER_LAYER + 3 };

typedef struct {
    double past[4][D], numerators[M][D], denominators[M][D], previous[D];
} State;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double clamped_exp(double x) { return exp(x > 10 ? 10 : x < -10 ? -10 : x); }
static double mixed(double weight, double a, double b) { return a * sigmoid(weight) + b * (1 - sigmoid(weight)); }

static void apply(const double* x, const double* w, int in, int out, double* y) {
    for (int j = 0; j < out; j++) {
        y[j] = 0;
        for (int i = 0; i < in; i++) y[j] += x[i] * w[i * out + j];
    }
}

static void layer_norm(const double* x, const double* weight, const double* bias, double* y) {
    double mean = 0, squares = 0;
    for (int j = 0; j < D; j++) mean += x[j] / D;
    for (int j = 0; j < D; j++) squares += (x[j] - mean) * (x[j] - mean);
    for (int j = 0; j < D; j++) y[j] = (x[j] - mean) / sqrt(squares / D + 1e-6) * weight[j] + bias[j];
}

static void softmax(double* p) {
    double sum = 0;
    for (int m = 0; m < M; m++) sum += p[m] = exp(p[m]);
    for (int m = 0; m < M; m++) p[m] /= sum;
}

/// What slot memory answers to one token, which it then writes.
static void remember(const Weights* w, State* state, const double* n, const double* k, const double* v, double* wkv) {
    double low[R], decay[D], write[M], read[M];
    apply(n, w->lora_a, D, R, low);
    apply(low, w->lora_b, R, D, decay);
    apply(n, w->gate_write, D, M, write);
    apply(n, w->gate_read, D, M, read);
    softmax(write);
    softmax(read);
    for (int j = 0; j < D; j++) {
        const double f = clamped_exp(w->time_first[j]), slope = pow(2, -8.0 * (j / (D / H) + 1) / H);
        const double kept = sigmoid(w->decay_base[j] + decay[j]) * exp(-slope);
        double top = f * k[j] * v[j], bottom = f * k[j] + 1e-6;
        for (int m = 0; m < M; m++) {
            top += read[m] * state->numerators[m][j];
            bottom += read[m] * state->denominators[m][j];
            state->numerators[m][j] = kept * state->numerators[m][j] + write[m] * k[j] * v[j];
            state->denominators[m][j] = kept * state->denominators[m][j] + write[m] * k[j];
        }
        wkv[j] = top / bottom;
    }
}

static void time_mix(const Weights* w, State* state, double* x) {
    double n[D], x_r[D], x_k[D], x_v[D], r[D], k[D], v[D], wkv[D], y[D];
    layer_norm(x, w->ln1_weight, w->ln1_bias, n);
    for (int j = 0; j < D; j++) {
        const double u1 = sigmoid(w->shift_1[j]), u2 = sigmoid(w->shift_2[j]), u4 = sigmoid(w->shift_4[j]);
        const double sum = u1 * state->past[0][j] + u2 * state->past[1][j] + u4 * state->past[3][j];
        const double shifted = sum / (u1 + u2 + u4 + 1e-6);
        x_r[j] = mixed(w->mix_r[j], n[j], shifted);
        x_k[j] = mixed(w->mix_k[j], n[j], shifted);
        x_v[j] = mixed(w->mix_v[j], n[j], shifted);
        for (int i = 3; i > 0; i--) state->past[i][j] = state->past[i - 1][j];
        state->past[0][j] = n[j];
    }
    apply(x_r, w->wr, D, D, r);
    apply(x_k, w->wk, D, D, k);
    apply(x_v, w->wv, D, D, v);
    for (int j = 0; j < D; j++) k[j] = clamped_exp(k[j]);
    remember(w, state, n, k, v, wkv);
    for (int j = 0; j < D; j++) wkv[j] *= sigmoid(r[j]);
    apply(wkv, w->wo, D, D, y);
    for (int j = 0; j < D; j++) x[j] += y[j];
}

static void channel_mix(const Weights* w, State* state, double* x) {
    double n[D], y[D], gate[F], up[F];
    layer_norm(x, w->ln2_weight, w->ln2_bias, n);
    for (int j = 0; j < D; j++) {
        y[j] = mixed(w->channel_mix[j], n[j], state->previous[j]);
        state->previous[j] = n[j];
    }
    apply(y, w->ffn_gate, D, F, gate);
    apply(y, w->ffn_up, D, F, up);
    for (int i = 0; i < F; i++) gate[i] *= sigmoid(gate[i]) * up[i];
    apply(gate, w->ffn_down, F, D, y);
    for (int j = 0; j < D; j++) x[j] += y[j];
}

static double reference_loss(double* const* w, const int* inputs, const int* targets, int length) {
    State states[LAYERS] = {{{{0}}, {{0}}, {{0}}, {0}}};
    double* const* after = w + BEFORE + LAYERS * PER_LAYER;
    double loss = 0;
    int count = 0;
    for (int t = 0; t < length; t++) {
        double x[D], n[D], logits[V], sum = 0;
        layer_norm(w[0] + inputs[t] * D, w[1], w[2], x);
        for (int l = 0; l < LAYERS; l++) {
            const Weights* const layer = (const Weights*)(const void*)(w + BEFORE + l * PER_LAYER);
            time_mix(layer, &states[l], x);
            channel_mix(layer, &states[l], x);
        }
        if (targets[t] < 0) continue;
        layer_norm(x, after[0], after[1], n);
        apply(n, after[2], D, V, logits);
        for (int j = 0; j < V; j++) sum += exp(logits[j]);
        loss += log(sum) - logits[targets[t]];
        count++;
    }
    return loss / count;
}

/* The trial: keys on both sides of the clamp, a target that is none, a window shorter than the one before it,
   embeddings small enough for the norm of the gradient to be clipped. */

typedef struct {
    int elements;
    Lrnn* fast;
    double *w[TENSORS], *values, *slopes, *first, *second;
    float* found;
    int inputs[CONTEXT], targets[CONTEXT];
} Trial;

static double next_random(unsigned* state) {
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) / (1 << 24) - 0.5;
}

/// Gradients by central differences, clipped as the step clips them.
static void expect_gradients(Trial* t, int length) {
    const double step = 1e-6;
    double squares = 0;
    for (int e = 0; e < t->elements; e++) {
        const double kept = t->values[e];
        t->values[e] = kept + step;
        const double above = reference_loss(t->w, t->inputs, t->targets, length);
        t->values[e] = kept - step;
        const double below = reference_loss(t->w, t->inputs, t->targets, length);
        t->values[e] = kept;
        t->slopes[e] = (above - below) / (2 * step);
        squares += t->slopes[e] * t->slopes[e];
    }
    for (int e = 0; e < t->elements; e++) t->slopes[e] *= fmin(1, 5 / sqrt(squares));
}

/// Values of array `index` in `found` that are not near the expected ones; errors count against the largest of them.
static int count_wrong(const Trial* t, int index, const double* expected, double tolerance) {
    const int count = (int)lrnn_elements(config, index);
    double largest = 1e-6;
    int wrong = 0;
    for (int i = 0; i < count; i++) largest = fmax(largest, fabs(expected[i]));
    for (int i = 0; i < count; i++) wrong += !(fabs(t->found[i] - expected[i]) <= tolerance * largest);
    return wrong;
}

/// Step `step` of both on the first `length` tokens.
static int compare_step(Trial* t, int step, int length) {
    const double rate = 0.01, loss = reference_loss(t->w, t->inputs, t->targets, length);
    expect_gradients(t, length);
    int wrong = !(fabs(lrnn_step(t->fast, t->inputs, t->targets, length, (float)rate) - loss) <= 1e-5 * loss);
    for (int i = 0; i < TENSORS; i++) {
        const int start = (int)(t->w[i] - t->values), count = (int)lrnn_elements(config, i);
        lrnn_gradient(t->fast, i, t->found);
        wrong += count_wrong(t, i, t->slopes + start, 2e-4);
        for (int e = start; e < start + count; e++) {
            const double g = t->found[e - start];
            t->first[e] = 0.9 * t->first[e] + 0.1 * g;
            t->second[e] = 0.999 * t->second[e] + 0.001 * g * g;
            const double m = t->first[e] / (1 - pow(0.9, step)), v = t->second[e] / (1 - pow(0.999, step));
            t->values[e] -= rate * m / (sqrt(v) + 1e-8);
        }
        lrnn_parameter(t->fast, i, t->found);
        wrong += count_wrong(t, i, t->w[i], 1e-5);
        for (int e = start; e < start + count; e++) t->values[e] = t->found[e - start];
    }
    return wrong;
}

static int run_trial(Trial* t) {
    const float* parameters[TENSORS];
    unsigned random = 7;
    for (int i = 0, e = 0; i < TENSORS; i++) {
        const double mean = lrnn_elements(config, i) == D ? 0.5 : 0;
        t->w[i] = t->values + e;
        parameters[i] = t->found + e;
        for (const int end = e + (int)lrnn_elements(config, i); e < end; e++)
            t->values[e] = t->found[e] = (float)(mean + 1.2 * next_random(&random));
    }
    Weights* const layer = (Weights*)(void*)(t->w + BEFORE);
    for (int i = 0; i < D; i++) t->found[layer->wk + i * D - t->values] = (float)(layer->wk[i * D] *= 16);
    t->found[layer->time_first - t->values] = (float)(layer->time_first[0] = 11);
    for (int i = 0; i < V * D; i++) t->found[i] = (float)(t->w[0][i] *= 0.01);
    for (int i = 0; i < CONTEXT; i++) {
        t->inputs[i] = (int)((next_random(&random) + 0.5) * V);
        t->targets[i] = i == 4 ? -1 : (int)((next_random(&random) + 0.5) * V);
    }
    t->fast = lrnn_create(config, parameters);
    if (!t->fast) return 1;
    const int wrong = compare_step(t, 1, CONTEXT) + compare_step(t, 2, CONTEXT - 5);
    lrnn_destroy(t->fast);
    return wrong;
}

int lrnn_check(void) {
    Trial t = {0};
    for (int i = 0; i < TENSORS; i++) t.elements += (int)lrnn_elements(config, i);
    const size_t elements = (size_t)t.elements;
    double* const doubles = calloc(4 * elements, sizeof *doubles);
    t.found = calloc(elements, sizeof *t.found);
    t.values = doubles, t.slopes = doubles + elements;
    t.first = doubles + 2 * elements, t.second = doubles + 3 * elements;
    const int wrong = doubles && t.found ? run_trial(&t) : 1;
    free(doubles), free(t.found);
    return wrong;
}
