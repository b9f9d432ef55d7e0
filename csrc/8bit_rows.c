/* Rows of 8-bit integers, each with one scale. */
#include "few_rows.h"
#include "kernels.h"

INLINE void decode(const int8_t *codes, int64_t count, float absmax, float step, float *out) {
    for (int64_t i = 0; i < count; i++) out[i] = (float)codes[i] * absmax * step;
}

#if HAVE_X86
/* The same loop, for the compiler to vectorise more widely. */
TARGET_AVX2 static void decode_avx2(const int8_t *codes, int64_t count, float absmax, float step, float *out) {
    decode(codes, count, absmax, step, out);
}

TARGET_AVX512 static void decode_avx512(const int8_t *codes, int64_t count, float absmax, float step, float *out) {
    decode(codes, count, absmax, step, out);
}
#endif

static void decode_row(const void *matrix, int64_t row, int64_t k, int64_t count, float *out, int level) {
    const weight8 *w = matrix;
    const int8_t *codes = w->codes + row * w->cols + k;
    (void)level;
#if HAVE_X86
    if (level >= AVX512) decode_avx512(codes, count, w->absmax[row], w->step, out);
    else if (level >= AVX2) decode_avx2(codes, count, w->absmax[row], w->step, out);
    else
#endif
        decode(codes, count, w->absmax[row], w->step, out);
}

void trimtab_dequantize_rows(const weight8 *w, int64_t row, int64_t rows, int64_t col, int64_t cols, float *out, int level,
                             int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * cols > 65536)
    for (int64_t r = 0; r < rows; r++) decode_row(w, row + r, col, cols, out + r * cols, level);
}

int trimtab_linear_8bit(const weight8 *w, const float *x, int64_t count, const float *bias, float *y, int level,
                        int threads) {
    const few_rows job = {w, decode_row, w->rows, w->cols, x, count, bias, y, level};
    return multiply_few(&job, threads);
}
