/* Causal attention, backward: weights are computed again from the scores and each query's total.
 *
 * The tiles of queries that share keys are dealt out to a fixed number of parts. Each part sums its own gradient of
 * keys and values; the parts are added up in order. So the numbers do not depend on the number of threads.
 */
#include "attention.h"

enum { PIECES = 12 }; /* of work at a time, at least */

typedef struct {
    float q[TILE_ROWS * LINE], grad[TILE_ROWS * LINE], dq[TILE_ROWS * LINE]; /* rows */
    float weights[TILE_ROWS * LINE], blame[TILE_ROWS * LINE];
    float totals[TILE_ROWS], means[TILE_ROWS];
    sight seen;
} workspace;

typedef struct {
    pairs panels;
    gradients all;
    int64_t parts;
    float *sums; /* (pair, part, keys or values, rows, width) */
} backward;

static void load_tile(const backward *work, workspace *mine, int64_t batch, int64_t head, int64_t query) {
    const pairs *own = &work->panels;
    const attention *job = own->job;
    copy_tile(own, &job->q, batch, head, query, job->scale * LOG2_E, mine->q);
    copy_tile(own, &work->all.grad, batch, head, query, 1.0f, mine->grad);
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        const int64_t time = smaller(query + r, job->queries - 1);
        const float *out = work->all.out + ((batch * job->queries + time) * job->heads + head) * job->head;
        mine->means[r] = own->loops->dot(out, mine->grad + r * LINE, job->head);
        mine->totals[r] = work->all.totals[(batch * job->heads + head) * job->queries + time];
        memset(mine->dq + r * LINE, 0, (size_t)own->width * sizeof(float));
    }
    look_at_keys(job, own->loops->block, batch, query, &mine->seen);
}

static void clear(float *line, int64_t first, int64_t end) {
    if (first < end) memset(line + first, 0, (size_t)(end - first) * sizeof(float));
}

/* Weights and their gradients of one register block of queries, and what they add to the queries' gradient. */
static void blame_block(const backward *work, workspace *mine, int64_t pair, int64_t row, int64_t key, span columns) {
    const pairs *own = &work->panels;
    const attention_loops *loops = own->loops;
    const int64_t panel = loops->panel, place = pair * panel_floats(own);
    float *weights = mine->weights + row * LINE, *blame = mine->blame + row * LINE;
    const int64_t end = score_columns(own, mine->q + row * LINE, own->turned_k + place, key, columns, weights);
    score_columns(own, mine->grad + row * LINE, own->v + place, key, columns, blame);
    for (int64_t r = 0; r < loops->block; r++) {
        const span seen = columns_seen(mine->seen.rows[row + r], key, columns);
        loops->blame(weights + r * LINE + columns.first, blame + r * LINE + columns.first, end - columns.first,
                     mine->totals[row + r], mine->means[row + r]);
        clear(weights + r * LINE, 0, seen.first), clear(weights + r * LINE, seen.end, TILE_KEYS);
        clear(blame + r * LINE, 0, seen.first), clear(blame + r * LINE, seen.end, TILE_KEYS);
    }
    for (int64_t i = 0; i < own->width && columns.first < columns.end; i += panel) {
        const float *keys = own->k + place + (i / panel * own->rows + key + columns.first) * panel;
        loops->product(blame + columns.first, keys, columns.end - columns.first, mine->dq + row * LINE + i, LINE, 0);
    }
}

/* What a tile of queries adds to the gradients of a tile of keys and values. */
static void blame_keys(const backward *work, const workspace *mine, int64_t key, int64_t query, float *dk, float *dv) {
    const pairs *own = &work->panels;
    const attention_loops *loops = own->loops;
    const int64_t panel = loops->panel, offset = own->job->keys - own->job->queries;
    const int64_t end = smaller(mine->seen.all.end - key, TILE_KEYS);
    const int64_t first = larger(mine->seen.all.first - key, 0) / loops->block * loops->block;
    for (int64_t c = first; c < end; c += loops->block) {
        const int64_t from = larger(key + c - offset - query, 0); /* queries before see none of these keys */
        const int64_t count = smaller(TILE_ROWS, own->job->queries - query) - from, place = from * LINE;
        for (int64_t i = 0; i < own->width; i += panel) {
            const int64_t to = (key + c) * own->width + i;
            loops->turned(mine->weights + place + c, mine->grad + place + i, count, dv + to, own->width, 0);
            loops->turned(mine->blame + place + c, mine->q + place + i, count, dk + to, own->width, 0);
        }
    }
}

static void blame_tile(const backward *work, workspace *mine, int64_t pair, int64_t head, int64_t query, float *sums) {
    const pairs *own = &work->panels;
    const attention *job = own->job;
    const int64_t batch = (own->first + pair) / job->kv_heads, block = own->loops->block;
    load_tile(work, mine, batch, head, query);
    for (int64_t key = mine->seen.all.first / TILE_KEYS * TILE_KEYS; key < mine->seen.all.end; key += TILE_KEYS) {
        for (int64_t row = 0; row < TILE_ROWS; row += block)
            blame_block(work, mine, pair, row, key, columns_of(mine->seen.blocks[row / block], key, own->loops->panel));
        blame_keys(work, mine, key, query, sums, sums + panel_floats(own));
    }
    for (int64_t r = 0; r < smaller(TILE_ROWS, job->queries - query); r++) {
        float *row = work->all.dq + ((batch * job->queries + query + r) * job->heads + head) * job->head;
        own->loops->scale(mine->dq + r * LINE, job->head, job->scale, row);
    }
}

/* Every `parts`-th tile of the queries of one pair. */
static void blame_part(const backward *work, workspace *mine, int64_t pair, int64_t part) {
    const pairs *own = &work->panels;
    const attention *job = own->job;
    const int64_t group = job->heads / job->kv_heads, tiles = blocks_of(job->queries, TILE_ROWS);
    float *sums = work->sums + (pair * work->parts + part) * 2 * panel_floats(own);
    memset(sums, 0, (size_t)(2 * panel_floats(own)) * sizeof(float));
    for (int64_t piece = part; piece < group * tiles; piece += work->parts) {
        const int64_t head = (own->first + pair) % job->kv_heads * group + piece / tiles;
        blame_tile(work, mine, pair, head, piece % tiles * TILE_ROWS, sums);
    }
}

/* Adds up one row of the gradients of keys and values. */
static void add_parts(const backward *work, int64_t pair, int64_t key) {
    const pairs *own = &work->panels;
    const attention *job = own->job;
    const int64_t batch = (own->first + pair) / job->kv_heads, head = (own->first + pair) % job->kv_heads;
    const int64_t place = ((batch * job->keys + key) * job->kv_heads + head) * job->head, step = 2 * panel_floats(own);
    const float *dk = work->sums + pair * work->parts * step + key * own->width, *dv = dk + panel_floats(own);
    float *to_k = work->all.dk + place, *to_v = work->all.dv + place;
    memcpy(to_k, dk, (size_t)job->head * sizeof(float));
    memcpy(to_v, dv, (size_t)job->head * sizeof(float));
    for (int64_t part = 1; part < work->parts; part++)
        for (int64_t i = 0; i < job->head; i++) {
            to_k[i] += dk[part * step + i];
            to_v[i] += dv[part * step + i];
        }
    for (int64_t i = 0; i < job->head; i++) to_k[i] *= LN_2; /* the queries were multiplied by scale / LN_2 */
}

static int blame_pairs(const backward *work, int threads) {
    const pairs *own = &work->panels;
    const int64_t keys = own->job->keys;
    int done = 1;
#pragma omp parallel num_threads(threads) reduction(&& : done)
    {
        workspace *mine = room_for(sizeof *mine);
        done = mine != NULL;
        fill_pairs(own);
#pragma omp for schedule(dynamic, 1)
        for (int64_t piece = 0; piece < own->count * work->parts; piece++)
            if (done) blame_part(work, mine, piece / work->parts, piece % work->parts);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < own->count * keys; row++) add_parts(work, row / keys, row % keys);
        free(mine);
    }
    return done;
}

int trimtab_attention_grad(const attention *job, const gradients *all, int level, int threads) {
    const attention_loops *loops = attention_loops_at(level);
    const int64_t count = job->batch * job->kv_heads, step = pairs_at_once(job), parts = blocks_of(PIECES, step);
    const int64_t rows = filled(job->keys + loops->block - 1, loops->panel), width = filled(job->head, loops->panel);
    const int64_t each = step * rows * width;
    float *memory = room_for(each * (3 + 2 * parts) * (int64_t)sizeof(float));
    if (!memory) return 0;
    backward work = {
        {job, loops, 0, step, rows, width, memory, memory + each, memory + 2 * each, 1}, *all, parts, memory + 3 * each,
    };
    int done = 1;
    for (; done && work.panels.first < count; work.panels.first += step) {
        work.panels.count = smaller(step, count - work.panels.first);
        done = blame_pairs(&work, threads);
    }
    free(memory);
    return done;
}
