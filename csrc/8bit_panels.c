/* Activations are rounded to 15 bits with a scale for each GROUP of them. A lane belongs to one row, so that no sum runs
 * across lanes and a vector's result has the same bits in any company.
 */
#include "8bit_panels.h"

#include "integer_parts.h"

#if HAVE_X86

enum { PAIRS = PANEL_BLOCK / 2, PANEL_BYTES = PAIRS * PANEL_ROWS * 2 };

INLINE int32_t pair_at(const int16_t *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return pair;
}

/* Dot products of one panel with `count` vectors, to out (count, PANEL_ROWS). x (count, cols) and x_scales (count, cols /
 * GROUP) are what was rounded. A panel's rows fill PARTS vectors; a block's sums of integers stay below 2^27.
 */
#define DOTS(NAME, TARGET, VEC, INT, PARTS, P, WIDEN, DOT, ADD, SET1, TO_FLOAT)                                           \
    TARGET INLINE void NAME##_of(const int8_t *codes, const float *scales, const int16_t *x, const float *x_scales,       \
                                 const int64_t count, int64_t cols, float *out) {                                         \
        VEC sums[MOST_INTEGER_VECTORS][PARTS];                                                                            \
        for (int64_t v = 0; v < count; v++)                                                                               \
            for (int p = 0; p < PARTS; p++) sums[v][p] = P##setzero_ps();                                                 \
        for (int64_t k = 0; k < cols; k += PANEL_BLOCK, codes += PANEL_BYTES, scales += PANEL_ROWS) {                     \
            INT weights[PARTS][PAIRS];                                                                                    \
            for (int i = 0; i < PANEL_BYTES; i += 64) _mm_prefetch((const char *)codes + i + AHEAD, _MM_HINT_T1);         \
            for (int i = 0; i < PAIRS; i++)                                                                               \
                for (int p = 0; p < PARTS; p++)                                                                           \
                    weights[p][i] = WIDEN(codes + (i * PARTS + p) * (2 * PANEL_ROWS / PARTS));                            \
            for (int64_t v = 0; v < count; v++) {                                                                         \
                const int16_t *values = x + v * cols + k;                                                                 \
                const VEC by = P##set1_ps(x_scales[v * (cols / GROUP) + k / GROUP]);                                      \
                for (int p = 0; p < PARTS; p++) {                                                                         \
                    INT even = DOT(SET1(0), weights[p][0], SET1(pair_at(values)));                                        \
                    INT odd = DOT(SET1(0), weights[p][1], SET1(pair_at(values + 2)));                                     \
                    for (int i = 2; i < PAIRS; i += 2) {                                                                  \
                        even = DOT(even, weights[p][i], SET1(pair_at(values + 2 * i)));                                   \
                        odd = DOT(odd, weights[p][i + 1], SET1(pair_at(values + 2 * i + 2)));                             \
                    }                                                                                                     \
                    const VEC scale = P##mul_ps(P##loadu_ps(scales + p * (PANEL_ROWS / PARTS)), by);                      \
                    sums[v][p] = P##fmadd_ps(TO_FLOAT(ADD(even, odd)), scale, sums[v][p]);                                \
                }                                                                                                         \
            }                                                                                                             \
        }                                                                                                                 \
        for (int64_t v = 0; v < count; v++)                                                                               \
            for (int p = 0; p < PARTS; p++) P##storeu_ps(out + v * PANEL_ROWS + p * (PANEL_ROWS / PARTS), sums[v][p]);    \
    }                                                                                                                     \
    TARGET static void NAME(const int8_t *codes, const float *scales, const int16_t *x, const float *x_scales,            \
                            int64_t count, int64_t cols, float *out) {                                                    \
        if (count == 1) NAME##_of(codes, scales, x, x_scales, 1, cols, out); /* its sums stay in registers */             \
        else NAME##_of(codes, scales, x, x_scales, count, cols, out);                                                     \
    }

#define WIDEN_AVX2(from) _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(from)))
#define WIDEN_AVX512(from) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(from)))
#define DOT_AVX2(sum, weights, x) _mm256_add_epi32(sum, _mm256_madd_epi16(weights, x))

DOTS(dots_avx2, TARGET_AVX2, __m256, __m256i, 2, _mm256_, WIDEN_AVX2, DOT_AVX2, _mm256_add_epi32, _mm256_set1_epi32,
     _mm256_cvtepi32_ps)
DOTS(dots_avx512, TARGET_AVX512, __m512, __m512i, 1, _mm512_, WIDEN_AVX512, _mm512_dpwssd_epi32, _mm512_add_epi32,
     _mm512_set1_epi32, _mm512_cvtepi32_ps)

static void multiply_panel(const panels8 *w, int64_t panel, const int16_t *x, const float *x_scales, int64_t count, float *y,
                           int level) {
    float out[MOST_INTEGER_VECTORS * PANEL_ROWS];
    const int64_t row = panel * PANEL_ROWS, rows = smaller(PANEL_ROWS, w->rows - row);
    (level >= AVX512 ? dots_avx512 : dots_avx2)(w->codes + row * w->cols, w->scales + row * (w->cols / PANEL_BLOCK), x,
                                                x_scales, count, w->cols, out);
    for (int64_t v = 0; v < count; v++)
        for (int64_t r = 0; r < rows; r++)
            y[v * w->rows + row + r] = out[v * PANEL_ROWS + r] + (w->bias ? w->bias[row + r] : 0.0f);
}

static int multiply_some(const panels8 *w, const float *x, int64_t count, float *y, int level, int threads) {
    const int64_t groups = count * (w->cols / GROUP), panels = blocks_of(w->rows, PANEL_ROWS);
    const size_t bytes = (size_t)(count * w->cols) * sizeof(int16_t) + (size_t)groups * sizeof(float);
    int16_t *values = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (!values) return 0;
    float *x_scales = (float *)(values + count * w->cols);
    if (w->rows * w->cols * count < PARALLEL_FROM || threads < 1) threads = 1;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < groups; i++) x_scales[i] = round_group(x + i * GROUP, 1.0f, values + i * GROUP);
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < panels; panel++) multiply_panel(w, panel, values, x_scales, count, y, level);
    }
    free(values);
    return 1;
}

int multiply_panels(const panels8 *w, const float *x, int64_t count, float *y, int level, int threads) {
    for (int64_t done = 0; done < count; done += MOST_INTEGER_VECTORS)
        if (!multiply_some(w, x + done * w->cols, smaller(MOST_INTEGER_VECTORS, count - done), y + done * w->rows, level, threads))
            return 0;
    return 1;
}

#endif
