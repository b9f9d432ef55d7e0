/* Few vectors times a quantized matrix in float32: four rows at a time are made dense in the first-level cache, then
 * multiplied with as many vectors as there are registers for.
 */
#include "few_rows.h"

#include "lanes.h"

#define ROWS 4
#define MOST_VECTORS 6
#define CHUNK 1024 /* columns that are dense at a time: ROWS * CHUNK floats fill half of a 32 KB cache */

/* Adds the products of ROWS dense rows with VECTORS vectors to sums (ROWS, VECTORS, LANES). */
#define MULTIPLY(NAME, TARGET, VECTORS, VEC, LANES, LOAD, STORE, MULTIPLY_ADD)                                 \
    TARGET static void NAME(                                                                                   \
        const float *dense, const float *x, int64_t stride, int64_t count, float *sums                         \
    ) {                                                                                                        \
        VEC total[ROWS][VECTORS];                                                                              \
        for (int r = 0; r < ROWS; r++)                                                                         \
            for (int v = 0; v < VECTORS; v++) total[r][v] = LOAD(sums + (r * VECTORS + v) * LANES);            \
        for (int64_t k = 0; k < count; k += LANES) {                                                           \
            VEC operand[VECTORS];                                                                              \
            for (int v = 0; v < VECTORS; v++) operand[v] = LOAD(x + v * stride + k);                           \
            for (int r = 0; r < ROWS; r++) {                                                                   \
                const VEC weight = LOAD(dense + r * CHUNK + k);                                                \
                for (int v = 0; v < VECTORS; v++) total[r][v] = MULTIPLY_ADD(weight, operand[v], total[r][v]); \
            }                                                                                                  \
        }                                                                                                      \
        for (int r = 0; r < ROWS; r++)                                                                         \
            for (int v = 0; v < VECTORS; v++) STORE(sums + (r * VECTORS + v) * LANES, total[r][v]);            \
    }

/* Adds up the LANES partial sums of each of `count` results. */
#define REDUCE(NAME, TARGET, LANES, SUM)                                             \
    TARGET static void NAME(const float *sums, int64_t count, float *totals) {       \
        for (int64_t i = 0; i < count; i++) totals[i] = SUM(sums + i * LANES);       \
    }

typedef void (*reduce_function)(const float *, int64_t, float *);
typedef void (*multiply_function)(const float *, const float *, int64_t, int64_t, float *);

/* What a level offers: kernels for 1 .. vectors vectors, each with `lanes` partial sums. */
typedef struct {
    int lanes, vectors;
    const multiply_function *multiply;
    reduce_function reduce;
} kernel_set;

#define LOAD_ONE(from) (*(from))
#define STORE_ONE(to, value) (*(to) = (value))
#define MULTIPLY_ADD_ONE(a, b, c) ((a) * (b) + (c))
MULTIPLY(portable1, , 1, float, 1, LOAD_ONE, STORE_ONE, MULTIPLY_ADD_ONE)
MULTIPLY(portable2, , 2, float, 1, LOAD_ONE, STORE_ONE, MULTIPLY_ADD_ONE)
static const multiply_function portable_functions[] = {portable1, portable2};
REDUCE(reduce_portable, , 1, LOAD_ONE)
static const kernel_set portable_set = {1, 2, portable_functions, reduce_portable};

#if HAVE_X86
#define AVX2_KERNEL(NAME, VECTORS) \
    MULTIPLY(NAME, TARGET_AVX2, VECTORS, __m256, 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps)
AVX2_KERNEL(avx2_1, 1)
AVX2_KERNEL(avx2_2, 2)
AVX2_KERNEL(avx2_3, 3)
static const multiply_function avx2_functions[] = {avx2_1, avx2_2, avx2_3};
#define SUM_AVX2(lanes) sum_avx2(_mm256_loadu_ps(lanes))
REDUCE(reduce_avx2, TARGET_AVX2, 8, SUM_AVX2)
static const kernel_set avx2_set = {8, 3, avx2_functions, reduce_avx2};

#define AVX512_KERNEL(NAME, VECTORS) \
    MULTIPLY(NAME, TARGET_AVX512, VECTORS, __m512, 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps)
AVX512_KERNEL(avx512_1, 1)
AVX512_KERNEL(avx512_2, 2)
AVX512_KERNEL(avx512_3, 3)
AVX512_KERNEL(avx512_4, 4)
AVX512_KERNEL(avx512_5, 5)
AVX512_KERNEL(avx512_6, 6)
static const multiply_function avx512_functions[] = {avx512_1, avx512_2, avx512_3, avx512_4, avx512_5, avx512_6};
#define SUM_AVX512(lanes) _mm512_reduce_add_ps(_mm512_loadu_ps(lanes))
REDUCE(reduce_avx512, TARGET_AVX512, 16, SUM_AVX512)
static const kernel_set avx512_set = {16, 6, avx512_functions, reduce_avx512};
#endif

static const kernel_set *kernels_of(int level) {
#if HAVE_X86
    if (level >= AVX512) return &avx512_set;
    if (level >= AVX2) return &avx2_set;
#endif
    return &portable_set;
}

static void finish(
    const few_rows *job, const float *sums, int64_t first, int64_t vectors, int64_t row, int64_t rows
) {
    float totals[ROWS * MOST_VECTORS];
    kernels_of(job->level)->reduce(sums, rows * vectors, totals);
    for (int64_t v = 0; v < vectors; v++)
        for (int64_t r = 0; r < rows; r++)
            job->y[(first + v) * job->rows + row + r] = totals[r * vectors + v] + (job->bias ? job->bias[row + r] : 0.0f);
}

static void multiply_rows(const few_rows *job, int64_t row, int64_t rows, float *sums) {
    const kernel_set *set = kernels_of(job->level);
    float dense[ROWS * CHUNK];
    if (rows < ROWS) memset(dense, 0, sizeof dense);
    memset(sums, 0, (size_t)(ROWS * job->count * set->lanes) * sizeof(float));
    for (int64_t k = 0; k < job->cols; k += CHUNK) {
        const int64_t here = smaller(CHUNK, job->cols - k);
        for (int64_t r = 0; r < rows; r++) job->decode(job->matrix, row + r, k, here, dense + r * CHUNK, job->level);
        for (int64_t v = 0; v < job->count; v += set->vectors) {
            const int64_t vectors = smaller(set->vectors, job->count - v);
            const float *x = job->x + v * job->cols + k;
            set->multiply[vectors - 1](dense, x, job->cols, here, sums + ROWS * v * set->lanes);
        }
    }
    for (int64_t v = 0; v < job->count; v += set->vectors)
        finish(job, sums + ROWS * v * set->lanes, v, smaller(set->vectors, job->count - v), row, rows);
}

int multiply_few(const few_rows *job, int threads) {
    const int64_t groups = blocks_of(job->rows, ROWS);
    const size_t floats = (size_t)(ROWS * job->count * kernels_of(job->level)->lanes);
    if (job->rows * job->cols * job->count < PARALLEL_FROM || threads < 1) threads = 1;
    float *memory = malloc(floats * sizeof(float) * (size_t)threads);
    if (!memory) return 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int t = 0; t < threads; t++)
        for (int64_t group = groups * t / threads; group < groups * (t + 1) / threads; group++)
            multiply_rows(job, group * ROWS, smaller(ROWS, job->rows - group * ROWS), memory + floats * (size_t)t);
    free(memory);
    return 1;
}
