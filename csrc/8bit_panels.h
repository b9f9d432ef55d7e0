/* Vectors times a matrix of 8-bit integers that lies in panels, in integers. */
#ifndef TRIMTAB_8BIT_PANELS_H
#define TRIMTAB_8BIT_PANELS_H

#include "few_rows.h"

enum { PANEL_ROWS = 16, PANEL_BLOCK = 32 };

/* codes: (panels, cols / 2, PANEL_ROWS, 2), so that one load has a pair of columns of every row of a panel; scales:
 * (panels, cols / PANEL_BLOCK, PANEL_ROWS). The last panel is filled up; cols is a multiple of GROUP.
 */
typedef struct {
    const int8_t *codes;
    const float *scales, *bias; /* bias: (rows), or NULL */
    int64_t rows, cols;
} panels8;

/* y (count, rows) = x (count, cols) W^T + bias, each vector with the same bits as alone. Needs AVX2; gives 0 where memory
 * is short. */
int multiply_panels(const panels8 *w, const float *x, int64_t count, float *y, int level, int threads);

#endif
