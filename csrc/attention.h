/* Causal attention in float32: what attention.c and attention_grad.c share.
 *
 * Both work on tiles of TILE_ROWS queries and TILE_KEYS keys. A tile of scores has LINE floats a row. Keys and values
 * are put into panels first: a panel is a few columns (one register block wide) of a matrix, all its rows in order,
 * filled up with zeros, so that no product has an edge. Scores are kept times log2(e), since a power of two is cheaper
 * than one of e.
 */
#ifndef TRIMTAB_ATTENTION_H
#define TRIMTAB_ATTENTION_H

#include "trimtab.h"

enum { TILE_ROWS = 48, TILE_KEYS = 96, LINE = 264, LARGEST_HEAD = 256, LANES = 16 };

#define LOG2_E 1.44269504088896341f
#define LN_2 0.69314718055994531f

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

int trimtab_attention(const attention *job, float *out, float *totals, int level, int threads);
int trimtab_attention_grad(const attention *job, const gradients *all, int level, int threads);

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

INLINE int64_t filled(int64_t size, int64_t unit) { return blocks_of(size, unit) * unit; }

/* Memory on the border of a vector, or NULL. */
INLINE void *room_for(int64_t bytes) { return aligned_alloc(64, (size_t)filled(bytes, 64)); }

INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

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

/* Puts the keys and values of pair `index` into panels. */
void fill_pair(const pairs *own, int64_t index);

/* Copies a tile of queries, or of what is laid out as they are, into lines of LINE, times `by`; zeros fill it up. */
void copy_tile(const pairs *own, const strided *x, int64_t batch, int64_t head, int64_t query, float by, float *lines);

#endif
