#include "microgpt.h"

#include "microgpt_simd.h"

#include <math.h>
#include <string.h>

enum { LOGITS = 32, ROW_PAD = 16 };

struct Microgpt {
    int dim;
    int weights;
    double beta1_power;
    double beta2_power;
    float *parameters, *gradients, *first_moment, *second_moment;
    float *x0, *scale, *normed, *qkv, *attention, *probability, *x1, *hidden, *x2, *logits;
    float *dx, *dhidden, *dattention, *dqkv, *dnormed, *transposed;
};

/// Where each tensor lives: q, k and v are fused as [D,3D], the rows of wout are padded with zeros to 32.
typedef struct {
    size_t start;
    int rows, columns, stride;
} Place;

static Place place(int dim, int index) {
    const size_t d = (size_t)dim, fused = (MICROGPT_VOCAB + MICROGPT_CONTEXT) * d, square = d * d;
    switch (index) {
        case 0:
            return (Place){0, MICROGPT_VOCAB, dim, dim};
        case 1:
            return (Place){MICROGPT_VOCAB * d, MICROGPT_CONTEXT, dim, dim};
        case 2:
        case 3:
        case 4:
            return (Place){fused + (size_t)(index - 2) * d, dim, dim, 3 * dim};
        case 5:
            return (Place){fused + 3 * square, dim, dim, dim};
        case 6:
            return (Place){fused + 4 * square, dim, 4 * dim, 4 * dim};
        case 7:
            return (Place){fused + 8 * square, 4 * dim, dim, dim};
        case 8:
            return (Place){fused + 12 * square, dim, MICROGPT_VOCAB, LOGITS};
        default:
            return (Place){fused + 12 * square + LOGITS * d, 0, 0, 0};
    }
}

/// Hands out the pieces of the state; with a null `memory` it only counts bytes.
static float* carve(char* memory, size_t* used, size_t floats) {
    char* piece = memory ? memory + *used : NULL;
    *used += (floats * sizeof(float) + 63) / 64 * 64;
    return (float*)(void*)piece;
}

static size_t lay_out(Microgpt* m, char* memory, MicrogptConfig config) {
    const size_t d = (size_t)config.dim, rows = (size_t)config.max_positions + ROW_PAD;
    const size_t weights = place(config.dim, MICROGPT_TENSORS).start;
    size_t used = (sizeof(Microgpt) + 63) / 64 * 64;
    float** const per_weight[] = {&m->parameters, &m->gradients, &m->first_moment, &m->second_moment};
    float** const per_dim[] = {&m->x0, &m->normed, &m->attention, &m->x1, &m->x2, &m->dx, &m->dattention, &m->dnormed};
    for (size_t i = 0; i < sizeof per_weight / sizeof *per_weight; i++) *per_weight[i] = carve(memory, &used, weights);
    for (size_t i = 0; i < sizeof per_dim / sizeof *per_dim; i++) *per_dim[i] = carve(memory, &used, rows * d);
    m->scale = carve(memory, &used, rows);
    m->qkv = carve(memory, &used, rows * d * 3);
    m->dqkv = carve(memory, &used, rows * d * 3);
    m->hidden = carve(memory, &used, rows * d * 4);
    m->dhidden = carve(memory, &used, rows * d * 4);
    m->logits = carve(memory, &used, rows * LOGITS);
    m->probability = carve(memory, &used, rows * 64 * (size_t)MICROGPT_HEADS);
    m->transposed = carve(memory, &used, d * 4 * d);
    m->dim = config.dim;
    m->weights = (int)weights;
    return used;
}

size_t microgpt_size(MicrogptConfig config) {
    Microgpt plan;
    return lay_out(&plan, NULL, config);
}

Microgpt* microgpt_init(void* memory, MicrogptConfig config, const float* const parameters[MICROGPT_TENSORS]) {
    memset(memory, 0, microgpt_size(config));
    Microgpt* m = memory;
    lay_out(m, memory, config);
    m->beta1_power = m->beta2_power = 1;
    for (int i = 0; i < MICROGPT_TENSORS; i++) {
        const Place p = place(config.dim, i);
        for (int r = 0; r < p.rows; r++)
            memcpy(m->parameters + p.start + r * p.stride, parameters[i] + r * p.columns,
                   (size_t)p.columns * sizeof(float));
    }
    return m;
}

size_t microgpt_elements(const Microgpt* m, int index) {
    const Place p = place(m->dim, index);
    return (size_t)p.rows * (size_t)p.columns;
}

static void read_out(const float* from, Place p, float* values) {
    for (int r = 0; r < p.rows; r++)
        memcpy(values + r * p.columns, from + p.start + r * p.stride, (size_t)p.columns * sizeof(float));
}

void microgpt_parameter(const Microgpt* m, int index, float* values) {
    read_out(m->parameters, place(m->dim, index), values);
}

void microgpt_gradient(const Microgpt* m, int index, float* values) {
    read_out(m->gradients, place(m->dim, index), values);
}

/* Attention of one sequence. Scores of four keys share one vector: lane i of a group is key 4b + i. A unit is what one
   such vector serves: WIDTH lanes of heads (narrow heads) or one head of several vectors (wide heads). The last block
   reads up to three rows past the sequence: their weight is 0, and what is written there is overwritten by the next
   sequence. */

enum { BLOCKS = MICROGPT_CONTEXT / 4 };

INLINE int unit_width(int dim) { return dim / MICROGPT_HEADS > WIDTH ? dim / MICROGPT_HEADS : WIDTH; }

/// Lane i of every group of a head: x . y[i], y being four rows that are `stride` apart.
INLINE vec four_dots(const float* x, const float* y, int stride, int dim) {
    vec p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = load(x) * load(y + i * stride);
        for (int j = WIDTH; j < unit_width(dim); j += WIDTH) p[i] += load(x + j) * load(y + i * stride + j);
    }
    return sum_groups(sums_of_four(p), dim / MICROGPT_HEADS / 4);
}

/// y = sum over the keys of weight x, x being rows that are `stride` apart.
INLINE void mix(const vec* weight, int blocks, const float* x, int stride, int dim, float* y) {
    for (int j = 0; j < unit_width(dim); j += WIDTH) {
        vec sum = {0};
        for (int b = 0; b < blocks; b++) {
            vec w[4];
            spread(weight[b], w);
            for (int i = 0; i < 4; i++) sum += w[i] * load(x + (4 * b + i) * stride + j);
        }
        store(y + j, sum);
    }
}

INLINE void attend(int length, int dim, const float* qkv, float* probability, float* out) {
    const int unit = unit_width(dim), stride = 3 * dim;
    const float log2_scale = 1.4426950409f / sqrtf((float)(dim / MICROGPT_HEADS));
    const ivec lane = {PER_GROUP(LANES_IN_GROUP)};
    for (int u = 0; u < dim; u += unit)
        for (int t = 0; t < length; t++) {
            const int blocks = t / 4 + 1;
            vec score[BLOCKS], top = splat(-1e30f), sum = {0};
            vec* p = (vec*)probability + (t * (dim / unit) + u / unit) * BLOCKS;
            for (int b = 0; b < blocks; b++) {
                score[b] = four_dots(qkv + t * stride + u, qkv + 4 * b * stride + dim + u, stride, dim) * log2_scale;
                if (b == blocks - 1) score[b] += keep_where(lane > t % 4, splat(-1e30f));
                top = maximum(top, score[b]);
            }
            top = maximum_in_group(top);
            for (int b = 0; b < blocks; b++) sum += score[b] = exp2_negative(score[b] - top);
            sum = 1 / sum_in_group(sum);
            for (int b = 0; b < blocks; b++) p[b] = score[b] * sum;
            mix(p, blocks, qkv + 2 * dim + u, stride, dim, out + t * dim + u);
        }
}

/// The gradients of the keys and values of block b: sums over the queries that see it.
INLINE void attend_backward_keys(int length, int dim, int b, const float* q, const float* dout, const vec* p,
                                 int p_stride, const vec* dscore, float* dk, float* dv) {
    for (int j = 0; j < unit_width(dim); j += WIDTH) {
        vec sum_k[4] = {{0}}, sum_v[4] = {{0}};
        for (int t = 4 * b; t < length; t++) {
            vec ds[4], w[4];
            spread(dscore[t * BLOCKS + b], ds);
            spread(p[t * p_stride + b], w);
            for (int i = 0; i < 4; i++) {
                sum_k[i] += ds[i] * load(q + t * 3 * dim + j);
                sum_v[i] += w[i] * load(dout + t * dim + j);
            }
        }
        for (int i = 0; i < 4; i++) {
            store(dk + (4 * b + i) * 3 * dim + j, sum_k[i]);
            store(dv + (4 * b + i) * 3 * dim + j, sum_v[i]);
        }
    }
}

INLINE void attend_backward(int length, int dim, const float* qkv, const float* probability, const float* dout,
                            float* dqkv) {
    const int unit = unit_width(dim), stride = 3 * dim, p_stride = dim / unit * BLOCKS;
    const float scale = 1 / sqrtf((float)(dim / MICROGPT_HEADS));
    vec dscore[MICROGPT_CONTEXT * BLOCKS];
    for (int u = 0; u < dim; u += unit) {
        const vec* p = (const vec*)probability + u / unit * BLOCKS;
        for (int t = 0; t < length; t++) {
            const int blocks = t / 4 + 1;
            vec* ds = dscore + t * BLOCKS;
            vec sum = {0};
            for (int b = 0; b < blocks; b++) {
                ds[b] = four_dots(dout + t * dim + u, qkv + 4 * b * stride + 2 * dim + u, stride, dim);
                sum += ds[b] * p[t * p_stride + b];
            }
            sum = sum_in_group(sum);
            for (int b = 0; b < blocks; b++) ds[b] = (ds[b] - sum) * p[t * p_stride + b] * scale;
            mix(ds, blocks, qkv + dim + u, stride, dim, dqkv + t * stride + u);
        }
        for (int b = 0; 4 * b < length; b++)
            attend_backward_keys(length, dim, b, qkv + u, dout + u, p, p_stride, dscore, dqkv + dim + u,
                                 dqkv + 2 * dim + u);
    }
}

/* The rest of the model, row by row. */

INLINE void embed(int dim, int length, const int* tokens, const float* wte, const float* wpe, float* x, float* scale,
                  float* normed) {
    for (int t = 0; t < length; t++) {
        vec squares = {0};
        for (int j = 0; j < dim; j += WIDTH) {
            const vec e = load(wte + tokens[t] * dim + j) + load(wpe + t * dim + j);
            squares += e * e;
            store(x + t * dim + j, e);
        }
        scale[t] = 1 / sqrtf(sum_all(squares)[0] / (float)dim + 1e-5f);
        for (int j = 0; j < dim; j += WIDTH) store(normed + t * dim + j, load(x + t * dim + j) * scale[t]);
    }
}

/// The gradient through the norm, the residual beside it, and into both embeddings.
INLINE void embed_backward(int dim, int length, const int* tokens, const float* scale, const float* normed,
                           const float* dnormed, const float* dx, float* dwte, float* dwpe) {
    for (int t = 0; t < length; t++) {
        vec dots = {0};
        for (int j = 0; j < dim; j += WIDTH) dots += load(normed + t * dim + j) * load(dnormed + t * dim + j);
        const vec mean = sum_all(dots) * (1.0f / (float)dim);
        float* const dtoken = dwte + tokens[t] * dim;
        float* const dposition = dwpe + t * dim;
        for (int j = 0; j < dim; j += WIDTH) {
            const vec through = load(dnormed + t * dim + j) - load(normed + t * dim + j) * mean;
            const vec d = load(dx + t * dim + j) + through * scale[t];
            store(dtoken + j, load(dtoken + j) + d);
            store(dposition + j, load(dposition + j) + d);
        }
    }
}

/// Mean cross entropy; turns logits into their gradient. The logs of sixteen sums (at most 27 each) are taken as one.
INLINE float cross_entropy(int rows, const int* targets, float* logits) {
    const ivec count = {PER_GROUP(LANES_COUNT)};
    const float mean = 1.0f / (float)rows;
    float loss = 0, product = 1;
    for (int r = 0; r < rows; r++) {
        float* const y = logits + r * LOGITS;
        vec x[LOGITS / WIDTH], top = splat(-1e30f), sum = {0};
        for (int v = 0; v < LOGITS / WIDTH; v++) {
            x[v] = load(y + v * WIDTH);
            if ((v + 1) * WIDTH > MICROGPT_VOCAB)
                x[v] += keep_where(count >= MICROGPT_VOCAB - v * WIDTH, splat(-1e30f));
            top = maximum(top, x[v]);
        }
        top = maximum_all(top);
        loss += top[0] - y[targets[r]];
        for (int v = 0; v < LOGITS / WIDTH; v++) sum += x[v] = exp2_negative((x[v] - top) * 1.4426950409f);
        sum = sum_all(sum);
        product *= sum[0];
        sum = mean / sum;
        for (int v = 0; v < LOGITS / WIDTH; v++) store(y + v * WIDTH, x[v] * sum);
        y[targets[r]] -= mean;
        if (r % 16 == 15) {
            loss += logf(product);
            product = 1;
        }
    }
    return (loss + logf(product)) * mean;
}

static void adam(Microgpt* model, float learning_rate) {
    const float beta1 = 0.85f, beta2 = 0.99f;
    model->beta1_power *= 0.85;
    model->beta2_power *= 0.99;
    const double correction = sqrt(1 - model->beta2_power);
    const float rate = (float)(learning_rate * correction / (1 - model->beta1_power));
    const float epsilon = (float)(1e-8 * correction);
    float *p = model->parameters, *m = model->first_moment, *v = model->second_moment, *g = model->gradients;
    for (int i = 0; i < model->weights; i += WIDTH) {
        const vec gi = load(g + i), mi = load(m + i) + (1 - beta1) * (gi - load(m + i));
        const vec vi = load(v + i) + (1 - beta2) * (gi * gi - load(v + i));
        store(m + i, mi);
        store(v + i, vi);
        store(p + i, load(p + i) - rate * mi / (square_root(vi) + epsilon));
    }
}

typedef struct {
    const int *inputs, *targets, *offsets;
    int sequences;
} Batch;

/// Floats of attention weights a position keeps.
INLINE int probabilities(int dim) { return dim / unit_width(dim) * BLOCKS * WIDTH; }

INLINE float forward_pass(Microgpt* m, Batch in, int dim) {
    const float* const w = m->parameters;
    const int rows = in.offsets[in.sequences];
    for (int s = 0; s < in.sequences; s++) {
        const int t = in.offsets[s];
        embed(dim, in.offsets[s + 1] - t, in.inputs + t, w, w + place(dim, 1).start, m->x0 + t * dim, m->scale + t,
              m->normed + t * dim);
    }
    forward(PLAIN, rows, dim, 3 * dim, m->normed, w + place(dim, 2).start, NULL, m->qkv);
    for (int s = 0; s < in.sequences; s++) {
        const int t = in.offsets[s];
        attend(in.offsets[s + 1] - t, dim, m->qkv + t * 3 * dim, m->probability + t * probabilities(dim),
               m->attention + t * dim);
    }
    forward(ADD, rows, dim, dim, m->attention, w + place(dim, 5).start, m->x0, m->x1);
    forward(RELU, rows, dim, 4 * dim, m->x1, w + place(dim, 6).start, NULL, m->hidden);
    forward(ADD, rows, 4 * dim, dim, m->hidden, w + place(dim, 7).start, m->x1, m->x2);
    forward(PLAIN, rows, dim, LOGITS, m->x2, w + place(dim, 8).start, NULL, m->logits);
    return cross_entropy(rows, in.targets, m->logits);
}

/// Both halves of y = x w at once: dw, then dx.
INLINE void backward(Microgpt* m, Finish finish, int rows, int in, int out, int index, const float* x, const float* dy,
                     const float* other, float* dx) {
    const size_t start = place(m->dim, index).start;
    backward_weight(rows, in, out, x, dy, m->gradients + start);
    backward_input(finish, rows, in, out, dy, m->parameters + start, m->transposed, other, dx);
}

INLINE void backward_pass(Microgpt* m, Batch in, int dim) {
    float* const g = m->gradients;
    const size_t wpe = place(dim, 1).start, embeddings = place(dim, 2).start;
    const int rows = in.offsets[in.sequences];
    backward(m, PLAIN, rows, dim, LOGITS, 8, m->x2, m->logits, NULL, m->dx);
    backward(m, WHERE_POSITIVE, rows, 4 * dim, dim, 7, m->hidden, m->dx, m->hidden, m->dhidden);
    backward(m, ADD, rows, dim, 4 * dim, 6, m->x1, m->dhidden, m->dx, m->dx);
    backward(m, PLAIN, rows, dim, dim, 5, m->attention, m->dx, NULL, m->dattention);
    for (int s = 0; s < in.sequences; s++) {
        const int t = in.offsets[s];
        attend_backward(in.offsets[s + 1] - t, dim, m->qkv + t * 3 * dim, m->probability + t * probabilities(dim),
                        m->dattention + t * dim, m->dqkv + t * 3 * dim);
    }
    backward(m, PLAIN, rows, dim, 3 * dim, 2, m->normed, m->dqkv, NULL, m->dnormed);
    memset(g, 0, embeddings * sizeof(float));
    for (int s = 0; s < in.sequences; s++) {
        const int t = in.offsets[s];
        embed_backward(dim, in.offsets[s + 1] - t, in.inputs + t, m->scale + t, m->normed + t * dim,
                       m->dnormed + t * dim, m->dx + t * dim, g, g + wpe);
    }
}

INLINE float gradients(Microgpt* m, Batch in, int dim) {
    const float loss = forward_pass(m, in, dim);
    backward_pass(m, in, dim);
    return loss;
}

float microgpt_step(Microgpt* model, const int* inputs, const int* targets, const int* offsets, int sequences,
                    float learning_rate) {
    const Batch batch = {inputs, targets, offsets, sequences};
    float loss;
    switch (model->dim) {
        case 16:
            loss = gradients(model, batch, 16);
            break;
        case 64:
            loss = gradients(model, batch, 64);
            break;
        default:
            loss = gradients(model, batch, model->dim);
    }
    adam(model, learning_rate);
    return loss;
}
