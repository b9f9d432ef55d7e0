/* What the library exports: the functions that Python calls by name, and the structs that it hands them.
 *
 * Matrices are contiguous, by rows. What gives an int, other than trimtab_cpu_level, gives 0 where memory is short. The
 * decoder's are in llama.h.
 */
#ifndef TRIMTAB_KERNELS_H
#define TRIMTAB_KERNELS_H

#include "trimtab.h"

/* The best level that this processor has. */
EXPORT int trimtab_cpu_level(void);

/* ---- codecs ---- */

EXPORT void trimtab_quantize_4bit(const void *x, int dtype, int64_t count, int64_t block, const float *bounds,
                                  const uint8_t *order, uint8_t *codes, float *absmax, int level, int threads);

/* Writes rows row .. row + rows, columns col .. col + cols to out (rows, cols). */
EXPORT void trimtab_dequantize_4bit(const weight4 *w, int64_t row, int64_t rows, int64_t col, int64_t cols, void *out,
                                    int dtype, int level, int threads);

EXPORT void trimtab_quantize_8bit(const float *x, int64_t count, int64_t block, const float *bounds, int grid,
                                  uint8_t *codes, float *absmax, int threads);
EXPORT void trimtab_dequantize_8bit(const uint8_t *codes, int64_t count, int64_t block, const float *absmax,
                                    const float *table, float *out, int threads);

/* Rows of 8-bit integers, each with one scale: weight = code * absmax * step. */
typedef struct {
    const int8_t *codes;
    const float *absmax;
    int64_t rows, cols;
    float step;
} weight8;

/* Writes rows row .. row + rows, columns col .. col + cols to out (rows, cols). */
EXPORT void trimtab_dequantize_rows(const weight8 *w, int64_t row, int64_t rows, int64_t col, int64_t cols, float *out,
                                    int level, int threads);

/* ---- products ---- */

/* y (count, rows) = x (count, cols) W^T + bias (or NULL); cols is a multiple of 64. */
EXPORT int trimtab_linear_4bit(const weight4 *w, const float *x, int64_t count, const float *bias, float *y, int exact,
                               int level, int threads);
EXPORT int trimtab_linear_8bit(const weight8 *w, const float *x, int64_t count, const float *bias, float *y, int level,
                               int threads);

/* y (count, rows) = x (count, cols) W^T + bias where `turned`, else y (count, cols) = x (count, rows) W. With a rank
 * above 0, adds scale * low (count, rank) times the factor: (rows, rank) turned over, or (rank, cols) as it is. */
typedef struct {
    const weight4 *w;
    const float *x;
    int64_t count;
    const float *bias; /* (rows), or NULL */
    const float *low, *factor;
    int64_t rank;
    float scale;
    int turned;
    float *y;
} product_job;

/* Needs AVX2. */
EXPORT int trimtab_product_4bit(const product_job *job, int level, int threads);

/* low (rows, rank) = x (rows, cols) a (rank, cols)^T. Needs AVX2. */
EXPORT int trimtab_low_rank_down(const float *x, const float *a, int64_t rows, int64_t cols, int64_t rank, float *low,
                                 int level, int threads);

/* low_grad = scale * grad b, a_grad = low_grad^T x, b_grad = scale * grad^T low. */
typedef struct {
    const float *grad, *x, *low, *b; /* (rows, outputs), (rows, inputs), (rows, rank), (outputs, rank) */
    int64_t rows, inputs, outputs, rank;
    float scale;
    float *low_grad, *a_grad, *b_grad; /* (rows, rank), (rank, inputs), (outputs, rank) */
} low_rank_job;

/* Needs AVX2. */
EXPORT int trimtab_low_rank_grads(const low_rank_job *job, int level, int threads);

/* ---- attention ---- */

/* (batch, heads, time, head) in any order of the first three; strides in floats. */
typedef struct {
    const float *data;
    int64_t batch, head, time;
} strided;

/* Query t of a batch row sees the keys from starts[t] (0 without starts) to t + keys - queries. */
typedef struct {
    strided q, k, v;
    const int32_t *starts; /* (batch, queries), or NULL */
    int64_t batch, heads, kv_heads, queries, keys, head;
    float scale;
} attention;

/* What comes back and what was computed forward; room for the results, (batch, time, heads, head) each. */
typedef struct {
    strided grad;
    const float *out, *totals;
    float *dq, *dk, *dv;
} gradients;

/* Writes (batch, queries, heads, head) and the logarithm to base 2 of each query's sum of exponentials, (batch, heads,
 * queries). */
EXPORT int trimtab_attention(const attention *job, float *out, float *totals, int level, int threads);

/* Writes gradients as (batch, time, heads, head), given that of the output, the output and the totals of
 * trimtab_attention. */
EXPORT int trimtab_attention_grad(const attention *job, const gradients *all, int level, int threads);

/* Floats in a page of a decoder's keys and values. */
EXPORT int64_t trimtab_page_numbers(int64_t layers, int64_t kv_heads, int64_t head);

/* ---- fused passes ---- */

EXPORT void trimtab_rms_norm(const float *x, const float *weight, float offset, float eps, int64_t rows, int64_t cols,
                             float *y, float *roots, int level, int threads);
EXPORT void trimtab_rms_norm_grad(const float *g, const float *x, const float *weight, float offset, const float *roots,
                                  int64_t rows, int64_t cols, float *dx, int level, int threads);
EXPORT void trimtab_gated_silu(const float *gate, const float *up, int64_t count, float *y, int level, int threads);
EXPORT void trimtab_gated_silu_grad(const float *g, const float *gate, const float *up, int64_t count, float *dgate,
                                    float *dup, int level, int threads);

/* ---- AdamW ---- */

typedef struct {
    float beta1, rest1, beta2, rest2, eps, decay, step_size, root_scale;
} Numbers;

/* Values start .. start + length of one parameter, whose state begins at `state`. */
typedef struct {
    int64_t tensor, start, state, length;
} Slice;

/* Magnitudes fall into cells by their upper 16 bits, from 2^-23 (and all below) to 1. */
enum { ADAMW_LOWEST = 104 << 7, ADAMW_HIGHEST = 127 << 7 };
enum { ADAMW_CELLS = ADAMW_HIGHEST - ADAMW_LOWEST + 1, ADAMW_PADDING = 3 };

/* map: the 256 values; middle: where each gives way to the next, then +inf; first: the lowest code of each cell, those of
 * positive values first, then ADAMW_PADDING bytes. */
typedef struct {
    const float *map, *middle;
    const uint8_t *first;
} Table;

typedef struct {
    uint8_t *codes1, *codes2;
    float *absmax1, *absmax2;
} State8;

EXPORT void trimtab_adamw32(void *const *params, void *const *grads, float *exp_avg, float *exp_avg_sq,
                            const Slice *slices, int64_t count, const Numbers *numbers, int dtype, int level, int threads);
EXPORT void trimtab_adamw8(void *const *params, void *const *grads, const State8 *state, const Slice *slices,
                           int64_t count, const Table *tables, const Numbers *numbers, int dtype, int level, int threads);

#endif
