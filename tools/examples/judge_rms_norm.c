#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xtape/engine/check/xtape_compare.h>

enum { S = 4, D = 8 };
void rms_norm_backward(int rows, int d, const float* x, const float* w, const float* dy, float* dx, float* dw);
static float x[S * D], w[D], dy[S * D], dx[S * D], dw[D];

static double loss(void* unused) { /* your forward: here the sum of dy w x / sqrt(mean(x^2) + 1e-5) */
    double sum = 0;
    for (int t = 0; t < S; t++) {
        double squares = 0;
        for (int i = t * D; i < t * D + D; i++) squares += x[i] * x[i];
        for (int i = 0; i < D; i++) sum += dy[t * D + i] * w[i] * x[t * D + i] / sqrt(squares / D + 1e-5);
    }
    (void)unused;
    return sum;
}

int main(void) {
    for (int i = 0; i < S * D; i++) x[i] = rand() % 2001 / 500.0f - 2, dy[i] = rand() % 2001 / 1000.0f - 1;
    for (int i = 0; i < D; i++) w[i] = 0.5f + rand() % 1001 / 1000.0f;
    rms_norm_backward(S, D, x, w, dy, dx, dw);
    const xtape_tensor tensors[] = {{.name = "x", .rank = 2, .extents = {S, D}, .values = x, .gradient = dx},
                                    {.name = "w", .rank = 1, .extents = {D}, .values = w, .gradient = dw}};
    xtape_report* report = xtape_gradcheck(loss, NULL, tensors, 2);
    puts(xtape_text(report));
    const int wrong = !xtape_passed(report);
    xtape_free(report);
    return wrong;
}
