/* One vector times 4-bit matrices, in integers. */
#ifndef TRIMTAB_4BIT_INTEGER_H
#define TRIMTAB_4BIT_INTEGER_H

#include "few_rows.h"

/* y (rows) = W x + bias (or NULL) */
typedef struct {
    const weight4 *w;
    const float *bias;
    float *y;
} product4;

/* Several matrices with one table, block size and column count, times one vector x (cols); cols is a multiple of GROUP.
 * Needs AVX2; gives 0 where memory is short. */
int multiply_integer(const product4 *products, int count, const float *x, int level, int threads);

/* The most vectors, and the most matrices, that are multiplied together. */
enum { MOST_INTEGER_VECTORS = 16, MOST_PRODUCTS = 4 };

/* The same for any number of vectors x (count, cols), to y (count, rows) of each: the same bits as alone. */
int multiply_integer_few(const product4 *products, int matrices, const float *x, int64_t count, int level, int threads);

#endif
