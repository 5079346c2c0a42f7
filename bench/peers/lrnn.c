#include "lrnn.h"

#include "lrnn_kernels.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `w` and `g` are the arrays of a layer and their gradients, indexed by name. */

enum { EMB, LN0_WEIGHT, LN0_BIAS, BEFORE_LAYERS };
enum {
    LN1_WEIGHT,
    LN1_BIAS,
    LN2_WEIGHT,
    LN2_BIAS,
    SHIFT_1,
    SHIFT_2,
    SHIFT_4,
    MIX_R,
    MIX_K,
    MIX_V,
    LORA_A,
    LORA_B,
    DECAY_BASE,
    TIME_FIRST,
    WR,
    WK,
    WV,
    WO,
    CHANNEL_MIX,
    FFN_GATE,
    FFN_UP,
    FFN_DOWN,
    GATE_WRITE,
    GATE_READ,
    PER_LAYER
};
enum { LN_OUT_WEIGHT, LN_OUT_BIAS, HEAD, AFTER_LAYERS };

/// What the backward pass reads of a layer. The normed inputs n1 and n2 have four rows of zeros above their first.
typedef struct {
    float *normal1, *scale1, *n1, *shifted, *x_r, *x_k, *x_v, *r, *log_k, *k, *v, *low, *decay, *write, *read;
    float *numerators, *denominators, *wkv, *denominator, *gated;
    float *normal2, *scale2, *n2, *y, *gate, *up, *hidden;
} Layer;

struct Lrnn {
    LrnnConfig c;
    size_t elements;
    int steps;
    float *parameters, *gradients, *first_moment, *second_moment;
    float **w, **g;
    Layer* layers;
    float *normal0, *scale0, *x, *change, *normal_out, *scale_out, *n_out, *logits, *alibi, *unit;
    float *dx, *dn, *dshifted, *dx_r, *dx_k, *dx_v, *dgated, *dr, *dk, *dv, *ddecay, *dlow, *dwrite, *dread;
    float *dy, *dgate, *dup, *dhidden, *dnumerator, *ddenominator;
    float* block;
    int* targets;
};

/* Sizes and memory. */

static size_t layer_elements(LrnnConfig c, int name) {
    const size_t d = (size_t)c.dim;
    switch (name) {
        case LORA_A:
        case LORA_B:
            return d * (size_t)c.rank;
        case WR:
        case WK:
        case WV:
        case WO:
            return d * d;
        case FFN_GATE:
        case FFN_UP:
        case FFN_DOWN:
            return d * (size_t)c.ffn;
        case GATE_WRITE:
        case GATE_READ:
            return d * (size_t)c.slots;
        default:
            return d;
    }
}

static int after_layers(LrnnConfig c) { return BEFORE_LAYERS + c.layers * PER_LAYER; }

int lrnn_tensors(LrnnConfig c) { return after_layers(c) + AFTER_LAYERS; }

size_t lrnn_elements(LrnnConfig c, int index) {
    if (index == EMB || index == after_layers(c) + HEAD) return (size_t)c.vocab * (size_t)c.dim;
    if (index < BEFORE_LAYERS || index >= after_layers(c)) return (size_t)c.dim;
    return layer_elements(c, (index - BEFORE_LAYERS) % PER_LAYER);
}

/// Hands out the pieces of one block; without a block it only counts.
typedef struct {
    float* block;
    size_t used;
} Pieces;

static float* take(Pieces* from, size_t floats) {
    float* const piece = from->block ? from->block + from->used : NULL;
    from->used += (floats + 15) / 16 * 16;
    return piece;
}

static void take_each(Pieces* from, float** const* pieces, size_t count, size_t floats) {
    for (size_t i = 0; i < count; i++) *pieces[i] = take(from, floats);
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

/// Rows of `d` floats below LONGEST_LAG more, which stay zero.
static float* take_below_zeros(Pieces* from, size_t rows, size_t d) {
    float* const piece = take(from, (LONGEST_LAG + rows) * d);
    return piece ? piece + LONGEST_LAG * d : NULL;
}

static void lay_out_layer(Layer* l, LrnnConfig c, Pieces* from) {
    const size_t rows = (size_t)c.context, d = (size_t)c.dim, slots = (size_t)c.slots;
    float** const per_dim[] = {&l->normal1, &l->shifted,     &l->x_r,   &l->x_k,     &l->x_v,
                               &l->r,       &l->log_k,       &l->k,     &l->v,       &l->decay,
                               &l->wkv,     &l->denominator, &l->gated, &l->normal2, &l->y};
    float** const per_row[] = {&l->scale1, &l->scale2};
    float** const per_slot[] = {&l->write, &l->read};
    float** const per_state[] = {&l->numerators, &l->denominators};
    float** const per_ffn[] = {&l->gate, &l->up, &l->hidden};
    take_each(from, per_dim, COUNT(per_dim), rows * d);
    take_each(from, per_row, COUNT(per_row), rows);
    take_each(from, per_slot, COUNT(per_slot), rows * slots);
    take_each(from, per_state, COUNT(per_state), rows * slots * d);
    take_each(from, per_ffn, COUNT(per_ffn), rows * (size_t)c.ffn);
    l->low = take(from, rows * (size_t)c.rank);
    l->n1 = take_below_zeros(from, rows, d);
    l->n2 = take_below_zeros(from, rows, d);
}

static size_t lay_out(Lrnn* m, float* block) {
    const LrnnConfig c = m->c;
    const size_t rows = (size_t)c.context, d = (size_t)c.dim;
    Pieces from = {block, 0};
    float** const per_weight[] = {&m->parameters, &m->gradients, &m->first_moment, &m->second_moment};
    float** const per_dim[] = {&m->normal0,  &m->x,    &m->change, &m->normal_out, &m->n_out,  &m->dx,
                               &m->dshifted, &m->dx_r, &m->dx_k,   &m->dx_v,       &m->dgated, &m->dr,
                               &m->dk,       &m->dv,   &m->ddecay, &m->dy};
    float** const per_row[] = {&m->scale0, &m->scale_out};
    float** const per_slot[] = {&m->dwrite, &m->dread};
    float** const per_ffn[] = {&m->dgate, &m->dup, &m->dhidden};
    float** const per_state[] = {&m->dnumerator, &m->ddenominator};
    take_each(&from, per_weight, COUNT(per_weight), m->elements);
    take_each(&from, per_dim, COUNT(per_dim), rows * d);
    take_each(&from, per_row, COUNT(per_row), rows);
    take_each(&from, per_slot, COUNT(per_slot), rows * (size_t)c.slots);
    take_each(&from, per_ffn, COUNT(per_ffn), rows * (size_t)c.ffn);
    take_each(&from, per_state, COUNT(per_state), (size_t)c.slots * d);
    m->dlow = take(&from, rows * (size_t)c.rank);
    m->dn = take_below_zeros(&from, rows, d);
    m->logits = take(&from, rows * (size_t)c.vocab);
    m->alibi = take(&from, d);
    m->unit = take(&from, 2 * LAGS * d);
    for (int i = 0; i < c.layers; i++) lay_out_layer(&m->layers[i], c, &from);
    return from.used;
}

void lrnn_destroy(Lrnn* m) {
    if (!m) return;
    free(m->block), free(m->targets), free(m->layers), free(m->w), free(m->g), free(m);
}

Lrnn* lrnn_create(LrnnConfig c, const float* const* parameters) {
    const int tensors = lrnn_tensors(c);
    Lrnn* m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->c = c;
    for (int i = 0; i < tensors; i++) m->elements += lrnn_elements(c, i);
    m->layers = calloc((size_t)c.layers, sizeof *m->layers);
    m->targets = calloc((size_t)c.context, sizeof *m->targets);
    m->w = calloc((size_t)tensors, sizeof *m->w);
    m->g = calloc((size_t)tensors, sizeof *m->g);
    const size_t bytes = m->layers ? lay_out(m, NULL) * sizeof(float) : 0;
    if (m->layers && m->targets && m->w && m->g) m->block = aligned_alloc(64, bytes);
    if (!m->block) {
        lrnn_destroy(m);
        return NULL;
    }
    memset(m->block, 0, bytes);
    lay_out(m, m->block);
    float *w = m->parameters, *g = m->gradients;
    for (int i = 0; i < tensors; w += lrnn_elements(c, i), g += lrnn_elements(c, i), i++) {
        m->w[i] = w;
        m->g[i] = g;
        memcpy(w, parameters[i], lrnn_elements(c, i) * sizeof(float));
    }
    for (int j = 0; j < c.dim; j++)
        m->alibi[j] = expf(-powf(2, -8.0f * (float)(j / (c.dim / c.heads) + 1) / (float)c.heads));
    return m;
}

/* Slot memory, N and E of every slot [D]. Position 0 reads zeros, which stay. `unit` holds f = exp(clamp(time_first)).
   Arrays never overlap, but there are too many for the compiler to test it: ivdep says so. */

/// wkv = (Σ read N + f k v) / (Σ read E + f k + EPS); then N = decay alibi N + write k v, E = decay alibi E + write k.
static void scan(const Lrnn* m, const Layer* l, int rows, const float* time_first) {
    const int d = m->c.dim, slots = m->c.slots, state = slots * d;
    const float* alibi = m->alibi;
    float* f = m->unit;
    for (int j = 0; j < d; j++) f[j] = expf(clamp(time_first[j]));
    for (int t = 0; t < rows; t++) {
        const float *k = l->k + t * d, *v = l->v + t * d, *decay = l->decay + t * d;
        float *wkv = l->wkv + t * d, *denominator = l->denominator + t * d;
        for (int j = 0; j < d; j++) {
            wkv[j] = f[j] * k[j] * v[j];
            denominator[j] = f[j] * k[j] + EPS;
        }
        for (int s = 0; s < slots; s++) {
            const float read = l->read[t * slots + s], write = l->write[t * slots + s];
            float *n = l->numerators + t * state + s * d, *e = l->denominators + t * state + s * d;
            for (int j = 0; j < d; j++) {
                wkv[j] += read * n[j];
                denominator[j] += read * e[j];
            }
            if (t + 1 == rows) continue;
#pragma GCC ivdep
            for (int j = 0; j < d; j++) {
                n[state + j] = decay[j] * alibi[j] * n[j] + write * k[j] * v[j];
                e[state + j] = decay[j] * alibi[j] * e[j] + write * k[j];
            }
        }
        for (int j = 0; j < d; j++) wkv[j] /= denominator[j];
    }
}

/// What position t reads, and its own k and v: overwrites dk and dv, and top and bottom, the gradients of the numerator
/// and the denominator of wkv.
static void read_backward(const Lrnn* m, const Layer* l, int t, const float* time_first, float* top, float* bottom,
                          float* dtime_first) {
    const int d = m->c.dim, row = t * d;
    const float *f = m->unit, *k = l->k + row, *v = l->v + row, *r = l->r + row;
    const float *wkv = l->wkv + row, *denominator = l->denominator + row, *dgated = m->dgated + row;
    float *dk = m->dk + row, *dv = m->dv + row;
#pragma GCC ivdep
    for (int j = 0; j < d; j++) {
        top[j] = dgated[j] * r[j] / denominator[j];
        bottom[j] = -top[j] * wkv[j];
        const float dfk = top[j] * v[j] + bottom[j];
        dk[j] = f[j] * dfk;
        dv[j] = f[j] * k[j] * top[j];
        dtime_first[j] += is_clamped(time_first[j]) ? 0 : f[j] * k[j] * dfk;
    }
}

/// From the gradient of gated = r wkv: overwrites those of k, v, decay, read and write.
static void scan_backward(const Lrnn* m, const Layer* l, int rows, const float* time_first, float* dtime_first) {
    const int d = m->c.dim, slots = m->c.slots, state = slots * d;
    const float* alibi = m->alibi;
    float *top = m->unit + d, *bottom = m->unit + 2 * d;
    for (int j = 0; j < d; j++) m->unit[j] = expf(clamp(time_first[j]));
    zero(state, m->dnumerator);
    zero(state, m->ddenominator);
    zero(rows * d, m->ddecay);
    for (int t = rows - 1; t >= 0; t--) {
        read_backward(m, l, t, time_first, top, bottom, dtime_first);
        const float *k = l->k + t * d, *v = l->v + t * d, *decay = l->decay + t * d;
        float *dk = m->dk + t * d, *dv = m->dv + t * d, *ddecay = m->ddecay + t * d;
        for (int s = 0; s < slots; s++) {
            const float read = l->read[t * slots + s], write = l->write[t * slots + s];
            const float *n = l->numerators + t * state + s * d, *e = l->denominators + t * state + s * d;
            float *dn = m->dnumerator + s * d, *de = m->ddenominator + s * d, dread = 0, dwrite = 0;
#pragma GCC ivdep
            for (int j = 0; j < d; j++) {
                const float dwritten = dn[j] * v[j] + de[j];
                dread += top[j] * n[j] + bottom[j] * e[j];
                dwrite += dwritten * k[j];
                dk[j] += write * dwritten;
                dv[j] += write * k[j] * dn[j];
                ddecay[j] += alibi[j] * (dn[j] * n[j] + de[j] * e[j]);
                dn[j] = decay[j] * alibi[j] * dn[j] + read * top[j];
                de[j] = decay[j] * alibi[j] * de[j] + read * bottom[j];
            }
            m->dread[t * slots + s] = dread;
            m->dwrite[t * slots + s] = dwrite;
        }
    }
}

/* A layer. `x` is its input and becomes its output; m->dx likewise, backward. */

static void time_mix(const Lrnn* m, Layer* l, float* const* w, int rows) {
    const int d = m->c.dim, rank = m->c.rank, slots = m->c.slots;
    layer_norm(rows, d, m->x, w[LN1_WEIGHT], w[LN1_BIAS], l->normal1, l->scale1, l->n1);
    shift(rows, d, w[SHIFT_1], l->n1, m->unit, l->shifted);
    mix(rows, d, w[MIX_R], l->n1, l->shifted, m->unit, l->x_r);
    mix(rows, d, w[MIX_K], l->n1, l->shifted, m->unit, l->x_k);
    mix(rows, d, w[MIX_V], l->n1, l->shifted, m->unit, l->x_v);
    product(rows, d, d, l->x_r, w[WR], l->r);
    product(rows, d, d, l->x_k, w[WK], l->log_k);
    product(rows, d, d, l->x_v, w[WV], l->v);
    product(rows, d, rank, l->n1, w[LORA_A], l->low);
    product(rows, rank, d, l->low, w[LORA_B], l->decay);
    product(rows, d, slots, l->n1, w[GATE_WRITE], l->write);
    product(rows, d, slots, l->n1, w[GATE_READ], l->read);
    softmax(rows, slots, l->write);
    softmax(rows, slots, l->read);
    for (int t = 0; t < rows; t++)
        for (int i = t * d, j = 0; j < d; i++, j++) {
            l->r[i] = sigmoid(l->r[i]);
            l->k[i] = expf(clamp(l->log_k[i]));
            l->decay[i] = sigmoid(w[DECAY_BASE][j] + l->decay[i]);
        }
    scan(m, l, rows, w[TIME_FIRST]);
    for (int i = 0; i < rows * d; i++) l->gated[i] = l->r[i] * l->wkv[i];
    product(rows, d, d, l->gated, w[WO], m->change);
    add(rows * d, m->change, m->x);
}

static void channel_mix(const Lrnn* m, Layer* l, float* const* w, int rows) {
    const int d = m->c.dim, f = m->c.ffn;
    layer_norm(rows, d, m->x, w[LN2_WEIGHT], w[LN2_BIAS], l->normal2, l->scale2, l->n2);
    mix(rows, d, w[CHANNEL_MIX], l->n2, l->n2 - d, m->unit, l->y);
    product(rows, d, f, l->y, w[FFN_GATE], l->gate);
    product(rows, d, f, l->y, w[FFN_UP], l->up);
    for (int i = 0; i < rows * f; i++) l->hidden[i] = l->gate[i] * sigmoid(l->gate[i]) * l->up[i];
    product(rows, f, d, l->hidden, w[FFN_DOWN], m->change);
    add(rows * d, m->change, m->x);
}

static void zero_dn(const Lrnn* m, int rows) { zero((LONGEST_LAG + rows) * m->c.dim, m->dn - LONGEST_LAG * m->c.dim); }

static void channel_mix_backward(const Lrnn* m, const Layer* l, float* const* w, float* const* g, int rows) {
    const int d = m->c.dim, f = m->c.ffn;
    zero(rows * f, m->dhidden);
    zero(rows * d, m->dy);
    zero_dn(m, rows);
    product_backward(rows, f, d, l->hidden, w[FFN_DOWN], m->dx, m->dhidden, g[FFN_DOWN]);
    for (int i = 0; i < rows * f; i++) {
        const float sigma = sigmoid(l->gate[i]);
        m->dup[i] = m->dhidden[i] * l->gate[i] * sigma;
        m->dgate[i] = m->dhidden[i] * l->up[i] * sigma * (1 + l->gate[i] * (1 - sigma));
    }
    product_backward(rows, d, f, l->y, w[FFN_GATE], m->dgate, m->dy, g[FFN_GATE]);
    product_backward(rows, d, f, l->y, w[FFN_UP], m->dup, m->dy, g[FFN_UP]);
    mix_backward(rows, d, w[CHANNEL_MIX], l->n2, l->n2 - d, m->dy, m->unit, m->dn, m->dn - d, g[CHANNEL_MIX]);
    layer_norm_backward(rows, d, l->normal2, l->scale2, w[LN2_WEIGHT], m->dn, m->dx, g[LN2_WEIGHT], g[LN2_BIAS]);
}

/// The gradients of r, k and decay become those of what stands in their sigmoids and exponential.
static void gates_backward(const Lrnn* m, const Layer* l, int rows, float* ddecay_base) {
    const int d = m->c.dim;
    for (int t = 0; t < rows; t++)
        for (int i = t * d, j = 0; j < d; i++, j++) {
            m->dr[i] = m->dgated[i] * l->wkv[i] * l->r[i] * (1 - l->r[i]);
            m->dk[i] *= is_clamped(l->log_k[i]) ? 0 : l->k[i];
            m->ddecay[i] *= l->decay[i] * (1 - l->decay[i]);
            ddecay_base[j] += m->ddecay[i];
        }
}

static void time_mix_backward(const Lrnn* m, const Layer* l, float* const* w, float* const* g, int rows) {
    const int d = m->c.dim, rank = m->c.rank, slots = m->c.slots;
    float* const to_zero[] = {m->dgated, m->dx_r, m->dx_k, m->dx_v, m->dshifted};
    for (size_t i = 0; i < COUNT(to_zero); i++) zero(rows * d, to_zero[i]);
    zero(rows * rank, m->dlow);
    zero_dn(m, rows);
    product_backward(rows, d, d, l->gated, w[WO], m->dx, m->dgated, g[WO]);
    scan_backward(m, l, rows, w[TIME_FIRST], g[TIME_FIRST]);
    gates_backward(m, l, rows, g[DECAY_BASE]);
    softmax_backward(rows, slots, l->write, m->dwrite);
    softmax_backward(rows, slots, l->read, m->dread);
    product_backward(rows, d, slots, l->n1, w[GATE_WRITE], m->dwrite, m->dn, g[GATE_WRITE]);
    product_backward(rows, d, slots, l->n1, w[GATE_READ], m->dread, m->dn, g[GATE_READ]);
    product_backward(rows, rank, d, l->low, w[LORA_B], m->ddecay, m->dlow, g[LORA_B]);
    product_backward(rows, d, rank, l->n1, w[LORA_A], m->dlow, m->dn, g[LORA_A]);
    product_backward(rows, d, d, l->x_r, w[WR], m->dr, m->dx_r, g[WR]);
    product_backward(rows, d, d, l->x_k, w[WK], m->dk, m->dx_k, g[WK]);
    product_backward(rows, d, d, l->x_v, w[WV], m->dv, m->dx_v, g[WV]);
    mix_backward(rows, d, w[MIX_R], l->n1, l->shifted, m->dx_r, m->unit, m->dn, m->dshifted, g[MIX_R]);
    mix_backward(rows, d, w[MIX_K], l->n1, l->shifted, m->dx_k, m->unit, m->dn, m->dshifted, g[MIX_K]);
    mix_backward(rows, d, w[MIX_V], l->n1, l->shifted, m->dx_v, m->unit, m->dn, m->dshifted, g[MIX_V]);
    shift_backward(rows, d, w[SHIFT_1], l->n1, l->shifted, m->dshifted, m->unit, m->dn, g[SHIFT_1]);
    layer_norm_backward(rows, d, l->normal1, l->scale1, w[LN1_WEIGHT], m->dn, m->dx, g[LN1_WEIGHT], g[LN1_BIAS]);
}

/* The model. */

static float forward(const Lrnn* m, const int* inputs, const int* targets, int rows) {
    const int d = m->c.dim;
    float* const* after = m->w + after_layers(m->c);
    for (int t = 0; t < rows; t++) memcpy(m->change + t * d, m->w[EMB] + inputs[t] * d, (size_t)d * sizeof(float));
    layer_norm(rows, d, m->change, m->w[LN0_WEIGHT], m->w[LN0_BIAS], m->normal0, m->scale0, m->x);
    for (int i = 0; i < m->c.layers; i++) {
        float* const* w = m->w + BEFORE_LAYERS + i * PER_LAYER;
        time_mix(m, &m->layers[i], w, rows);
        channel_mix(m, &m->layers[i], w, rows);
    }
    layer_norm(rows, d, m->x, after[LN_OUT_WEIGHT], after[LN_OUT_BIAS], m->normal_out, m->scale_out, m->n_out);
    product(rows, d, m->c.vocab, m->n_out, after[HEAD], m->logits);
    return cross_entropy(rows, m->c.vocab, targets, m->logits);
}

static void backward(const Lrnn* m, const int* inputs, int rows) {
    const int d = m->c.dim, end = after_layers(m->c);
    float *const *after = m->w + end, *const *after_g = m->g + end;
    memset(m->gradients, 0, m->elements * sizeof(float));
    zero(rows * d, m->dx);
    zero_dn(m, rows);
    product_backward(rows, d, m->c.vocab, m->n_out, after[HEAD], m->logits, m->dn, after_g[HEAD]);
    layer_norm_backward(rows, d, m->normal_out, m->scale_out, after[LN_OUT_WEIGHT], m->dn, m->dx,
                        after_g[LN_OUT_WEIGHT], after_g[LN_OUT_BIAS]);
    for (int i = m->c.layers - 1; i >= 0; i--) {
        const int first = BEFORE_LAYERS + i * PER_LAYER;
        channel_mix_backward(m, &m->layers[i], m->w + first, m->g + first, rows);
        time_mix_backward(m, &m->layers[i], m->w + first, m->g + first, rows);
    }
    zero(rows * d, m->dy);
    layer_norm_backward(rows, d, m->normal0, m->scale0, m->w[LN0_WEIGHT], m->dx, m->dy, m->g[LN0_WEIGHT],
                        m->g[LN0_BIAS]);
    for (int t = 0; t < rows; t++) add(d, m->dy + t * d, m->g[EMB] + inputs[t] * d);
}

static void clip(const Lrnn* m, double largest) {
    double squares = 0;
    for (size_t i = 0; i < m->elements; i++) squares += (double)m->gradients[i] * m->gradients[i];
    const float scale = (float)(largest / sqrt(squares));
    if (scale < 1)
        for (size_t i = 0; i < m->elements; i++) m->gradients[i] *= scale;
}

/// Adam(0.9, 0.999, 1e-8).
static void adam(Lrnn* m, float learning_rate) {
    m->steps++;
    const float correction1 = (float)(1 - pow(0.9, m->steps)), correction2 = (float)(1 - pow(0.999, m->steps));
    float *p = m->parameters, *first = m->first_moment, *second = m->second_moment, *g = m->gradients;
    for (size_t i = 0; i < m->elements; i++) {
        first[i] += 0.1f * (g[i] - first[i]);
        second[i] += 0.001f * (g[i] * g[i] - second[i]);
        p[i] -= learning_rate * (first[i] / correction1) / (sqrtf(second[i] / correction2) + 1e-8f);
    }
}

/// By its bits: -ffast-math takes every number for finite.
static int is_finite(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7f800000) != 0x7f800000;
}

float lrnn_step(Lrnn* m, const int* inputs, const int* targets, int length, float learning_rate) {
    const float loss = forward(m, inputs, targets, length);
    if (!is_finite(loss)) return loss;
    backward(m, inputs, length);
    clip(m, 5);
    adam(m, learning_rate);
    return loss;
}

float lrnn_epoch(Lrnn* m, const int* tokens, int count, int offset, float learning_rate, int* skipped) {
    double sum = 0;
    int windows = 0;
    for (int start = offset; start + 1 < count; start += m->c.context) {
        const int length = count - start < m->c.context ? count - start : m->c.context;
        memcpy(m->targets, tokens + start + 1, (size_t)(length - 1) * sizeof(int));
        m->targets[length - 1] = -1;
        const float loss = lrnn_step(m, tokens + start, m->targets, length, learning_rate);
        if (is_finite(loss)) {
            sum += loss;
            windows++;
        } else {
            ++*skipped;
        }
    }
    return (float)(sum / windows);
}

void lrnn_parameter(const Lrnn* m, int index, float* values) {
    memcpy(values, m->w[index], lrnn_elements(m->c, index) * sizeof(float));
}

void lrnn_gradient(const Lrnn* m, int index, float* values) {
    memcpy(values, m->g[index], lrnn_elements(m->c, index) * sizeof(float));
}

/* The checkpoint: magic, sizes, vocabulary, then every array with its rows and columns; of a vector n x 1. */

static int rows_of(LrnnConfig c, int index) {
    const int after = after_layers(c);
    if (index == EMB) return c.vocab;
    if (index < BEFORE_LAYERS || index >= after) return c.dim;
    switch ((index - BEFORE_LAYERS) % PER_LAYER) {
        case LORA_B:
            return c.rank;
        case FFN_DOWN:
            return c.ffn;
        default:
            return c.dim;
    }
}

/// The multiplier whose product with dim, cut off, is ffn.
static float ffn_multiplier(LrnnConfig c) {
    const volatile float quotient = (float)c.ffn / (float)c.dim;  // -ffast-math would make its product exact
    return (int)(quotient * (float)c.dim) < c.ffn ? nextafterf(quotient, FLT_MAX) : quotient;
}

static void save_ints(FILE* file, const int32_t* values, size_t count) { fwrite(values, sizeof *values, count, file); }

static void save_characters(FILE* file, const unsigned char* characters, int count) {
    int32_t index_of[256] = {0};
    for (int32_t i = 0; i < count; i++) index_of[characters[i]] = i;
    save_ints(file, (const int32_t[]){count}, 1);
    fwrite(characters, 1, (size_t)count, file);
    save_ints(file, index_of, COUNT(index_of));
}

int lrnn_save(const Lrnn* m, const unsigned char* characters, const char* path) {
    FILE* const file = fopen(path, "wb");
    if (!file) return -1;
    const LrnnConfig c = m->c;
    const float multiplier = ffn_multiplier(c);
    fwrite("lrnnC01", 1, 8, file);
    save_ints(file, (const int32_t[]){c.vocab, c.layers, c.dim, c.heads, c.context, c.rank}, 6);
    fwrite(&multiplier, sizeof multiplier, 1, file);
    save_ints(file, (const int32_t[]){c.slots}, 1);
    save_characters(file, characters, c.vocab);
    for (int i = 0; i < lrnn_tensors(c); i++) {
        const size_t count = lrnn_elements(c, i), rows = (size_t)rows_of(c, i);
        if (i == BEFORE_LAYERS) save_ints(file, (const int32_t[]){c.layers}, 1);
        save_ints(file, (const int32_t[]){(int32_t)rows, (int32_t)(count / rows)}, 2);
        fwrite(m->w[i], sizeof(float), count, file);
    }
    const int failed = ferror(file);
    return fclose(file) || failed ? -1 : 0;
}
