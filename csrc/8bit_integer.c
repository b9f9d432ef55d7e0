/* Vectors times a matrix of 8-bit integers in blocks, activations rounded to 15 bits with a scale for each GROUP of them.
 * Each vector's result has the same bits as alone.
 */
#include "8bit_integer.h"

#include "4bit_integer_parts.h"

#if HAVE_X86

enum { BLOCK = INTEGER_BLOCK };

/* Adds ROWS rows' products of one group of columns with one vector; ours: two scales of each row. */
#define ADD_GROUP(VEC, INT, LANES, P, DOT, TO_FLOAT)                                                              \
    for (int u = 0; u < 2; u++)                                                                                   \
        for (int r = 0; r < ROWS; r++) {                                                                          \
            const INT dot = DOT(weights[r][u], values + u * BLOCK);                                               \
            sums[r] = P##fmadd_ps(TO_FLOAT(dot), P##set1_ps(products[2 * r + u]), sums[r]);                       \
        }

/* Dot products of ROWS rows of codes with `count` vectors, to out (count, ROWS). x (count, cols) and x_scales (count, cols /
 * GROUP) are what was rounded; scales has cols / BLOCK a row. A single vector's sums stay in registers.
 */
#define DOTS(NAME, TARGET, VEC, INT, LANES, P, WIDEN, DOT, TO_FLOAT, SUM)                                             \
    TARGET INLINE void NAME##_of(const int8_t *rows, const float *scales, const int16_t *x, const float *x_scales,    \
                                 const int64_t count, int64_t cols, float *out) {                                     \
        const int64_t units = cols / BLOCK;                                                                           \
        VEC all[MOST_INTEGER_VECTORS][ROWS];                                                                          \
        for (int64_t v = 0; v < count; v++)                                                                           \
            for (int r = 0; r < ROWS; r++) all[v][r] = P##setzero_ps();                                               \
        const float *const starts[ROWS] = {scales, scales + units, scales + 2 * units, scales + 3 * units};           \
        for (int64_t k = 0; k < cols; k += GROUP) {                                                                   \
            INT weights[ROWS][2][BLOCK / LANES];                                                                      \
            for (int r = 0; r < ROWS; r++) _mm_prefetch((const char *)rows + ROWS * k + GROUP * r + AHEAD, _MM_HINT_T1); \
            for (int r = 0; r < ROWS; r++)                                                                            \
                for (int i = 0; i < GROUP / LANES; i++)                                                               \
                    weights[r][i * LANES / BLOCK][i % (BLOCK / LANES)] = WIDEN(rows + r * cols + k + i * LANES);      \
            const __m256 ours = two_scales(starts, k / BLOCK);                                                        \
            for (int64_t v = 0; v < count; v++) {                                                                     \
                const int16_t *values = x + v * cols + k;                                                             \
                float products[2 * ROWS];                                                                             \
                _mm256_storeu_ps(products, _mm256_mul_ps(ours, _mm256_set1_ps(x_scales[v * (cols / GROUP) + k / GROUP]))); \
                VEC *sums = all[v];                                                                                   \
                ADD_GROUP(VEC, INT, LANES, P, DOT, TO_FLOAT)                                                          \
            }                                                                                                         \
        }                                                                                                             \
        for (int64_t v = 0; v < count; v++)                                                                           \
            for (int r = 0; r < ROWS; r++) out[v * ROWS + r] = SUM(all[v][r]);                                        \
    }                                                                                                                 \
    TARGET static void NAME(const int8_t *rows, const float *scales, const int16_t *x, const float *x_scales,         \
                            int64_t count, int64_t cols, float *out) {                                                \
        if (count == 1) NAME##_of(rows, scales, x, x_scales, 1, cols, out);                                           \
        else NAME##_of(rows, scales, x, x_scales, count, cols, out);                                                  \
    }

#define WIDEN_AVX2(from) _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(from)))
#define WIDEN_AVX512(from) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(from)))
#define DOT_AVX2(weights, x)                                                                  \
    _mm256_add_epi32(_mm256_madd_epi16(weights[0], _mm256_loadu_si256((const __m256i *)(x))), \
                     _mm256_madd_epi16(weights[1], _mm256_loadu_si256((const __m256i *)((x) + 16))))
#define DOT_AVX512(weights, x) _mm512_dpwssd_epi32(_mm512_setzero_si512(), weights[0], _mm512_loadu_si512(x))

TARGET_AVX2 INLINE float sum_avx2(__m256 lanes) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

DOTS(dots_avx2, TARGET_AVX2, __m256, __m256i, 16, _mm256_, WIDEN_AVX2, DOT_AVX2, _mm256_cvtepi32_ps,
     sum_avx2)
DOTS(dots_avx512, TARGET_AVX512, __m512, __m512i, 32, _mm512_, WIDEN_AVX512, DOT_AVX512,
     _mm512_cvtepi32_ps, _mm512_reduce_add_ps)

static int multiply_some(const bytes8 *w, const float *x, int64_t count, float *y, int level, int threads) {
    const int64_t units = w->cols / GROUP, groups = blocks_of(w->rows, ROWS);
    int16_t *values = aligned_alloc(64, (size_t)(count * w->cols) * sizeof(int16_t));
    float x_scales[MOST_INTEGER_VECTORS * MOST_INTEGER_COLS / GROUP];
    if (!values) return 0;
    for (int64_t i = 0; i < count * units; i++) x_scales[i] = round_group(x + i * GROUP, 1.0f, values + i * GROUP);
    if (w->rows * w->cols * count < PARALLEL_FROM || threads < 1) threads = 1;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t group = 0; group < groups; group++) {
        /* The last group may overlap the one before, which another thread has: it works on a copy. */
        const int64_t row = group * ROWS, first = row + ROWS <= w->rows ? row : w->rows - ROWS;
        float out[MOST_INTEGER_VECTORS * ROWS];
        (level >= AVX512 ? dots_avx512 : dots_avx2)(
            w->codes + first * w->cols, w->scales + first * (w->cols / BLOCK), values, x_scales, count, w->cols, out);
        for (int64_t v = 0; v < count; v++)
            for (int64_t r = row; r < smaller(row + ROWS, w->rows); r++)
                y[v * w->rows + r] = out[v * ROWS + r - first] + (w->bias ? w->bias[r] : 0.0f);
    }
    free(values);
    return 1;
}

int multiply_bytes(const bytes8 *w, const float *x, int64_t count, float *y, int level, int threads) {
    for (int64_t done = 0; done < count; done += MOST_INTEGER_VECTORS)
        if (!multiply_some(w, x + done * w->cols, smaller(MOST_INTEGER_VECTORS, count - done), y + done * w->rows, level, threads))
            return 0;
    return 1;
}

#endif
