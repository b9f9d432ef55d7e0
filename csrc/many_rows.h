/* Many vectors times a quantized matrix, in exact float32. */
#ifndef TRIMTAB_MANY_ROWS_H
#define TRIMTAB_MANY_ROWS_H

#include "few_rows.h"

typedef struct {
    const void *matrix;
    decoder decode;
    int turned;          /* 1: y = x M^T, output columns are rows of M; 0: y = x M */
    int64_t cols, depth; /* of the output, and of the sums */
    const float *x;      /* (count, depth) */
    int64_t count;
    const float *bias; /* (cols), or NULL */
    float *y;          /* (count, cols) */
    int level;         /* AVX2 or AVX512 */
} many_rows;

/* Gives 0 where memory is short or there is no such kernel. */
int multiply_many(const many_rows *job, int threads);

#endif
