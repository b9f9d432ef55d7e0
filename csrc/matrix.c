/* One vector: 4 bits in integers where that is allowed, other types by dot products over rows as they lie in memory.
 * More vectors: the kernels for few and many rows, which make rows dense on the way.
 */
#include "matrix.h"

#include "4bit_integer.h"
#include "many_rows.h"

#define FEW 16 /* vectors up to which reading the matrix costs more than multiplying */
#define TOGETHER 4

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

TARGET_AVX2 INLINE float sum_avx2(__m256 lanes) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/* Dot products of TOGETHER rows, `stride` bytes apart, with x; cols is a multiple of LANES. */
#define DOTS(NAME, TARGET, VEC, LANES, P, SIZE, FROM, SUM)                                                         \
    TARGET static void NAME(const char *rows, int64_t stride, const float *x, int64_t cols, float *out) {          \
        VEC sums[TOGETHER];                                                                                        \
        for (int r = 0; r < TOGETHER; r++) sums[r] = P##setzero_ps();                                              \
        for (int64_t k = 0; k < cols; k += LANES) {                                                                \
            const VEC right = P##loadu_ps(x + k);                                                                  \
            for (int r = 0; r < TOGETHER; r++) sums[r] = P##fmadd_ps(FROM(rows + r * stride + k * SIZE), right, sums[r]); \
        }                                                                                                          \
        for (int r = 0; r < TOGETHER; r++) out[r] = SUM(sums[r]);                                                  \
    }
DOTS(floats_avx2, TARGET_AVX2, __m256, 8, _mm256_, 4, FROM_FLOAT_AVX2, sum_avx2)
DOTS(halves_avx2, TARGET_AVX2, __m256, 8, _mm256_, 2, FROM_HALF_AVX2, sum_avx2)
DOTS(bfloats_avx2, TARGET_AVX2, __m256, 8, _mm256_, 2, FROM_BFLOAT_AVX2, sum_avx2)
DOTS(floats_avx512, TARGET_AVX512, __m512, 16, _mm512_, 4, FROM_FLOAT_AVX512, _mm512_reduce_add_ps)
DOTS(halves_avx512, TARGET_AVX512, __m512, 16, _mm512_, 2, FROM_HALF_AVX512, _mm512_reduce_add_ps)
DOTS(bfloats_avx512, TARGET_AVX512, __m512, 16, _mm512_, 2, FROM_BFLOAT_AVX512, _mm512_reduce_add_ps)

/* The same for bytes with a scale a block of columns; blocks are multiples of LANES. */
#define BYTE_DOTS(NAME, TARGET, VEC, LANES, P, FROM, SUM)                                                          \
    TARGET static void NAME(const int8_t *rows, const float *scales, const float *x, int64_t cols, int64_t block,  \
                            float *out) {                                                                          \
        VEC sums[TOGETHER];                                                                                        \
        for (int r = 0; r < TOGETHER; r++) sums[r] = P##setzero_ps();                                              \
        for (int64_t from = 0; from < cols; from += block, scales++) {                                             \
            VEC parts[TOGETHER];                                                                                   \
            for (int r = 0; r < TOGETHER; r++) parts[r] = P##setzero_ps();                                         \
            for (int64_t k = from; k < from + block; k += LANES) {                                                 \
                const VEC right = P##loadu_ps(x + k);                                                              \
                for (int r = 0; r < TOGETHER; r++) parts[r] = P##fmadd_ps(FROM(rows + r * cols + k), right, parts[r]); \
            }                                                                                                      \
            for (int r = 0; r < TOGETHER; r++)                                                                     \
                sums[r] = P##fmadd_ps(parts[r], P##set1_ps(scales[r * (cols / block)]), sums[r]);                  \
        }                                                                                                          \
        for (int r = 0; r < TOGETHER; r++) out[r] = SUM(sums[r]);                                                  \
    }
BYTE_DOTS(bytes_avx2, TARGET_AVX2, __m256, 8, _mm256_, FROM_BYTE_AVX2, sum_avx2)
BYTE_DOTS(bytes_avx512, TARGET_AVX512, __m512, 16, _mm512_, FROM_BYTE_AVX512, _mm512_reduce_add_ps)

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

typedef void (*dots_function)(const char *, int64_t, const float *, int64_t, float *);

static dots_function dots_of(int kind, int level) {
    const int wide = level >= AVX512;
    if (kind == FLOAT32) return wide ? floats_avx512 : floats_avx2;
    if (kind == FLOAT16) return wide ? halves_avx512 : halves_avx2;
    return wide ? bfloats_avx512 : bfloats_avx2;
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

/* TOGETHER rows from `first` on, times x. */
static void multiply_group(const matrix *m, int64_t first, const float *x, float *out, int level) {
    if (m->kind == EIGHT_BIT) {
        const int64_t units = m->cols / m->block;
        (level >= AVX512 ? bytes_avx512 : bytes_avx2)(
            (const int8_t *)m->values + first * m->cols, m->scales + first * units, x, m->cols, m->block, out);
        return;
    }
    const int64_t stride = m->cols * bytes_of(m->kind);
    dots_of(m->kind, level)((const char *)m->values + first * stride, stride, x, m->cols, out);
}

static void multiply_one(const matrix *m, const float *x, float *y, arithmetic how) {
    const int64_t groups = blocks_of(m->rows, TOGETHER);
    const int threads = m->rows * m->cols < PARALLEL_FROM ? 1 : how.threads;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t group = 0; group < groups; group++) {
        /* The last group may overlap the one before, which another thread has: it works on a copy. */
        const int64_t row = group * TOGETHER, first = row + TOGETHER <= m->rows ? row : m->rows - TOGETHER;
        float out[TOGETHER];
        multiply_group(m, first, x, out, how.level);
        for (int64_t r = row; r < smaller(row + TOGETHER, m->rows); r++)
            y[r] = out[r - first] + (m->bias ? m->bias[r] : 0.0f);
    }
}

/* Whether one vector is multiplied with rows as they lie. */
static int in_place(const matrix *m) {
    return m->kind != FOUR_BIT && m->cols % 16 == 0 && m->rows >= TOGETHER && (m->kind != EIGHT_BIT || m->block % 16 == 0);
}

static int in_integers(const matrix *m, int64_t count, arithmetic how) {
    return m->kind == FOUR_BIT && count == 1 && !how.exact && m->cols % GROUP == 0;
}

int multiply(const matrix *m, const float *x, int64_t count, float *y, arithmetic how) {
    if (in_integers(m, count, how))
        return multiply_integer(&(product4){m->values, m->bias, y}, 1, x, how.level, how.threads);
    if (count == 1 && in_place(m)) {
        multiply_one(m, x, y, how);
        return 1;
    }
    if (count <= FEW && m->cols % GROUP == 0) {
        const few_rows job = {m, decode_matrix, m->rows, m->cols, x, count, m->bias, y, how.level};
        return multiply_few(&job, how.threads);
    }
    const many_rows job = {{m, decode_matrix, x, m->cols}, {0}, 1, count, m->rows, m->bias, y, how.level};
    return multiply_many(&job, how.threads);
}

int multiply_several(const matrix *const *m, int matrices, const float *x, int64_t count, float *const *y, arithmetic how) {
    enum { MOST = 4 };
    product4 products[MOST];
    int alike = matrices <= MOST;
    for (int i = 0; alike && i < matrices; i++) {
        const weight4 *w = m[i]->values;
        alike = in_integers(m[i], count, how) && w->block == ((const weight4 *)m[0]->values)->block &&
                w->table == ((const weight4 *)m[0]->values)->table;
        products[i] = (product4){w, m[i]->bias, y[i]};
    }
    if (alike) return multiply_integer(products, matrices, x, how.level, how.threads);
    for (int i = 0; i < matrices; i++)
        if (!multiply(m[i], x, count, y[i], how)) return 0;
    return 1;
}

#else

void read_row(const matrix *m, int64_t row, float *out, int level) { (void)m, (void)row, (void)out, (void)level; }

int multiply(const matrix *m, const float *x, int64_t count, float *y, arithmetic how) {
    (void)m, (void)x, (void)count, (void)y, (void)how;
    return 0;
}

int multiply_several(const matrix *const *m, int matrices, const float *x, int64_t count, float *const *y, arithmetic how) {
    (void)m, (void)matrices, (void)x, (void)count, (void)y, (void)how;
    return 0;
}

#endif
