/* Many vectors times a quantized matrix, and as many narrow ones times a low-rank factor, in exact float32. */
#ifndef TRIMTAB_MANY_ROWS_H
#define TRIMTAB_MANY_ROWS_H

#include "few_rows.h"

/* One product among those that make the output: of x (count, depth) and a matrix. */
typedef struct {
    const void *matrix;
    decoder decode;
    const float *x;
    int64_t depth;
} summand;

typedef struct {
    summand base, beside; /* of depth 0 where there is nothing beside */
    int turned;           /* 1: y = x M^T, output columns are rows of M; 0: y = x M */
    int64_t count, cols;
    const float *bias; /* (cols), or NULL */
    float *y;          /* (count, cols) */
    int level;         /* AVX2 or AVX512 */
} many_rows;

/* Gives 0 where memory is short or there is no such kernel. */
int multiply_many(const many_rows *job, int threads);

#endif
