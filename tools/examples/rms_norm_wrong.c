/// As in published code: wrong in one factor. y = w x / r, r = sqrt(mean(x^2) + 1e-5), for `rows` rows of width d: adds
/// the gradients of x and w for dy.
void rms_norm_backward(int rows, int d, const float* x, const float* w, const float* dy, float* dx, float* dw);

#include <math.h>

void rms_norm_backward(int rows, int d, const float* x, const float* w, const float* dy, float* dx, float* dw) {
    for (int t = 0; t < rows; t++, x += d, dy += d, dx += d) {
        float squares = 0, along = 0;
        for (int i = 0; i < d; i++) {
            squares += x[i] * x[i];
            along += dy[i] * w[i] * x[i];
        }
        const float r = sqrtf(squares / (float)d + 1e-5f);
        for (int i = 0; i < d; i++) {
            dw[i] += dy[i] * x[i] / r;
            dx[i] += w[i] * dy[i] / r - x[i] * along / ((float)d * r * r);
        }
    }
}
