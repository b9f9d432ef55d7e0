/* Vectors times a matrix of 8-bit integers, in integers. */
#ifndef TRIMTAB_8BIT_INTEGER_H
#define TRIMTAB_8BIT_INTEGER_H

#include "few_rows.h"

enum { INTEGER_BLOCK = 32, MOST_INTEGER_COLS = 16384 };

/* A scale for each INTEGER_BLOCK of a row; at least four rows, cols a multiple of GROUP up to MOST_INTEGER_COLS. */
typedef struct {
    const int8_t *codes;
    const float *scales, *bias; /* bias: (rows), or NULL */
    int64_t rows, cols;
} bytes8;

/* y (count, rows) = x (count, cols) W^T + bias, each vector with the same bits as alone. Needs AVX2; gives 0 where memory
 * is short. */
int multiply_bytes(const bytes8 *w, const float *x, int64_t count, float *y, int level, int threads);

#endif
