/* Passes over activations that PyTorch makes in many small steps: root-mean-square norm, gated SiLU.
 *
 * float32, rows times columns, contiguous unless a stride is given. Loops are written for the compiler to vectorise;
 * each is compiled once plainly and once for AVX2.
 */
#include "trimtab.h"

/* exp to about one unit in the last place, without a call, so that loops vectorise; arguments are clamped. */
INLINE float quick_exp(float x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float n = (x * 1.44269504f + shift) - shift;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + r + 1.0f;
    return p * float_of_bits((uint32_t)((int32_t)n + 127) << 23);
}

INLINE float sigmoid(float x) { return 1.0f / (1.0f + quick_exp(-x)); }

INLINE float sum_of_products(const float *a, const float *b, int64_t count) {
    float lanes[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (int lane = 0; lane < 16; lane++) lanes[lane] += a[i + lane] * b[i + lane];
    float total = 0.0f;
    for (int lane = 0; lane < 16; lane++) total += lanes[lane];
    for (; i < count; i++) total += a[i] * b[i];
    return total;
}

/* ---- y = x / sqrt(mean(x^2) + eps) * (weight + offset) ---- */

INLINE void norm_row(const float *restrict x, const float *restrict weight, float offset, float eps, int64_t cols,
                     float *restrict y, float *root) {
    const float inverse = 1.0f / sqrtf(sum_of_products(x, x, cols) / (float)cols + eps);
    for (int64_t i = 0; i < cols; i++) y[i] = (x[i] * inverse) * (weight[i] + offset);
    *root = inverse;
}

/* dx = root * (g w - x * root^2 * mean(g w x)) */
INLINE void norm_row_grad(const float *restrict g, const float *restrict x, const float *restrict weight, float offset,
                          float root, int64_t cols, float *restrict dx) {
    for (int64_t i = 0; i < cols; i++) dx[i] = g[i] * (weight[i] + offset);
    const float pull = sum_of_products(dx, x, cols) * root * root / (float)cols;
    for (int64_t i = 0; i < cols; i++) dx[i] = root * (dx[i] - x[i] * pull);
}

/* ---- y = gate * sigmoid(gate) * up ---- */

INLINE void gate_range(const float *restrict gate, const float *restrict up, int64_t from, int64_t to,
                       float *restrict y) {
    for (int64_t i = from; i < to; i++) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

INLINE void gate_range_grad(const float *restrict g, const float *restrict gate, const float *restrict up, int64_t from,
                            int64_t to, float *restrict dgate, float *restrict dup) {
    for (int64_t i = from; i < to; i++) {
        const float s = sigmoid(gate[i]), swish = gate[i] * s;
        dgate[i] = g[i] * up[i] * (s + swish * (1.0f - s));
        dup[i] = g[i] * swish;
    }
}

/* One plain and one AVX2 body of a range of rows (or of single elements), chosen by `level`. */
#if HAVE_X86
#define VARIANTS(name, parameters, body)              \
    static void name##_plain parameters { body; }     \
    TARGET_AVX2 static void name##_avx2 parameters { body; }
#define RUN(name, level, ...) \
    do { if ((level) >= AVX2) name##_avx2(__VA_ARGS__); else name##_plain(__VA_ARGS__); } while (0)
#else
#define VARIANTS(name, parameters, body) static void name##_plain parameters { body; }
#define RUN(name, level, ...) name##_plain(__VA_ARGS__)
#endif

VARIANTS(norm, (const float *x, const float *w, float offset, float eps, int64_t cols, float *y, float *root),
         norm_row(x, w, offset, eps, cols, y, root))
VARIANTS(norm_grad, (const float *g, const float *x, const float *w, float offset, float root, int64_t cols, float *dx),
         norm_row_grad(g, x, w, offset, root, cols, dx))
VARIANTS(gate, (const float *gate, const float *up, int64_t from, int64_t to, float *y),
         gate_range(gate, up, from, to, y))
VARIANTS(gate_grad,
         (const float *g, const float *gate, const float *up, int64_t from, int64_t to, float *dgate, float *dup),
         gate_range_grad(g, gate, up, from, to, dgate, dup))
EXPORT void trimtab_rms_norm(const float *x, const float *weight, float offset, float eps, int64_t rows, int64_t cols,
                             float *y, float *roots, int level, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        RUN(norm, level, x + row * cols, weight, offset, eps, cols, y + row * cols, roots + row);
}

EXPORT void trimtab_rms_norm_grad(const float *g, const float *x, const float *weight, float offset, const float *roots,
                                  int64_t rows, int64_t cols, float *dx, int level, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        RUN(norm_grad, level, g + row * cols, x + row * cols, weight, offset, roots[row], cols, dx + row * cols);
}

enum { GATE_BLOCK = 4096 };

EXPORT void trimtab_gated_silu(const float *gate, const float *up, int64_t count, float *y, int level, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < count; from += GATE_BLOCK)
        RUN(gate, level, gate, up, from, smaller(from + GATE_BLOCK, count), y);
}

EXPORT void trimtab_gated_silu_grad(const float *g, const float *gate, const float *up, int64_t count, float *dgate,
                                    float *dup, int level, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < count; from += GATE_BLOCK)
        RUN(gate_grad, level, g, gate, up, from, smaller(from + GATE_BLOCK, count), dgate, dup);
}
