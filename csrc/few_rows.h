/* Shared by the kernels that multiply a quantized matrix with few vectors. */
#ifndef TRIMTAB_FEW_ROWS_H
#define TRIMTAB_FEW_ROWS_H

#include "trimtab.h"

#define GROUP 64 /* the column count is a multiple of it */

/* Writes `count` weights of a row from column k on as float32. */
typedef void (*decoder)(const void *matrix, int64_t row, int64_t k, int64_t count, float *out, int level);

/* y (count, rows) = x (count, cols) W^T + bias (or NULL), W made dense by `decode`. */
typedef struct {
    const void *matrix;
    decoder decode;
    int64_t rows, cols;
    const float *x;
    int64_t count;
    const float *bias;
    float *y;
    int level;
} few_rows;

/* Gives 0 where memory is short. */
int multiply_few(const few_rows *job, int threads);

#endif
