/* Causal attention in float32: what attention.c and attention_grad.c share.
 *
 * Both work on tiles of TILE_ROWS queries and TILE_KEYS keys. A tile of scores has LINE floats a row. Keys and values
 * are put into panels first: a panel is a few columns (one register block wide) of a matrix, all its rows in order,
 * filled up with zeros, so that no product has an edge. Scores are kept times log2(e), since a power of two is cheaper
 * than one of e.
 */
#ifndef TRIMTAB_ATTENTION_H
#define TRIMTAB_ATTENTION_H

#include "exp.h"
#include "kernels.h"

enum { TILE_ROWS = 48, TILE_KEYS = 96, LINE = 264, LARGEST_HEAD = 256, LANES = 16 };

#define LN_2 0.69314718055994531f

/* The keys first .. end that a query sees. */
typedef struct {
    int64_t first, end;
} span;

/* The inner loops at one level. `block` rows and `panel` columns make one register block. */
typedef struct {
    int64_t block, panel;
    /* c[block][panel] = or += a[block][depth] b[depth][panel]; a has lines of LINE, b is a panel. */
    void (*product)(const float *a, const float *b, int64_t depth, float *c, int64_t stride, int first);
    /* The same for the first LANES columns of a panel. */
    void (*narrow)(const float *a, const float *b, int64_t depth, float *c, int64_t stride, int first);
    /* c[block][panel] += a[depth][block] b[depth][panel]; a and b have lines of LINE. */
    void (*turned)(const float *a, const float *b, int64_t depth, float *c, int64_t stride, int first);
    /* Scores to weights 2^(s - greatest); scales down what was summed with a smaller `greatest`. Counts are multiples
     * of LANES. */
    void (*weigh)(float *scores, int64_t count, float *greatest, float *sums, float *output, int64_t width);
    /* Scores to weights 2^(s - total), never above 1 however coarse large scores are; and upstream products to
     * gradients: weight * (product - mean). */
    void (*blame)(float *scores, float *products, int64_t count, float total, float mean);
    void (*scale)(const float *from, int64_t count, float by, float *to);
    float (*dot)(const float *a, const float *b, int64_t count);
} attention_loops;

const attention_loops *attention_loops_at(int level);

/* A number of (batch, kv head) pairs that are worked on together, and their keys and values in panels. */
typedef struct {
    const attention *job;
    const attention_loops *loops;
    int64_t first, count;           /* pairs */
    int64_t rows, width;            /* keys and head size, filled up */
    float *turned_k, *k, *v;        /* one of each a pair; those not needed are NULL */
    int turned_v;                   /* v is turned over too */
} pairs;

INLINE const float *row_of(const strided *x, int64_t batch, int64_t head, int64_t time) {
    return x->data + batch * x->batch + head * x->head + time * x->time;
}

INLINE span visible(const attention *job, int64_t batch, int64_t query) {
    const span nothing = {0, 0};
    if (query >= job->queries) return nothing;
    const int64_t first = job->starts ? larger(job->starts[batch * job->queries + query], 0) : 0;
    const int64_t end = query + 1 + job->keys - job->queries;
    const span seen = {first, end};
    return first < end ? seen : nothing;
}

/* What a tile of queries sees, row by row and register block by register block. */
typedef struct {
    span rows[TILE_ROWS], blocks[TILE_ROWS], all;
} sight;

void look_at_keys(const attention *job, int64_t block, int64_t batch, int64_t query, sight *seen);

/* The columns of a tile of keys that a register block sees, from the beginning of a panel; none beyond the tile. */
span columns_of(span block, int64_t key, int64_t panel);

/* Products of a register block of rows with some columns of a tile, whole LANES of them; gives the end of the last. */
int64_t score_columns(const pairs *own, const float *rows, const float *turned, int64_t key, span columns,
                      float *scores);

/* The columns among `columns` that one query sees. */
span columns_seen(span row, int64_t key, span columns);

/* Pairs in one go: few enough to bound memory, at least enough to occupy threads. */
int64_t pairs_at_once(const attention *job);

int64_t panel_floats(const pairs *own);

/* Puts the keys and values of all pairs into panels; for every thread of a team to call. */
void fill_pairs(const pairs *own);

/* Copies a tile of queries, or of what is laid out as they are, into lines of LINE, times `by`; zeros fill it up. */
void copy_tile(const pairs *own, const strided *x, int64_t batch, int64_t head, int64_t query, float by, float *lines);

#endif
