/* Few vectors times a 4-bit matrix: picks a kernel. */
#include "4bit_integer.h"
#include "many_rows.h"

static void decode_row(const void *matrix, int64_t row, int64_t k, int64_t count, float *out, int level) {
    const weight4 *w = matrix;
    decode_range(w, row * w->cols + k, count, out, level);
}

/* y (count, rows) = x (count, cols) W^T + bias; gives 0 where memory is short. cols is a multiple of 64. */
EXPORT int trimtab_linear_4bit(
    const weight4 *w, const float *x, int64_t count, const float *bias, float *y, int exact, int level, int threads
) {
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

/* y (count, rows) = x (count, cols) W^T + bias where `turned`, else y (count, cols) = x (count, rows) W. With a rank
 * above 0, adds scale * low (count, rank) times the factor (its transpose, where `turned`).
 * Needs AVX2; gives 0 where memory is short.
 */
EXPORT int trimtab_product_4bit(const weight4 *w, const float *x, int64_t count, int turned, const float *bias,
                                const float *low, const float *values, int64_t rank, float scale, float *y, int level,
                                int threads) {
    const int64_t cols = turned ? w->rows : w->cols, depth = turned ? w->cols : w->rows;
    const factor beside = {values, turned ? rank : cols, scale};
    const many_rows job = {
        {w, decode_row, x, depth}, {&beside, decode_factor, low, rank}, turned, count, cols, bias, y, level,
    };
    return multiply_many(&job, threads < 1 ? 1 : threads);
}
