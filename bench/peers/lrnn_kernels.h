/// The loops of lrnn.c. Rows are positions. A forward function overwrites its result; a backward function adds into the
/// gradients that it is given.
#ifndef XTAPE_BENCH_PEERS_LRNN_KERNELS_H
#define XTAPE_BENCH_PEERS_LRNN_KERNELS_H

#include <math.h>
#include <string.h>

enum { LONGEST_LAG = 4, LAGS = 3 };
static const int lags[LAGS] = {1, 2, 4};
static const float EPS = 1e-6f, LARGEST_LOG = 10;

static inline void zero(int count, float* x) { memset(x, 0, (size_t)count * sizeof *x); }

static inline void add(int count, const float* change, float* x) {
    for (int i = 0; i < count; i++) x[i] += change[i];
}

/* Products: y = x w, w [in, out]. */

static inline void product(int rows, int in, int out, const float* restrict x, const float* restrict w,
                           float* restrict y) {
    for (int t = 0; t < rows; t++, x += in, y += out) {
        for (int j = 0; j < out; j++) y[j] = 0;
        for (int i = 0; i < in; i++)
            for (int j = 0; j < out; j++) y[j] += x[i] * w[i * out + j];
    }
}

/// dx += dy wᵀ, dw += xᵀ dy.
static inline void product_backward(int rows, int in, int out, const float* restrict x, const float* restrict w,
                                    const float* restrict dy, float* restrict dx, float* restrict dw) {
    for (int t = 0; t < rows; t++, x += in, dx += in, dy += out) {
        for (int i = 0; i < in; i++) {
            float sum = 0;
            for (int j = 0; j < out; j++) sum += dy[j] * w[i * out + j];
            dx[i] += sum;
        }
        for (int i = 0; i < in; i++)
            for (int j = 0; j < out; j++) dw[i * out + j] += x[i] * dy[j];
    }
}

/* Layer norm: y = normal w + b, normal = (x − mean) scale, scale = 1 / √(variance + EPS). */

static inline void layer_norm(int rows, int d, const float* x, const float* w, const float* b, float* normal,
                              float* scale, float* y) {
    for (int t = 0; t < rows; t++, x += d, normal += d, y += d) {
        float mean = 0, squares = 0;
        for (int j = 0; j < d; j++) mean += x[j];
        mean /= (float)d;
        for (int j = 0; j < d; j++) squares += (x[j] - mean) * (x[j] - mean);
        scale[t] = 1 / sqrtf(squares / (float)d + EPS);
        for (int j = 0; j < d; j++) {
            normal[j] = (x[j] - mean) * scale[t];
            y[j] = normal[j] * w[j] + b[j];
        }
    }
}

/// dx += scale (w dy − mean(w dy) − normal mean(w dy normal)).
static inline void layer_norm_backward(int rows, int d, const float* restrict normal, const float* restrict scale,
                                       const float* restrict w, const float* restrict dy, float* restrict dx,
                                       float* restrict dw, float* restrict db) {
    for (int t = 0; t < rows; t++, normal += d, dy += d, dx += d) {
        float mean = 0, dot = 0;
        for (int j = 0; j < d; j++) {
            mean += w[j] * dy[j];
            dot += w[j] * dy[j] * normal[j];
        }
        mean /= (float)d;
        dot /= (float)d;
        for (int j = 0; j < d; j++) {
            dx[j] += scale[t] * (w[j] * dy[j] - mean - normal[j] * dot);
            dw[j] += dy[j] * normal[j];
            db[j] += dy[j];
        }
    }
}

static inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }
static inline float clamp(float x) { return fminf(fmaxf(x, -LARGEST_LOG), LARGEST_LOG); }
static inline int is_clamped(float x) { return fabsf(x) > LARGEST_LOG; }

/* Token shift: shifted_t = Σ_i u_i n_{t − lag_i}, u_i = σ(w_i) / (Σ σ(w) + EPS). `unit` holds u and σ(w). */

static inline void shift_units(int d, const float* w, float* unit) {
    float* const sigma = unit + LAGS * d;
    for (int i = 0; i < LAGS * d; i++) sigma[i] = sigmoid(w[i]);
    for (int j = 0; j < d; j++) {
        const float sum = sigma[j] + sigma[d + j] + sigma[2 * d + j] + EPS;
        for (int i = 0; i < LAGS; i++) unit[i * d + j] = sigma[i * d + j] / sum;
    }
}

static inline void shift(int rows, int d, const float* w, const float* n, float* unit, float* shifted) {
    const float *u1 = unit, *u2 = unit + d, *u4 = unit + 2 * d;
    shift_units(d, w, unit);
    for (int t = 0; t < rows; t++, n += d, shifted += d)
        for (int j = 0; j < d; j++) shifted[j] = u1[j] * n[j - d] + u2[j] * n[j - 2 * d] + u4[j] * n[j - 4 * d];
}

/// With respect to w_i: ∂shifted / ∂σ_i = (n_{t − lag_i} − shifted_t) / (Σ σ + EPS), and 1 / (Σ σ + EPS) is u_i / σ_i.
static inline void shift_backward(int rows, int d, const float* restrict w, const float* restrict n,
                                  const float* restrict shifted, const float* restrict dshifted, float* restrict unit,
                                  float* restrict dn, float* restrict dw) {
    const float* const sigma = unit + LAGS * d;
    shift_units(d, w, unit);
    for (int t = 0; t < rows; t++)
        for (int i = 0; i < LAGS; i++) {
            const float *u = unit + i * d, *s = sigma + i * d, *past = n + (t - lags[i]) * d;
            float *dpast = dn + (t - lags[i]) * d, *dwi = dw + i * d;
            for (int j = 0; j < d; j++) {
                dpast[j] += dshifted[t * d + j] * u[j];
                dwi[j] += dshifted[t * d + j] * (past[j] - shifted[t * d + j]) * u[j] * (1 - s[j]);
            }
        }
}

/* Mix: y = a σ(w) + b (1 − σ(w)). */

static inline void mix(int rows, int d, const float* w, const float* a, const float* b, float* share, float* y) {
    for (int j = 0; j < d; j++) share[j] = sigmoid(w[j]);
    for (int t = 0; t < rows; t++)
        for (int j = 0; j < d; j++) y[t * d + j] = b[t * d + j] + share[j] * (a[t * d + j] - b[t * d + j]);
}

static inline void mix_backward(int rows, int d, const float* w, const float* a, const float* b,
                                const float* restrict dy, float* restrict share, float* da, float* db,
                                float* restrict dw) {
    for (int j = 0; j < d; j++) share[j] = sigmoid(w[j]);
    for (int t = 0; t < rows; t++) {
        float* restrict da_t = da + t * d;
        float* restrict db_t = db + t * d;
        for (int j = 0; j < d; j++) {
            da_t[j] += dy[t * d + j] * share[j];
            db_t[j] += dy[t * d + j] * (1 - share[j]);
            dw[j] += dy[t * d + j] * (a[t * d + j] - b[t * d + j]) * share[j] * (1 - share[j]);
        }
    }
}

/* Softmax over the slots, in place. */

static inline void softmax(int rows, int slots, float* p) {
    for (int t = 0; t < rows; t++, p += slots) {
        float top = p[0], sum = 0;
        for (int m = 1; m < slots; m++) top = fmaxf(top, p[m]);
        for (int m = 0; m < slots; m++) sum += p[m] = expf(p[m] - top);
        for (int m = 0; m < slots; m++) p[m] /= sum;
    }
}

/// dp becomes the gradient of the logits: p (dp − Σ p dp).
static inline void softmax_backward(int rows, int slots, const float* p, float* dp) {
    for (int t = 0; t < rows; t++, p += slots, dp += slots) {
        float dot = 0;
        for (int m = 0; m < slots; m++) dot += p[m] * dp[m];
        for (int m = 0; m < slots; m++) dp[m] = p[m] * (dp[m] - dot);
    }
}

/// Mean cross entropy; turns logits into their gradient.
static inline float cross_entropy(int rows, int vocab, const int* targets, float* logits) {
    float loss = 0;
    int count = 0;
    for (int t = 0; t < rows; t++) count += targets[t] >= 0;
    for (int t = 0; t < rows; t++, logits += vocab) {
        if (targets[t] < 0) {
            zero(vocab, logits);
            continue;
        }
        float top = logits[0], sum = 0;
        for (int j = 1; j < vocab; j++) top = fmaxf(top, logits[j]);
        loss += top - logits[targets[t]];
        for (int j = 0; j < vocab; j++) sum += logits[j] = expf(logits[j] - top);
        loss += logf(sum);
        for (int j = 0; j < vocab; j++) logits[j] /= sum * (float)count;
        logits[targets[t]] -= 1 / (float)count;
    }
    return loss / (float)count;
}

#endif
