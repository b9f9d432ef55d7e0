/* Several vectors times 4-bit matrices, in integers: codes are looked up once for all of them. Each vector's result has
 * the same bits as alone, so that what stands beside it in a batch changes nothing.
 */
#include "integer_parts.h"

#if HAVE_X86

typedef struct {
    const product4 *products; /* with one table, block size and column count */
    int matrices;
    const rounded *x; /* one for each vector */
    int64_t count, cols;
    const int16_t *levels;
    const float *ones;
} few_work;

/* Dot products of ROWS rows with `count` vectors, to out (count, ROWS). */
TARGET_AVX512 static void dots_avx512(const uint8_t *const codes[ROWS], const float *const scales[ROWS],
                                      const few_work *job, float *out) {
    const __m512i table = _mm512_loadu_si512(job->levels);
    const int64_t cols = job->cols;
    __m512 sums[MOST_INTEGER_VECTORS][ROWS];
    for (int64_t v = 0; v < job->count; v++)
        for (int r = 0; r < ROWS; r++) sums[v][r] = _mm512_setzero_ps();
    /* Row r's two products of scales, each over half a vector. */
    const __m512i first = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512i spread[ROWS];
    for (int r = 0; r < ROWS; r++) spread[r] = _mm512_add_epi32(first, _mm512_set1_epi32(2 * r));
    int64_t k = 0, unit = 0;
    for (; k + 2 * GROUP <= cols; k += 2 * GROUP, unit += 2) {
        const __m256 ours = two_scales(scales, unit);
        __m512i level[ROWS][4];
        for (int r = 0; r < ROWS; r++) {
            const __m512i word = _mm512_loadu_si512(codes[r] + k / 2);
            _mm_prefetch((const char *)codes[0] + ROWS / 2 * k + 64 * r + AHEAD, _MM_HINT_T1);
            level[r][0] = _mm512_permutexvar_epi16(word, table);
            level[r][1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 4), table);
            level[r][2] = _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 8), table);
            level[r][3] = _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 12), table);
        }
        for (int64_t v = 0; v < job->count; v++) {
            const int16_t *x = job->x[v].values + k;
            const __m128d pair = _mm_castps_pd(two_floats(job->x[v].scales + unit));
            const __m256 theirs = _mm256_castpd_ps(_mm256_broadcastsd_pd(pair));
            const __m512 products = _mm512_castps256_ps512(_mm256_mul_ps(ours, theirs));
            __m512i dot[ROWS];
            for (int r = 0; r < ROWS; r++) dot[r] = _mm512_setzero_si512();
            for (int i = 0; i < 4; i++) {
                const __m512i operand = _mm512_loadu_si512(x + 32 * i);
                for (int r = 0; r < ROWS; r++) dot[r] = _mm512_dpwssd_epi32(dot[r], level[r][i], operand);
            }
            for (int r = 0; r < ROWS; r++)
                sums[v][r] = _mm512_fmadd_ps(
                    _mm512_cvtepi32_ps(dot[r]), _mm512_permutexvar_ps(spread[r], products), sums[v][r]);
        }
    }
    for (int64_t v = 0; v < job->count; v++) {
        __m256 folded[ROWS];
        for (int r = 0; r < ROWS; r++) folded[r] = fold_avx512(sums[v][r]);
        if (k < cols) {
            float last[ROWS];
            for (int r = 0; r < ROWS; r++) last[r] = scales[r][unit] * job->x[v].scales[unit];
            add_last_avx512(codes, last, job->x[v].values + k, k, table, folded);
        }
        _mm_storeu_ps(out + v * ROWS, sum_lanes(folded));
    }
}

TARGET_AVX2 static void dots_avx2(const uint8_t *const codes[ROWS], const float *const scales[ROWS], const few_work *job,
                                  float *out) {
    uint8_t low[16], high[16];
    for (int i = 0; i < 16; i++)
        low[i] = (uint8_t)(job->levels[i] & 255), high[i] = (uint8_t)((uint16_t)job->levels[i] >> 8);
    const __m256i low_table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)low));
    const __m256i high_table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)high));
    __m256 sums[MOST_INTEGER_VECTORS][ROWS];
    for (int64_t v = 0; v < job->count; v++)
        for (int r = 0; r < ROWS; r++) sums[v][r] = _mm256_setzero_ps();
    for (int64_t k = 0, unit = 0; k < job->cols; k += GROUP, unit++)
        for (int r = 0; r < ROWS; r++) {
            __m256i level[4];
            look_up_avx2(codes[r] + k / 2, low_table, high_table, level);
            if (r % 2) _mm_prefetch((const char *)codes[0] + ROWS / 2 * k + 32 * (r - 1) + AHEAD, _MM_HINT_T1);
            for (int64_t v = 0; v < job->count; v++) {
                const __m256i *x = (const __m256i *)(job->x[v].values + k);
                const __m256i a = _mm256_madd_epi16(level[0], x[0]), b = _mm256_madd_epi16(level[1], x[1]);
                const __m256i c = _mm256_madd_epi16(level[2], x[2]), d = _mm256_madd_epi16(level[3], x[3]);
                const __m256i dot = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
                const __m256 scale = _mm256_set1_ps(scales[r][unit] * job->x[v].scales[unit]);
                sums[v][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, sums[v][r]);
            }
        }
    for (int64_t v = 0; v < job->count; v++) _mm_storeu_ps(out + v * ROWS, sum_lanes(sums[v]));
}

static void multiply_rows(const few_work *job, const product4 *product, int64_t from, int64_t to, float *scratch,
                          int level) {
    const weight4 *w = product->w;
    const int64_t units = w->cols / unit_of(w);
    decoded_scales decoded = {.run = -1};
    for (int64_t row = from; row < to; row += ROWS) {
        const int64_t rows = smaller(ROWS, to - row);
        const uint8_t *codes[ROWS];
        const float *scales[ROWS];
        float out[MOST_INTEGER_VECTORS * ROWS];
        multiply_scales(w, row * units, rows * units, job->ones, &decoded, scratch);
        for (int64_t r = 0; r < ROWS; r++) {
            codes[r] = w->codes + (row + smaller(r, rows - 1)) * (w->cols / 2);
            scales[r] = scratch + smaller(r, rows - 1) * units;
        }
        (level >= AVX512 ? dots_avx512 : dots_avx2)(codes, scales, job, out);
        for (int64_t v = 0; v < job->count; v++)
            for (int64_t r = 0; r < rows; r++)
                product->y[v * w->rows + row + r] = out[v * ROWS + r] + (product->bias ? product->bias[row + r] : 0.0f);
    }
}

/* One thread's share of the rows of all matrices, in groups of ROWS. */
static void multiply_share(const few_work *job, int64_t from, int64_t to, float *scratch, int level) {
    for (int i = 0; i < job->matrices; i++) {
        const int64_t rows = job->products[i].w->rows, groups = blocks_of(rows, ROWS);
        if (from < groups && to > 0)
            multiply_rows(job, job->products + i, larger(from, 0) * ROWS, smaller(to * ROWS, rows), scratch, level);
        from -= groups, to -= groups;
    }
}

/* Room for rounded vectors and for scratch of each thread, in one piece of memory. */
static char *make_room(const weight4 *w, int64_t count, int threads, rounded *in, float **ones, float **scratch) {
    const int64_t units = w->cols / unit_of(w);
    const size_t values = (size_t)w->cols * sizeof(int16_t), scales = (size_t)(ROWS * units) * sizeof(float);
    const size_t each = (values + scales + 63) & ~(size_t)63;
    char *memory = aligned_alloc(64, each * (size_t)count + ((scales * (size_t)(1 + threads) + 63) & ~(size_t)63));
    if (!memory) return NULL;
    for (int64_t v = 0; v < count; v++)
        in[v] = (rounded){(int16_t *)(memory + each * (size_t)v), (float *)(memory + each * (size_t)v + values)};
    *ones = (float *)(memory + each * (size_t)count), *scratch = *ones + ROWS * units;
    for (int64_t i = 0; i < ROWS * units; i++) (*ones)[i] = 1.0f;
    return memory;
}

static int multiply_some(const product4 *products, int matrices, const float *x, int64_t count, int level, int threads) {
    const weight4 *w = products[0].w;
    const int64_t units = w->cols / unit_of(w);
    int64_t groups = 0;
    for (int i = 0; i < matrices; i++) groups += blocks_of(products[i].w->rows, ROWS);
    if (groups * ROWS * w->cols * count < PARALLEL_FROM || threads < 1) threads = 1;
    rounded in[MOST_INTEGER_VECTORS];
    float *ones, *scratch;
    char *memory = make_room(w, count, threads, in, &ones, &scratch);
    if (!memory) return 0;
    const integer_table table = round_table(w->table);
    const few_work job = {products, matrices, in, count, w->cols, table.level, ones};
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (int64_t v = 0; v < count; v++) round_vector(x + v * w->cols, w, table.step, level, in + v);
#pragma omp for schedule(static, 1)
        for (int t = 0; t < threads; t++)
            multiply_share(&job, groups * t / threads, groups * (t + 1) / threads, scratch + t * ROWS * units, level);
    }
    free(memory);
    return 1;
}

int multiply_integer_few(const product4 *products, int matrices, const float *x, int64_t count, int level, int threads) {
    const weight4 *w = products[0].w;
    const int64_t most = count == 1 || w->block < GROUP ? 1 : MOST_INTEGER_VECTORS;
    for (int64_t done = 0; done < count; done += most) {
        const int64_t here = smaller(most, count - done);
        product4 part[MOST_PRODUCTS] = {{0}};
        for (int i = 0; i < matrices; i++)
            part[i] = (product4){products[i].w, products[i].bias, products[i].y + done * products[i].w->rows};
        if (here > 1 ? !multiply_some(part, matrices, x + done * w->cols, here, level, threads)
                     : !multiply_integer(part, matrices, x + done * w->cols, level, threads))
            return 0;
    }
    return 1;
}

#endif
