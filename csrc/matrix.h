/* A matrix in any of the types that a decoder's weights have, times few or many vectors. */
#ifndef TRIMTAB_MATRIX_H
#define TRIMTAB_MATRIX_H

#include "trimtab.h"

/* FOUR_BIT: values is a weight4. EIGHT_BIT: int8 codes with a scale for each `block` of a row. PANELS: as 8bit_panels.h
 * has them; never exact, and no row of it can be read. Else plain values of a dtype of trimtab.h. */
enum { FOUR_BIT = 4, EIGHT_BIT = 8, PANELS = 9 };

typedef struct {
    const void *values;
    const float *scales; /* of EIGHT_BIT, (rows, cols / block), and of PANELS */
    const float *bias;   /* (rows), or NULL */
    int64_t rows, cols, block;
    int kind;
} matrix;

typedef struct {
    int exact; /* no rounding of activations */
    int level, threads;
} arithmetic;

/* Vectors (written + read, cols). Those written come one at a time from many sequences, and get the same bits in any
 * company; those read come in long runs. Each kind always goes the same way, so that neither depends on its batch.
 */
typedef struct {
    const float *x;
    int64_t written, read;
} vectors;

/* y (written + read, rows) = x M^T + bias. Needs AVX2; gives 0 where memory is short. */
int multiply(const matrix *m, vectors in, float *y, arithmetic how);

/* The same for several matrices with one x; y[i] is the output of matrix i. */
int multiply_several(const matrix *const *m, int matrices, vectors in, float *const *y, arithmetic how);

/* Writes a row of the matrix, without bias, as float32; not of PANELS. */
void read_row(const matrix *m, int64_t row, float *out, int level);

#endif
