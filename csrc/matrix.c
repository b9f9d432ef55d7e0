/* Written vectors: 4 bits in integers where that is allowed, other types by dot products over rows as they lie in
 * memory. Vectors read in runs: the product for many rows, which makes the matrix dense a tile at a time.
 */
#include "matrix.h"

#include "4bit_integer.h"
#include "8bit_panels.h"
#include "lanes.h"
#include "many_rows.h"

enum { FEW = 16, TOGETHER = 4, STRETCH = 32 }; /* vectors, rows and columns that are in work at a time, at most */

#if HAVE_X86

/* Vectors of LANES values of each type, from an address. */
#define FROM_FLOAT_AVX2(from) _mm256_loadu_ps((const float *)(from))
#define FROM_HALF_AVX2(from) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from)))
#define FROM_BFLOAT_AVX2(from) \
    _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(from))), 16))
#define FROM_BYTE_AVX2(from) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(from))))
#define FROM_FLOAT_AVX512(from) _mm512_loadu_ps((const float *)(from))
#define FROM_HALF_AVX512(from) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(from)))
#define FROM_BFLOAT_AVX512(from) \
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from))), 16))
#define FROM_BYTE_AVX512(from) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(from))))

/* Dot products of TOGETHER rows, `stride` bytes apart, with `count` vectors x (count, cols), to out (count, TOGETHER).
 * A scale for each `block` of a row, or none; blocks are whole rows or multiples of STRETCH, cols is a multiple of 16.
 */
#define DOTS(NAME, TARGET, VEC, LANES, P, SIZE, FROM, SUM)                                                           \
    TARGET static void NAME(const char *rows, int64_t stride, const float *scales, int64_t block, const float *x,    \
                            int64_t count, int64_t cols, float *out) {                                               \
        VEC sums[FEW][TOGETHER];                                                                                     \
        for (int64_t v = 0; v < count; v++)                                                                          \
            for (int r = 0; r < TOGETHER; r++) sums[v][r] = P##setzero_ps();                                         \
        for (int64_t k = 0; k < cols; k += STRETCH) {                                                                \
            const int steps = (int)smaller(STRETCH, cols - k) / LANES;                                               \
            VEC weights[TOGETHER][STRETCH / LANES], scale[TOGETHER];                                                 \
            for (int r = 0; r < TOGETHER; r++) {                                                                     \
                _mm_prefetch(rows + (TOGETHER * k + STRETCH * r) * SIZE + AHEAD, _MM_HINT_T1);                       \
                for (int i = 0; i < steps; i++) weights[r][i] = FROM(rows + r * stride + (k + i * LANES) * SIZE);    \
                scale[r] = P##set1_ps(scales ? scales[r * (cols / block) + k / block] : 1.0f);                       \
            }                                                                                                        \
            for (int64_t v = 0; v < count; v++) {                                                                    \
                VEC part[TOGETHER];                                                                                  \
                for (int r = 0; r < TOGETHER; r++) part[r] = P##setzero_ps();                                        \
                for (int i = 0; i < steps; i++) {                                                                    \
                    const VEC right = P##loadu_ps(x + v * cols + k + i * LANES);                                     \
                    for (int r = 0; r < TOGETHER; r++) part[r] = P##fmadd_ps(weights[r][i], right, part[r]);         \
                }                                                                                                    \
                for (int r = 0; r < TOGETHER; r++) sums[v][r] = P##fmadd_ps(part[r], scale[r], sums[v][r]);          \
            }                                                                                                        \
        }                                                                                                            \
        for (int64_t v = 0; v < count; v++)                                                                          \
            for (int r = 0; r < TOGETHER; r++) out[v * TOGETHER + r] = SUM(sums[v][r]);                              \
    }
DOTS(floats_avx2, TARGET_AVX2, __m256, 8, _mm256_, 4, FROM_FLOAT_AVX2, sum_avx2)
DOTS(halves_avx2, TARGET_AVX2, __m256, 8, _mm256_, 2, FROM_HALF_AVX2, sum_avx2)
DOTS(bfloats_avx2, TARGET_AVX2, __m256, 8, _mm256_, 2, FROM_BFLOAT_AVX2, sum_avx2)
DOTS(bytes_avx2, TARGET_AVX2, __m256, 8, _mm256_, 1, FROM_BYTE_AVX2, sum_avx2)
DOTS(floats_avx512, TARGET_AVX512, __m512, 16, _mm512_, 4, FROM_FLOAT_AVX512, _mm512_reduce_add_ps)
DOTS(halves_avx512, TARGET_AVX512, __m512, 16, _mm512_, 2, FROM_HALF_AVX512, _mm512_reduce_add_ps)
DOTS(bfloats_avx512, TARGET_AVX512, __m512, 16, _mm512_, 2, FROM_BFLOAT_AVX512, _mm512_reduce_add_ps)
DOTS(bytes_avx512, TARGET_AVX512, __m512, 16, _mm512_, 1, FROM_BYTE_AVX512, _mm512_reduce_add_ps)

/* out[0 .. count) = scale * values, LANES at a time; what is left over is up to the caller. */
#define CONVERT(NAME, TARGET, VEC, LANES, P, SIZE, FROM)                                                      \
    TARGET static void NAME(const char *values, int64_t count, float scale, float *out) {                     \
        const VEC by = P##set1_ps(scale);                                                                     \
        for (int64_t k = 0; k + LANES <= count; k += LANES)                                                   \
            P##storeu_ps(out + k, P##mul_ps(FROM(values + k * SIZE), by));                                    \
    }
CONVERT(convert_bfloats_avx2, TARGET_AVX2, __m256, 8, _mm256_, 2, FROM_BFLOAT_AVX2)
CONVERT(convert_bytes_avx2, TARGET_AVX2, __m256, 8, _mm256_, 1, FROM_BYTE_AVX2)
CONVERT(convert_halves_avx2, TARGET_AVX2, __m256, 8, _mm256_, 2, FROM_HALF_AVX2)

typedef void (*dots_function)(const char *, int64_t, const float *, int64_t, const float *, int64_t, int64_t, float *);

static dots_function dots_of(int kind, int level) {
    const int wide = level >= AVX512;
    if (kind == FLOAT32) return wide ? floats_avx512 : floats_avx2;
    if (kind == FLOAT16) return wide ? halves_avx512 : halves_avx2;
    if (kind == BFLOAT16) return wide ? bfloats_avx512 : bfloats_avx2;
    return wide ? bytes_avx512 : bytes_avx2;
}

static int64_t bytes_of(int kind) { return kind == FLOAT32 ? 4 : kind == EIGHT_BIT ? 1 : 2; }

static void decode_bytes(const matrix *m, int64_t row, int64_t k, int64_t count, float *out) {
    const int8_t *codes = (const int8_t *)m->values + row * m->cols;
    const float *scales = m->scales + row * (m->cols / m->block);
    for (const int64_t begin = k, end = k + count; k < end;) {
        const int64_t here = smaller((k / m->block + 1) * m->block, end) - k;
        const float scale = scales[k / m->block];
        convert_bytes_avx2((const char *)codes + k, here, scale, out + (k - begin));
        for (int64_t i = here / 8 * 8; i < here; i++) out[k - begin + i] = (float)codes[k + i] * scale;
        k += here;
    }
}

static void decode_matrix(const void *from, int64_t row, int64_t k, int64_t count, float *out, int level) {
    const matrix *m = from;
    if (m->kind == FOUR_BIT) {
        decode_range(m->values, row * m->cols + k, count, out, level);
        return;
    }
    if (m->kind == EIGHT_BIT) {
        decode_bytes(m, row, k, count, out);
        return;
    }
    int64_t done = 0;
    if (m->kind != FLOAT32) {
        const char *values = (const char *)m->values + (row * m->cols + k) * bytes_of(m->kind);
        (m->kind == FLOAT16 ? convert_halves_avx2 : convert_bfloats_avx2)(values, count, 1.0f, out);
        done = count / 8 * 8;
    }
    read_floats(m->values, m->kind, row * m->cols + k + done, count - done, out + done);
}

void read_row(const matrix *m, int64_t row, float *out, int level) { decode_matrix(m, row, 0, m->cols, out, level); }

/* At most FEW vectors times rows as they lie. */
static void multiply_in_place(const matrix *m, const float *x, int64_t count, float *y, arithmetic how) {
    const dots_function dots = dots_of(m->kind, how.level);
    const int64_t groups = blocks_of(m->rows, TOGETHER), stride = m->cols * bytes_of(m->kind);
    const int64_t units = m->kind == EIGHT_BIT ? m->cols / m->block : 0;
    const int threads = m->rows * m->cols * count < PARALLEL_FROM ? 1 : how.threads;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t group = 0; group < groups; group++) {
        /* The last group may overlap the one before, which another thread has: it works on a copy. */
        const int64_t row = group * TOGETHER, first = row + TOGETHER <= m->rows ? row : m->rows - TOGETHER;
        float out[FEW * TOGETHER];
        dots((const char *)m->values + first * stride, stride, units ? m->scales + first * units : NULL, m->block, x, count,
             m->cols, out);
        for (int64_t v = 0; v < count; v++)
            for (int64_t r = row; r < smaller(row + TOGETHER, m->rows); r++)
                y[v * m->rows + r] = out[v * TOGETHER + r - first] + (m->bias ? m->bias[r] : 0.0f);
    }
}

static int fits_in_place(const matrix *m) {
    const int blocks_fit = m->kind != EIGHT_BIT || m->block == m->cols || m->block % STRETCH == 0;
    return m->kind != FOUR_BIT && m->cols % 16 == 0 && m->rows >= TOGETHER && blocks_fit;
}

static int in_integers(const matrix *m, arithmetic how) {
    return m->kind == FOUR_BIT && !how.exact && m->cols % GROUP == 0;
}

static int multiply_in_panels(const matrix *m, const float *x, int64_t count, float *y, arithmetic how) {
    const panels8 panels = {m->values, m->scales, m->bias, m->rows, m->cols};
    return multiply_panels(&panels, x, count, y, how.level, how.threads);
}

static int multiply_read(const matrix *m, const float *x, int64_t count, float *y, arithmetic how) {
    if (m->kind == PANELS) return multiply_in_panels(m, x, count, y, how);
    const many_rows job = {{m, decode_matrix, x, m->cols}, {0}, 1, count, m->rows, m->bias, y, how.level};
    return !count || multiply_many(&job, how.threads);
}

static int multiply_written(const matrix *m, const float *x, int64_t count, float *y, arithmetic how) {
    if (m->kind == PANELS) return multiply_in_panels(m, x, count, y, how);
    if (in_integers(m, how))
        return multiply_integer_few(&(product4){m->values, m->bias, y}, 1, x, count, how.level, how.threads);
    const int whole_groups = m->kind == FOUR_BIT && m->cols % GROUP == 0;
    if (!whole_groups && !fits_in_place(m)) return multiply_read(m, x, count, y, how);
    for (int64_t done = 0; done < count; done += FEW) {
        const int64_t here = smaller(FEW, count - done);
        const few_rows job = {m, decode_matrix, m->rows, m->cols, x + done * m->cols, here, m->bias, y + done * m->rows,
                              how.level};
        if (!whole_groups) multiply_in_place(m, x + done * m->cols, here, y + done * m->rows, how);
        else if (!multiply_few(&job, how.threads)) return 0;
    }
    return 1;
}

int multiply(const matrix *m, vectors in, float *y, arithmetic how) {
    return multiply_written(m, in.x, in.written, y, how) &&
           multiply_read(m, in.x + in.written * m->cols, in.read, y + in.written * m->rows, how);
}

/* Products that can be done at once, with vectors that are rounded once. */
static int in_integers_together(const matrix *const *m, int matrices, arithmetic how) {
    if (matrices > MOST_PRODUCTS || !in_integers(m[0], how)) return 0;
    const weight4 *first = m[0]->values;
    for (int i = 1; i < matrices; i++) {
        const weight4 *w = m[i]->values;
        if (!in_integers(m[i], how) || w->block != first->block || w->table != first->table) return 0;
    }
    return 1;
}

int multiply_several(const matrix *const *m, int matrices, vectors in, float *const *y, arithmetic how) {
    const int together = in.written && in_integers_together(m, matrices, how);
    if (together) {
        product4 products[MOST_PRODUCTS];
        for (int i = 0; i < matrices; i++) products[i] = (product4){m[i]->values, m[i]->bias, y[i]};
        if (!multiply_integer_few(products, matrices, in.x, in.written, how.level, how.threads)) return 0;
    }
    for (int i = 0; i < matrices; i++) {
        const int64_t first = together ? in.written : 0;
        const vectors rest = {in.x + first * m[i]->cols, in.written - first, in.read};
        if (!multiply(m[i], rest, y[i] + first * m[i]->rows, how)) return 0;
    }
    return 1;
}

#else

void read_row(const matrix *m, int64_t row, float *out, int level) { (void)m, (void)row, (void)out, (void)level; }

int multiply(const matrix *m, vectors in, float *y, arithmetic how) {
    (void)m, (void)in, (void)y, (void)how;
    return 0;
}

int multiply_several(const matrix *const *m, int matrices, vectors in, float *const *y, arithmetic how) {
    (void)m, (void)matrices, (void)in, (void)y, (void)how;
    return 0;
}

#endif
