/* Vectors times a 4-bit matrix: picks a kernel for one, for few and for many. */
#include "4bit_integer.h"
#include "kernels.h"
#include "many_rows.h"

static void decode_row(const void *matrix, int64_t row, int64_t k, int64_t count, float *out, int level) {
    const weight4 *w = matrix;
    decode_range(w, row * w->cols + k, count, out, level);
}

int trimtab_linear_4bit(const weight4 *w, const float *x, int64_t count, const float *bias, float *y, int exact, int level,
                        int threads) {
#if HAVE_X86
    if (count == 1 && !exact && level >= AVX2) return multiply_integer(&(product4){w, bias, y}, 1, x, level, threads);
#endif
    const few_rows job = {w, decode_row, w->rows, w->cols, x, count, bias, y, level};
    return multiply_few(&job, threads);
}

/* A low-rank factor, times `scale`: (rows of W, rank) beside W^T, (rank, columns of W) beside W. */
typedef struct {
    const float *values;
    int64_t cols;
    float scale;
} factor;

static void decode_factor(const void *matrix, int64_t row, int64_t k, int64_t count, float *out, int level) {
    const factor *f = matrix;
    const float *from = f->values + row * f->cols + k;
    (void)level;
    for (int64_t i = 0; i < count; i++) out[i] = from[i] * f->scale;
}

int trimtab_product_4bit(const product_job *job, int level, int threads) {
    const weight4 *w = job->w;
    const int64_t cols = job->turned ? w->rows : w->cols, depth = job->turned ? w->cols : w->rows;
    const factor beside = {job->factor, job->turned ? job->rank : cols, job->scale};
    const many_rows many = {
        {w, decode_row, job->x, depth}, {&beside, decode_factor, job->low, job->rank}, job->turned, job->count, cols,
        job->bias, job->y, level,
    };
    return multiply_many(&many, threads < 1 ? 1 : threads);
}
