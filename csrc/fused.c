/* Passes over activations that PyTorch makes in many small steps: root-mean-square norm, gated SiLU.
 *
 * float32, rows times columns, contiguous. The loops of the norms are left to the compiler to vectorise, each once plainly
 * and once for AVX2.
 */
#include "exp.h"
#include "kernels.h"
#include "lanes.h"

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

void trimtab_rms_norm(const float *x, const float *weight, float offset, float eps, int64_t rows, int64_t cols, float *y,
                      float *roots, int level, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        RUN(norm, level, x + row * cols, weight, offset, eps, cols, y + row * cols, roots + row);
}

void trimtab_rms_norm_grad(const float *g, const float *x, const float *weight, float offset, const float *roots,
                           int64_t rows, int64_t cols, float *dx, int level, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        RUN(norm_grad, level, g + row * cols, x + row * cols, weight, offset, roots[row], cols, dx + row * cols);
}

/* ---- y = gate * sigmoid(gate) * up ---- */

INLINE float sigmoid(float x) { return 1.0f / (1.0f + exp_one(-x)); }

static void gate_one(const float *gate, const float *up, int64_t from, int64_t to, float *y) {
    for (int64_t i = from; i < to; i++) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

static void gate_one_grad(const float *g, const float *gate, const float *up, int64_t from, int64_t to, float *dgate,
                          float *dup) {
    for (int64_t i = from; i < to; i++) {
        const float s = sigmoid(gate[i]), swish = gate[i] * s;
        dgate[i] = g[i] * up[i] * (s + swish * (1.0f - s));
        dup[i] = g[i] * swish;
    }
}

#if HAVE_X86
#define SIGMOID(P, EXP, x) P##div_ps(P##set1_ps(1.0f), P##add_ps(P##set1_ps(1.0f), EXP(P##sub_ps(P##setzero_ps(), x))))
#define GATES(NAME, TARGET, VEC, LANES, P, EXP)                                                                       \
    TARGET static void NAME(const float *gate, const float *up, int64_t from, int64_t to, float *y) {                 \
        for (; from + LANES <= to; from += LANES) {                                                                   \
            const VEC x = P##loadu_ps(gate + from), swish = P##mul_ps(x, SIGMOID(P, EXP, x));                         \
            P##storeu_ps(y + from, P##mul_ps(swish, P##loadu_ps(up + from)));                                         \
        }                                                                                                             \
        gate_one(gate, up, from, to, y);                                                                              \
    }                                                                                                                 \
    TARGET static void NAME##_grad(const float *g, const float *gate, const float *up, int64_t from, int64_t to,      \
                                   float *dgate, float *dup) {                                                        \
        for (; from + LANES <= to; from += LANES) {                                                                   \
            const VEC x = P##loadu_ps(gate + from), grad = P##loadu_ps(g + from), s = SIGMOID(P, EXP, x);             \
            const VEC swish = P##mul_ps(x, s), slope = P##fnmadd_ps(swish, s, P##add_ps(s, swish));                   \
            P##storeu_ps(dgate + from, P##mul_ps(P##mul_ps(grad, P##loadu_ps(up + from)), slope));                    \
            P##storeu_ps(dup + from, P##mul_ps(grad, swish));                                                         \
        }                                                                                                             \
        gate_one_grad(g, gate, up, from, to, dgate, dup);                                                             \
    }
GATES(gate_avx2, TARGET_AVX2, __m256, 8, _mm256_, exp_avx2)
GATES(gate_avx512, TARGET_AVX512, __m512, 16, _mm512_, exp_avx512)
#define CHOOSE(level, tail) ((level) >= AVX512 ? gate_avx512##tail : (level) >= AVX2 ? gate_avx2##tail : gate_one##tail)
#else
#define CHOOSE(level, tail) gate_one##tail
#endif

enum { GATE_BLOCK = 4096 };

void trimtab_gated_silu(const float *gate, const float *up, int64_t count, float *y, int level, int threads) {
    (void)level;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < count; from += GATE_BLOCK)
        CHOOSE(level, )(gate, up, from, smaller(from + GATE_BLOCK, count), y);
}

void trimtab_gated_silu_grad(const float *g, const float *gate, const float *up, int64_t count, float *dgate, float *dup,
                             int level, int threads) {
    (void)level;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < count; from += GATE_BLOCK)
        CHOOSE(level, _grad)(g, gate, up, from, smaller(from + GATE_BLOCK, count), dgate, dup);
}
