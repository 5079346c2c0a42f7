/// Vectors of the widest kind the target has (GNU vector extensions), and the register-blocked products made of them.
#ifndef XTAPE_BENCH_PEERS_MICROGPT_SIMD_H
#define XTAPE_BENCH_PEERS_MICROGPT_SIMD_H

#include <math.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define WIDTH 16
#define PER_GROUP(LANES) LANES(0), LANES(1), LANES(2), LANES(3)
#define PER_PAIR(LANES) LANES(0), LANES(1), LANES(2), LANES(3), LANES(4), LANES(5), LANES(6), LANES(7)
#elif defined(__AVX__)
#define WIDTH 8
#define PER_GROUP(LANES) LANES(0), LANES(1)
#define PER_PAIR(LANES) LANES(0), LANES(1), LANES(2), LANES(3)
#else
#define WIDTH 4
#define PER_GROUP(LANES) LANES(0)
#define PER_PAIR(LANES) LANES(0), LANES(1)
#endif

typedef float vec __attribute__((vector_size(WIDTH * 4), may_alias));
typedef int ivec __attribute__((vector_size(WIDTH * 4), may_alias));

enum { ROW_BLOCK = WIDTH == 16 ? 8 : 4 };

/* Vectors. A group is four neighbouring lanes; groups never mix unless a function says so. */

#define LANES_01(g) 4 * (g), 4 * (g) + WIDTH, 4 * (g) + 1, 4 * (g) + WIDTH + 1
#define LANES_23(g) 4 * (g) + 2, 4 * (g) + WIDTH + 2, 4 * (g) + 3, 4 * (g) + WIDTH + 3
#define LANES_FRONT(g) 4 * (g), 4 * (g) + 1, 4 * (g) + WIDTH, 4 * (g) + WIDTH + 1
#define LANES_BACK(g) 4 * (g) + 2, 4 * (g) + 3, 4 * (g) + WIDTH + 2, 4 * (g) + WIDTH + 3
#define LANES_SWAP_ONE(g) 4 * (g) + 1, 4 * (g), 4 * (g) + 3, 4 * (g) + 2
#define LANES_SWAP_TWO(g) 4 * (g) + 2, 4 * (g) + 3, 4 * (g), 4 * (g) + 1
#define LANES_NEXT_GROUP(g) 4 * ((g) ^ 1), 4 * ((g) ^ 1) + 1, 4 * ((g) ^ 1) + 2, 4 * ((g) ^ 1) + 3
#define LANES_OTHER_HALF(g) 4 * ((g) ^ 2), 4 * ((g) ^ 2) + 1, 4 * ((g) ^ 2) + 2, 4 * ((g) ^ 2) + 3
#define LANES_ALL_0(g) 4 * (g), 4 * (g), 4 * (g), 4 * (g)
#define LANES_ALL_1(g) 4 * (g) + 1, 4 * (g) + 1, 4 * (g) + 1, 4 * (g) + 1
#define LANES_ALL_2(g) 4 * (g) + 2, 4 * (g) + 2, 4 * (g) + 2, 4 * (g) + 2
#define LANES_ALL_3(g) 4 * (g) + 3, 4 * (g) + 3, 4 * (g) + 3, 4 * (g) + 3
#define LANES_COUNT(g) 4 * (g), 4 * (g) + 1, 4 * (g) + 2, 4 * (g) + 3
#define LANES_IN_GROUP(g) 0, 1, 2, 3
#define PAIR_LOW(i) (i), (i) + WIDTH
#define PAIR_HIGH(i) (i) + WIDTH / 2, (i) + WIDTH / 2 + WIDTH
#define SHUFFLE(a, b, LANES) __builtin_shufflevector(a, b, PER_GROUP(LANES))

INLINE vec load(const float* p) { return *(const vec*)p; }
INLINE void store(float* p, vec x) { *(vec*)p = x; }
INLINE vec splat(float x) { return x - (vec){0}; }

INLINE vec maximum(vec a, vec b) {
    for (int i = 0; i < WIDTH; i++) a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
}

/// The divider is idle in Adam, so the square root instruction beats the compiler's Newton steps.
INLINE vec square_root(vec x) {
#if defined(__AVX512F__)
    return (vec)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX__)
    return (vec)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < WIDTH; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

INLINE vec keep_where(ivec mask, vec x) { return (vec)(mask & (ivec)x); }

/// 2^x for x <= 0; exactly 0 below -126.5. Relative error 1e-7.
INLINE vec exp2_negative(vec x) {
    x = maximum(x, splat(-127));
    const ivec whole = __builtin_convertvector(x - 0.5f, ivec);
    const vec f = x - __builtin_convertvector(whole, vec);
    vec y = f * 0.0013276472168f + 0.009675541331f;
    y = y * f + 0.055507132729f;
    y = y * f + 0.24022119724f;
    y = y * f + 0.69314696707f;
    y = y * f + 1.0000000717f;
    return y * (vec)((whole + 127) << 23);
}

/// Adds up across groups: over neighbours from 2 groups on, over all four from 4 groups on.
INLINE vec sum_groups(vec x, int groups) {
#if WIDTH >= 8
    if (groups >= 2) x += SHUFFLE(x, x, LANES_NEXT_GROUP);
#endif
#if WIDTH >= 16
    if (groups >= 4) x += SHUFFLE(x, x, LANES_OTHER_HALF);
#endif
    (void)groups;
    return x;
}

INLINE vec sum_in_group(vec x) {
    x += SHUFFLE(x, x, LANES_SWAP_ONE);
    return x + SHUFFLE(x, x, LANES_SWAP_TWO);
}

INLINE vec maximum_in_group(vec x) {
    x = maximum(x, SHUFFLE(x, x, LANES_SWAP_ONE));
    return maximum(x, SHUFFLE(x, x, LANES_SWAP_TWO));
}

INLINE vec sum_all(vec x) { return sum_groups(sum_in_group(x), 4); }

INLINE vec maximum_all(vec x) {
    x = maximum_in_group(x);
#if WIDTH >= 8
    x = maximum(x, SHUFFLE(x, x, LANES_NEXT_GROUP));
#endif
#if WIDTH >= 16
    x = maximum(x, SHUFFLE(x, x, LANES_OTHER_HALF));
#endif
    return x;
}

/// Lane i of each group becomes the sum of that group in p[i].
INLINE vec sums_of_four(const vec p[4]) {
    const vec a = SHUFFLE(p[0], p[1], LANES_01) + SHUFFLE(p[0], p[1], LANES_23);
    const vec b = SHUFFLE(p[2], p[3], LANES_01) + SHUFFLE(p[2], p[3], LANES_23);
    return SHUFFLE(a, b, LANES_FRONT) + SHUFFLE(a, b, LANES_BACK);
}

INLINE void spread(vec x, vec each[4]) {
    each[0] = SHUFFLE(x, x, LANES_ALL_0);
    each[1] = SHUFFLE(x, x, LANES_ALL_1);
    each[2] = SHUFFLE(x, x, LANES_ALL_2);
    each[3] = SHUFFLE(x, x, LANES_ALL_3);
}

INLINE void zip(const vec* in, vec* out) {
    for (int i = 0; i < WIDTH / 2; i++) {
        out[2 * i] = __builtin_shufflevector(in[i], in[i + WIDTH / 2], PER_PAIR(PAIR_LOW));
        out[2 * i + 1] = __builtin_shufflevector(in[i], in[i + WIDTH / 2], PER_PAIR(PAIR_HIGH));
    }
}

/// out [columns, rows] = in^T; a square of WIDTH is transposed by zipping its halves log2(WIDTH) times.
INLINE void transpose(const float* in, int rows, int columns, float* out) {
    for (int r = 0; r < rows; r += WIDTH)
        for (int c = 0; c < columns; c += WIDTH) {
            vec a[WIDTH], b[WIDTH];
            for (int i = 0; i < WIDTH; i++) a[i] = load(in + (r + i) * columns + c);
            zip(a, b);
            zip(b, a);
            if (WIDTH == 8) zip(a, b);
            if (WIDTH == 16) {
                zip(a, b);
                zip(b, a);
            }
            for (int i = 0; i < WIDTH; i++) store(out + (c + i) * rows + r, WIDTH == 8 ? b[i] : a[i]);
        }
}

/* Products: c[r,:] = sum over t of a(r,t) b[t,:], with a(r,t) = a[r * row_step + t * depth_step]. */

typedef enum { PLAIN, ADD, RELU, WHERE_POSITIVE } Finish;

typedef struct {
    const float* a;
    int row_step, depth_step;
    const float* b;
    const float* other;  ///< ADD: added to the product; WHERE_POSITIVE: the product is kept where this is positive.
    float* c;
    int rows, depth, columns;
} Product;

INLINE void tile(Finish finish, Product p, int first, int column, int rows, int vectors) {
    const float* a = p.a + first * p.row_step;
    const float* b = p.b + column;
    vec sum[ROW_BLOCK][3];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = (vec){0};
    for (int t = 0; t < p.depth; t++)
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                sum[r][v] += a[r * p.row_step + t * p.depth_step] * load(b + t * p.columns + v * WIDTH);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            const int at = (first + r) * p.columns + column + v * WIDTH;
            vec y = sum[r][v];
            if (finish == ADD) y += load(p.other + at);
            if (finish == RELU) y = maximum(y, (vec){0});
            if (finish == WHERE_POSITIVE) y = keep_where(load(p.other + at) > 0, y);
            store(p.c + at, y);
        }
}

INLINE void panels(Finish finish, Product p, int vectors) {
    for (int column = 0; column < p.columns; column += vectors * WIDTH) {
        int r = 0;
        for (; r + ROW_BLOCK <= p.rows; r += ROW_BLOCK) tile(finish, p, r, column, ROW_BLOCK, vectors);
        for (; r < p.rows; r += 4) tile(finish, p, r, column, 4, vectors);
    }
}

INLINE void multiply(Finish finish, Product p) {
    if (p.columns % (3 * WIDTH) == 0)
        panels(finish, p, 3);
    else if (p.columns % (2 * WIDTH) == 0)
        panels(finish, p, 2);
    else
        panels(finish, p, 1);
}

/// y [rows,out] = x [rows,in] w [in,out].
INLINE void forward(Finish finish, int rows, int in, int out, const float* x, const float* w, const float* other,
                    float* y) {
    multiply(finish, (Product){.a = x,
                               .row_step = in,
                               .depth_step = 1,
                               .b = w,
                               .other = other,
                               .c = y,
                               .rows = rows,
                               .depth = in,
                               .columns = out});
}

/// dw [in,out] = x^T dy.
INLINE void backward_weight(int rows, int in, int out, const float* x, const float* dy, float* dw) {
    multiply(PLAIN,
             (Product){
                 .a = x, .row_step = 1, .depth_step = in, .b = dy, .c = dw, .rows = in, .depth = rows, .columns = out});
}

/// dx [rows,in] = dy w^T, through `scratch` [out,in].
INLINE void backward_input(Finish finish, int rows, int in, int out, const float* dy, const float* w, float* scratch,
                           const float* other, float* dx) {
    transpose(w, in, out, scratch);
    forward(finish, rows, out, in, dy, scratch, other, dx);
}

#endif
