/* What a low-rank adapter computes beside its layer: the narrow product x A^T, and in the backward pass everything but
 * the input's gradient, in one reading of the layer's input and upstream gradient.
 *
 * Matrices of `rank` columns are held in panels PANEL wide, padded with zeros. Each thread owns a run of rows and takes
 * CHUNK of them at a time, which stay in its second-level cache between the products that need them.
 */
#include "kernels.h"

#if HAVE_X86

enum { PANEL = 16, BLOCK = 12, CHUNK = 48, FLOAT = sizeof(float) };

/* sums[r][0 .. PANEL) = sum over k of x[r][k] * panel[k][0 .. PANEL) for ROWS rows that lie `stride` apart, HALF of them
 * at a time. */
#define NARROW(NAME, TARGET, VEC, LANES, ROWS, HALF, P)                                                              \
    TARGET static void NAME(const float *x, int64_t stride, const float *panel, int64_t depth, float *sums) { \
        for (int half = 0; half < ROWS; half += HALF, x += HALF * stride, sums += HALF * PANEL) {             \
            VEC total[HALF][PANEL / LANES];                                                                    \
            for (int r = 0; r < HALF; r++)                                                                     \
                for (int v = 0; v < PANEL / LANES; v++) total[r][v] = P##setzero_ps();                         \
            for (int64_t k = 0; k < depth; k++) {                                                              \
                VEC right[PANEL / LANES];                                                                      \
                for (int v = 0; v < PANEL / LANES; v++) right[v] = P##loadu_ps(panel + k * PANEL + v * LANES); \
                _Pragma("GCC unroll 12") for (int r = 0; r < HALF; r++) {                                      \
                    const VEC left = P##set1_ps(x[r * stride + k]);                                            \
                    for (int v = 0; v < PANEL / LANES; v++) total[r][v] = P##fmadd_ps(left, right[v], total[r][v]); \
                }                                                                                              \
            }                                                                                                  \
            for (int r = 0; r < HALF; r++)                                                                     \
                for (int v = 0; v < PANEL / LANES; v++) P##storeu_ps(sums + r * PANEL + v * LANES, total[r][v]); \
        }                                                                                                      \
    }

NARROW(narrow_avx2, TARGET_AVX2, __m256, 8, 12, 6, _mm256_)
NARROW(narrow_avx2_one, TARGET_AVX2, __m256, 8, 1, 1, _mm256_)
NARROW(narrow_avx512, TARGET_AVX512, __m512, 16, 12, 12, _mm512_)

/* out[i][0 .. WIDE vectors) += sum over k of low[k][i] * x[k][0 .. WIDE vectors) for HEIGHT values i. */
#define OUTER(NAME, TARGET, VEC, LANES, HEIGHT, WIDE, P)                                                             \
    TARGET static void NAME(const float *low, const float *x, int64_t stride, int64_t depth, float *out, int64_t wide) { \
        VEC total[HEIGHT][WIDE];                                                                                     \
        for (int i = 0; i < HEIGHT; i++)                                                                             \
            for (int v = 0; v < WIDE; v++) total[i][v] = P##loadu_ps(out + i * wide + v * LANES);                    \
        for (int64_t k = 0; k < depth; k++) {                                                                        \
            VEC right[WIDE];                                                                                         \
            for (int v = 0; v < WIDE; v++) right[v] = P##loadu_ps(x + k * stride + v * LANES);                       \
            _Pragma("GCC unroll 8") for (int i = 0; i < HEIGHT; i++) {                                               \
                const VEC left = P##set1_ps(low[k * PANEL + i]);                                                     \
                for (int v = 0; v < WIDE; v++) total[i][v] = P##fmadd_ps(left, right[v], total[i][v]);               \
            }                                                                                                        \
        }                                                                                                            \
        for (int i = 0; i < HEIGHT; i++)                                                                             \
            for (int v = 0; v < WIDE; v++) P##storeu_ps(out + i * wide + v * LANES, total[i][v]);                    \
    }

OUTER(outer_avx2, TARGET_AVX2, __m256, 8, 4, 3, _mm256_)
OUTER(outer_avx2_slim, TARGET_AVX2, __m256, 8, 4, 1, _mm256_)
OUTER(outer_avx512, TARGET_AVX512, __m512, 16, 8, 3, _mm512_)
OUTER(outer_avx512_slim, TARGET_AVX512, __m512, 16, 8, 1, _mm512_)

typedef void (*outer_function)(const float *, const float *, int64_t, int64_t, float *, int64_t);

/* out (PANEL, cols) += low (depth, PANEL)^T x (depth, cols) */
static void add_outer(const float *low, const float *x, int64_t cols, int64_t depth, float *out, int level) {
    const int wide = level >= AVX512;
    const int64_t lanes = wide ? 16 : 8, height = wide ? 8 : 4;
    int64_t col = 0;
    for (int64_t step = 3 * lanes; step >= lanes; step -= 2 * lanes) {
        const outer_function outer = step > lanes ? (wide ? outer_avx512 : outer_avx2)
                                                  : (wide ? outer_avx512_slim : outer_avx2_slim);
        for (; col + step <= cols; col += step)
            for (int64_t i = 0; i < PANEL; i += height) outer(low + i, x + col, cols, depth, out + i * cols + col, cols);
    }
    for (; col < cols; col++)
        for (int64_t i = 0; i < PANEL; i++)
            for (int64_t k = 0; k < depth; k++) out[i * cols + col] += low[k * PANEL + i] * x[k * cols + col];
}

/* low (rows, PANEL) = scale * x (rows, depth) panel (depth, PANEL) */
static void multiply_narrow(const float *x, int64_t rows, int64_t depth, const float *panel, float scale, float *low,
                            int level) {
    int64_t row = 0;
    for (; row + BLOCK <= rows; row += BLOCK)
        (level >= AVX512 ? narrow_avx512 : narrow_avx2)(x + row * depth, depth, panel, depth, low + row * PANEL);
    for (; row < rows; row++) narrow_avx2_one(x + row * depth, depth, panel, depth, low + row * PANEL);
    for (int64_t i = 0; i < rows * PANEL; i++) low[i] *= scale;
}

/* Copies the first `cols` columns of a matrix to a panel, the rest of which becomes zero. */
static void to_panel(const float *from, int64_t rows, int64_t stride, int64_t cols, float *panel) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < PANEL; c++) panel[r * PANEL + c] = c < cols ? from[r * stride + c] : 0.0f;
}

static void from_panel(const float *panel, int64_t rows, int64_t stride, int64_t cols, float *to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) to[r * stride + c] = panel[r * PANEL + c];
}

int trimtab_low_rank_down(const float *x, const float *a, int64_t rows, int64_t cols, int64_t rank, float *low, int level,
                          int threads) {
    float *panel = room_for(cols * PANEL * FLOAT);
    if (!panel) return 0;
    for (int64_t first = 0; first < rank; first += PANEL) {
        const int64_t here = smaller(PANEL, rank - first);
        for (int64_t i = 0; i < PANEL; i++)
            for (int64_t k = 0; k < cols; k++) panel[k * PANEL + i] = i < here ? a[(first + i) * cols + k] : 0.0f;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t row = 0; row < rows; row += CHUNK) {
            float part[CHUNK * PANEL];
            const int64_t count = smaller(CHUNK, rows - row);
            multiply_narrow(x + row * cols, count, cols, panel, 1.0f, part, level);
            from_panel(part, count, rank, here, low + row * rank + first);
        }
    }
    free(panel);
    return 1;
}

/* One thread's rows of one panel; sums: (PANEL, inputs) for a, then (PANEL, outputs) for b, zero at first. */
static void grads_of_rows(const low_rank_job *job, int64_t first, const float *panel, int64_t begin, int64_t end,
                          float *sums, int level) {
    const int64_t here = smaller(PANEL, job->rank - first);
    float low[CHUNK * PANEL], low_grad[CHUNK * PANEL];
    for (int64_t row = begin; row < end; row += CHUNK) {
        const int64_t count = smaller(CHUNK, end - row);
        const float *grad = job->grad + row * job->outputs;
        multiply_narrow(grad, count, job->outputs, panel, job->scale, low_grad, level);
        from_panel(low_grad, count, job->rank, here, job->low_grad + row * job->rank + first);
        to_panel(job->low + row * job->rank + first, count, job->rank, here, low);
        add_outer(low, grad, job->outputs, count, sums + PANEL * job->inputs, level);
        add_outer(low_grad, job->x + row * job->inputs, job->inputs, count, sums, level);
    }
}

/* Adds up what the threads found, always in the same order. */
static void gather_sums(const low_rank_job *job, int64_t first, const float *sums, int64_t each, int threads) {
    for (int64_t i = 0; i < smaller(PANEL, job->rank - first); i++) {
        for (int64_t k = 0; k < job->inputs + job->outputs; k++) {
            const int of_b = k >= job->inputs;
            const float *at = of_b ? sums + PANEL * job->inputs + i * job->outputs + (k - job->inputs) : sums + i * job->inputs + k;
            float total = 0.0f;
            for (int t = 0; t < threads; t++) total += at[t * each];
            if (of_b) job->b_grad[(k - job->inputs) * job->rank + first + i] = job->scale * total;
            else job->a_grad[(first + i) * job->inputs + k] = total;
        }
    }
}

int trimtab_low_rank_grads(const low_rank_job *job, int level, int threads) {
    const int64_t each = PANEL * (job->inputs + job->outputs), share = filled(blocks_of(job->rows, threads), BLOCK);
    float *panel = room_for(job->outputs * PANEL * FLOAT), *sums = room_for(each * threads * FLOAT);
    const int enough = panel && sums;
    for (int64_t first = 0; enough && first < job->rank; first += PANEL) {
        to_panel(job->b + first, job->outputs, job->rank, smaller(PANEL, job->rank - first), panel);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int t = 0; t < threads; t++) {
            memset(sums + t * each, 0, (size_t)each * sizeof(float));
            grads_of_rows(job, first, panel, t * share, smaller((t + 1) * share, job->rows), sums + t * each, level);
        }
        gather_sums(job, first, sums, each, threads);
    }
    free(panel);
    free(sums);
    return enough;
}

#else

int trimtab_low_rank_down(const float *x, const float *a, int64_t rows, int64_t cols, int64_t rank, float *low, int level,
                          int threads) {
    (void)x, (void)a, (void)rows, (void)cols, (void)rank, (void)low, (void)level, (void)threads;
    return 0;
}

int trimtab_low_rank_grads(const low_rank_job *job, int level, int threads) {
    (void)job, (void)level, (void)threads;
    return 0;
}

#endif
