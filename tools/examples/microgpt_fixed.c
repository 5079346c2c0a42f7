/// microgpt's loss and gradients as on a microcontroller: C99, f32, one sequence at a time, all memory in one static
/// struct, no malloc. Written by hand; judged through files:
///     xtape audit microgpt --export DIR && microgpt_fixed DIR && xtape audit microgpt --against DIR
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { V = 27, D = 16, H = 4, W = D / H, F = 64, S = 16, MAX_ROWS = 128, MAX_SEQUENCES = 16 };

typedef struct {
    float wte[V * D], wpe[S * D], wq[D * D], wk[D * D], wv[D * D], wo[D * D], w1[D * F], w2[F * D], wout[D * V];
} Weights;

/// Everything that the program holds: weights, the batch, and the activations of one sequence with their gradients.
static Weights weights, gradients;
static int32_t tokens[MAX_ROWS], targets[MAX_ROWS], offsets[MAX_SEQUENCES + 1];
static struct {
    float x[S * D], scale[S], n[S * D], q[S * D], k[S * D], v[S * D], p[H * S * S], a[S * D], x1[S * D], hidden[S * F],
        x2[S * D], logits[S * V];
} f;
static struct { float x[S * D], n[S * D], q[S * D], k[S * D], v[S * D], a[S * D], hidden[S * F]; } d;

/// y += x w, for x [rows, in] and w [in, out].
static void multiply(int rows, int in, int out, const float* x, const float* w, float* y) {
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < in; i++)
            for (int j = 0; j < out; j++) y[r * out + j] += x[r * in + i] * w[i * out + j];
}

/// The gradients of y = x w: dw += xT dy, dx += dy wT.
static void multiply_backward(int rows, int in, int out, const float* x, const float* w, const float* dy, float* dx,
                              float* dw) {
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < in; i++) {
            float sum = 0;
            for (int j = 0; j < out; j++) {
                dw[i * out + j] += x[r * in + i] * dy[r * out + j];
                sum += dy[r * out + j] * w[i * out + j];
            }
            dx[r * in + i] += sum;
        }
}

static void attend(int length) {
    for (int head = 0; head < H; head++)
        for (int t = 0; t < length; t++) {
            float* p = f.p + (head * S + t) * S;
            const float* q = f.q + t * D + head * W;
            float top = -INFINITY, sum = 0;
            for (int s = 0; s <= t; s++) {
                p[s] = 0;
                for (int i = 0; i < W; i++) p[s] += q[i] * f.k[s * D + head * W + i] / sqrtf(W);
                top = fmaxf(top, p[s]);
            }
            for (int s = 0; s <= t; s++) sum += p[s] = expf(p[s] - top);
            for (int s = 0; s <= t; s++) {
                p[s] /= sum;
                for (int i = 0; i < W; i++) f.a[t * D + head * W + i] += p[s] * f.v[s * D + head * W + i];
            }
        }
}

/// dS = P (dP - sum P dP) / sqrt(W), dP = da vT: to the keys and values of all earlier positions too.
static void attend_backward(int length) {
    for (int head = 0; head < H; head++)
        for (int t = 0; t < length; t++) {
            const float* p = f.p + (head * S + t) * S;
            const int at = t * D + head * W;
            float dp[S], along = 0;
            for (int s = 0; s <= t; s++) {
                const int past = s * D + head * W;
                dp[s] = 0;
                for (int i = 0; i < W; i++) {
                    dp[s] += d.a[at + i] * f.v[past + i];
                    d.v[past + i] += p[s] * d.a[at + i];
                }
                along += p[s] * dp[s];
            }
            for (int s = 0; s <= t; s++) {
                const float ds = p[s] * (dp[s] - along) / sqrtf(W);
                const int past = s * D + head * W;
                for (int i = 0; i < W; i++) {
                    d.q[at + i] += ds * f.k[past + i];
                    d.k[past + i] += ds * f.q[at + i];
                }
            }
        }
}

/// The sum of the losses of one sequence; leaves softmax(logits) in f.logits.
static float forward(const int32_t* token, const int32_t* target, int length) {
    const Weights* w = &weights;
    memset(&f, 0, sizeof f);
    for (int t = 0; t < length; t++) {
        float squares = 0;
        for (int i = 0; i < D; i++) {
            f.x[t * D + i] = w->wte[token[t] * D + i] + w->wpe[t * D + i];
            squares += f.x[t * D + i] * f.x[t * D + i];
        }
        f.scale[t] = 1 / sqrtf(squares / D + 1e-5f);
        for (int i = 0; i < D; i++) f.n[t * D + i] = f.x[t * D + i] * f.scale[t];
    }
    multiply(length, D, D, f.n, w->wq, f.q);
    multiply(length, D, D, f.n, w->wk, f.k);
    multiply(length, D, D, f.n, w->wv, f.v);
    attend(length);
    memcpy(f.x1, f.x, sizeof f.x);
    multiply(length, D, D, f.a, w->wo, f.x1);
    multiply(length, D, F, f.x1, w->w1, f.hidden);
    for (int i = 0; i < length * F; i++) f.hidden[i] = fmaxf(f.hidden[i], 0);
    memcpy(f.x2, f.x1, sizeof f.x1);
    multiply(length, F, D, f.hidden, w->w2, f.x2);
    multiply(length, D, V, f.x2, w->wout, f.logits);
    float loss = 0;
    for (int t = 0; t < length; t++) {
        float *z = f.logits + t * V, top = z[0], sum = 0;
        for (int i = 1; i < V; i++) top = fmaxf(top, z[i]);
        const float aim = z[target[t]] - top;
        for (int i = 0; i < V; i++) sum += z[i] = expf(z[i] - top);
        for (int i = 0; i < V; i++) z[i] /= sum;
        loss += logf(sum) - aim;
    }
    return loss;
}

/// Adds the gradients of one sequence, of a mean over `rows` rows in all.
static void backward(const int32_t* token, const int32_t* target, int length, int rows) {
    const Weights* w = &weights;
    Weights* g = &gradients;
    memset(&d, 0, sizeof d);
    for (int t = 0; t < length; t++)
        for (int i = 0; i < V; i++) f.logits[t * V + i] = (f.logits[t * V + i] - (i == target[t])) / (float)rows;
    multiply_backward(length, D, V, f.x2, w->wout, f.logits, d.x, g->wout);
    multiply_backward(length, F, D, f.hidden, w->w2, d.x, d.hidden, g->w2);
    for (int i = 0; i < length * F; i++) d.hidden[i] = f.hidden[i] > 0 ? d.hidden[i] : 0;
    multiply_backward(length, D, F, f.x1, w->w1, d.hidden, d.x, g->w1);
    multiply_backward(length, D, D, f.a, w->wo, d.x, d.a, g->wo);
    attend_backward(length);
    multiply_backward(length, D, D, f.n, w->wq, d.q, d.n, g->wq);
    multiply_backward(length, D, D, f.n, w->wk, d.k, d.n, g->wk);
    multiply_backward(length, D, D, f.n, w->wv, d.v, d.n, g->wv);
    for (int t = 0; t < length; t++) { /* n = x scale: dx += scale (dn - n mean(dn n)) */
        float mean = 0;
        for (int i = 0; i < D; i++) mean += d.n[t * D + i] * f.n[t * D + i] / D;
        for (int i = 0; i < D; i++) {
            const float dx = d.x[t * D + i] + f.scale[t] * (d.n[t * D + i] - f.n[t * D + i] * mean);
            g->wte[token[t] * D + i] += dx;
            g->wpe[t * D + i] += dx;
        }
    }
}

/// Reads a .npy file of format 1 with at most `most` numbers of four bytes; -1 where it is none of this type.
static int read_npy(const char* folder, const char* name, const char* type, void* values, int most) {
    char path[512], header[65536] = "";
    unsigned char start[10];
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    FILE* file = fopen(path, "rb");
    int count = -1;
    if (file && fread(start, 1, 10, file) == 10 && fread(header, 1, start[8] + 256u * start[9], file) > 0 &&
        strstr(header, type))
        count = (int)fread(values, 4, (size_t)most, file);
    if (file && (count < 0 || fgetc(file) != EOF)) count = -1;
    if (file) fclose(file);
    if (count < 0) fprintf(stderr, "%s is missing, or no file of %s that fits\n", path, type);
    return count;
}

static int write_npy(const char* folder, const char* name, int rows, int columns, const float* values) {
    char path[512], header[118];
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, columns);
    FILE* file = fopen(path, "wb");
    if (!file) return fprintf(stderr, "cannot write %s\n", path) < 0;
    const size_t count = (size_t)rows * (size_t)columns;
    int good = fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file) == 10 && fprintf(file, "%-117s\n", header) == 118;
    good = good && fwrite(values, sizeof *values, count, file) == count;
    return fclose(file) == 0 && good;
}

static int batch_fits(int rows, int sequences) {
    for (int i = 0; i < sequences; i++)
        if (offsets[i + 1] <= offsets[i] || offsets[i + 1] - offsets[i] > S) return 0;
    for (int t = 0; t < rows; t++)
        if (tokens[t] < 0 || tokens[t] >= V || targets[t] < 0 || targets[t] >= V) return 0;
    return offsets[0] == 0 && offsets[sequences] == rows;
}

typedef struct {
    const char* name;
    int rows, columns;
    float *values, *gradient;
} Tensor;

int main(int argc, char** argv) {
    const Tensor all[] = {
        {"wte", V, D, weights.wte, gradients.wte},       {"wpe", S, D, weights.wpe, gradients.wpe},
        {"layers.0.wq", D, D, weights.wq, gradients.wq}, {"layers.0.wk", D, D, weights.wk, gradients.wk},
        {"layers.0.wv", D, D, weights.wv, gradients.wv}, {"layers.0.wo", D, D, weights.wo, gradients.wo},
        {"layers.0.w1", D, F, weights.w1, gradients.w1}, {"layers.0.w2", F, D, weights.w2, gradients.w2},
        {"wout", D, V, weights.wout, gradients.wout}};
    const int count = sizeof all / sizeof *all;
    char folder[256];
    if (argc != 2 || strlen(argv[1]) > 200) return fprintf(stderr, "usage: microgpt_fixed DIR\n"), 2;
    snprintf(folder, sizeof folder, "%s/parameters", argv[1]);
    for (int i = 0; i < count; i++)
        if (read_npy(folder, all[i].name, "<f4", all[i].values, all[i].rows * all[i].columns) !=
            all[i].rows * all[i].columns)
            return fprintf(stderr, "%s should be [%d, %d]\n", all[i].name, all[i].rows, all[i].columns), 3;
    snprintf(folder, sizeof folder, "%s/inputs", argv[1]);
    const int rows = read_npy(folder, "tokens", "<i4", tokens, MAX_ROWS);
    const int sequences = read_npy(folder, "offsets", "<i4", offsets, MAX_SEQUENCES + 1) - 1;
    if (rows < 1 || sequences < 1 || read_npy(folder, "targets", "<i4", targets, MAX_ROWS) != rows) return 3;

    if (!batch_fits(rows, sequences)) return fprintf(stderr, "the batch does not fit\n"), 3;

    float loss = 0;
    for (int i = 0; i < sequences; i++) {
        const int at = offsets[i], length = offsets[i + 1] - at;
        loss += forward(tokens + at, targets + at, length) / (float)rows;
        backward(tokens + at, targets + at, length, rows);
    }
    snprintf(folder, sizeof folder, "%s/gradients", argv[1]);
    if (!write_npy(folder, "loss", 1, 1, &loss)) return 3;
    for (int i = 0; i < count; i++)
        if (!write_npy(folder, all[i].name, all[i].rows, all[i].columns, all[i].gradient)) return 3;
    printf("loss %.6f; %zu bytes of weights, as many of gradients, %zu of activations and theirs\n", loss,
           sizeof weights, sizeof f + sizeof d);
    return 0;
}
