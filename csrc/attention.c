/* Causal attention, forward: softmax over the keys in one pass, a tile at a time, as in arXiv:2205.14135.
 *
 * A piece of work is one tile of queries of one head. Every piece is computed by one thread in one order, so that the
 * numbers do not depend on the number of threads.
 */
#include "attention.h"

void look_at_keys(const attention *job, int64_t block, int64_t batch, int64_t query, sight *seen) {
    const span nothing = {0, 0};
    seen->all = nothing;
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        const span row = seen->rows[r] = visible(job, batch, query + r);
        span *own = &seen->blocks[r / block];
        if (r % block == 0) *own = nothing;
        if (row.end == 0) continue;
        own->first = own->end ? smaller(own->first, row.first) : row.first;
        own->end = larger(own->end, row.end);
        seen->all.first = seen->all.end ? smaller(seen->all.first, row.first) : row.first;
        seen->all.end = larger(seen->all.end, row.end);
    }
}

span columns_of(span block, int64_t key, int64_t panel) {
    const int64_t first = smaller(larger(block.first - key, 0) / panel * panel, TILE_KEYS);
    const int64_t end = smaller(block.end - key, TILE_KEYS);
    const span columns = {first, larger(first, end)};
    return columns;
}

span columns_seen(span row, int64_t key, span columns) {
    const int64_t first = smaller(larger(row.first - key, columns.first), columns.end);
    const int64_t end = smaller(larger(row.end - key, first), columns.end);
    const span seen = {first, end};
    return seen;
}

/* ---- panels ---- */

enum { PAIRS_AT_ONCE = 16 };

int64_t pairs_at_once(const attention *job) {
    const int64_t all = job->batch * job->kv_heads;
    return blocks_of(all, blocks_of(all, PAIRS_AT_ONCE));
}

int64_t panel_floats(const pairs *own) { return own->rows * own->width; }

enum { SQUARE = 4 };

/* Turns four keys over, a square at a time; gives how many elements of each are done. */
#if HAVE_X86
static int64_t turn_four(const float *const rows[SQUARE], int64_t depth, float *to, int64_t step) {
    int64_t i = 0;
    for (; i + SQUARE <= depth; i += SQUARE) {
        __m128 a = _mm_loadu_ps(rows[0] + i), b = _mm_loadu_ps(rows[1] + i);
        __m128 c = _mm_loadu_ps(rows[2] + i), d = _mm_loadu_ps(rows[3] + i);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        _mm_storeu_ps(to + i * step, a), _mm_storeu_ps(to + (i + 1) * step, b);
        _mm_storeu_ps(to + (i + 2) * step, c), _mm_storeu_ps(to + (i + 3) * step, d);
    }
    return i;
}
#else
static int64_t turn_four(const float *const rows[SQUARE], int64_t depth, float *to, int64_t step) {
    (void)rows, (void)depth, (void)to, (void)step;
    return 0;
}
#endif

/* Panels of the transpose: columns are keys, rows the elements of a head. */
static void fill_turned(const pairs *own, const strided *x, int64_t batch, int64_t head, float *to) {
    static const float nothing[LARGEST_HEAD];
    const int64_t panel = own->loops->panel, depth = own->job->head;
    for (int64_t key = 0; key < own->rows; key += SQUARE) {
        float *column = to + key / panel * depth * panel + key % panel;
        const float *rows[SQUARE];
        for (int64_t j = 0; j < SQUARE; j++)
            rows[j] = key + j < own->job->keys ? row_of(x, batch, head, key + j) : nothing;
        for (int64_t i = turn_four(rows, depth, column, panel); i < depth; i++)
            for (int64_t j = 0; j < SQUARE; j++) column[i * panel + j] = rows[j][i];
    }
}

static void fill_straight(const pairs *own, const strided *x, int64_t batch, int64_t head, float *to) {
    const int64_t panel = own->loops->panel, depth = own->job->head;
    for (int64_t key = 0; key < own->rows; key++)
        for (int64_t i = 0; i < own->width; i += panel) {
            float *line = to + (i / panel * own->rows + key) * panel;
            const int64_t here = key < own->job->keys ? smaller(panel, depth - i) : 0;
            if (here) memcpy(line, row_of(x, batch, head, key) + i, (size_t)here * sizeof(float));
            memset(line + here, 0, (size_t)(panel - here) * sizeof(float));
        }
}

static void fill_pair(const pairs *own, int64_t index) {
    const attention *job = own->job;
    const int64_t batch = (own->first + index) / job->kv_heads, head = (own->first + index) % job->kv_heads;
    const int64_t place = index * panel_floats(own);
    fill_turned(own, &job->k, batch, head, own->turned_k + place);
    if (own->k) fill_straight(own, &job->k, batch, head, own->k + place);
    (own->turned_v ? fill_turned : fill_straight)(own, &job->v, batch, head, own->v + place);
}

void fill_pairs(const pairs *own) {
#pragma omp for schedule(dynamic, 1)
    for (int64_t pair = 0; pair < own->count; pair++) fill_pair(own, pair);
}

void copy_tile(const pairs *own, const strided *x, int64_t batch, int64_t head, int64_t query, float by, float *lines) {
    const int64_t count = own->job->queries - query, size = own->job->head;
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        float *line = lines + r * LINE;
        const int64_t here = r < count ? size : 0;
        if (here) own->loops->scale(row_of(x, batch, head, query + r), size, by, line);
        if (here < own->width) memset(line + here, 0, (size_t)(own->width - here) * sizeof(float));
    }
}

int64_t score_columns(const pairs *own, const float *rows, const float *turned, int64_t key, span columns,
                      float *scores) {
    const int64_t panel = own->loops->panel, depth = own->job->head;
    int64_t c = columns.first;
    for (; c < columns.end; c += panel) {
        const int narrow = columns.end - c <= LANES;
        const float *right = turned + (key + c) * depth;
        (narrow ? own->loops->narrow : own->loops->product)(rows, right, depth, scores + c, LINE, 1);
        if (narrow) return c + LANES;
    }
    return c;
}

/* ---- one tile of queries ---- */

typedef struct {
    float q[TILE_ROWS * LINE], output[TILE_ROWS * LINE], scores[TILE_ROWS * LINE];
    float greatest[TILE_ROWS], sums[TILE_ROWS][LANES];
    sight seen;
} workspace;

/* Scores, weights and weighted values of one register block of queries and one tile of keys. */
static void attend(const pairs *own, workspace *mine, int64_t pair, int64_t row, int64_t key, span columns) {
    const attention_loops *loops = own->loops;
    const int64_t panel = loops->panel, place = pair * panel_floats(own);
    float *scores = mine->scores + row * LINE;
    const int64_t end = score_columns(own, mine->q + row * LINE, own->turned_k + place, key, columns, scores);
    for (int64_t r = 0; r < loops->block; r++) {
        float *line = scores + r * LINE;
        const span seen = columns_seen(mine->seen.rows[row + r], key, columns);
        for (int64_t c = columns.first; c < seen.first; c++) line[c] = -INFINITY;
        for (int64_t c = seen.end; c < end; c++) line[c] = -INFINITY;
        loops->weigh(line + columns.first, end - columns.first, mine->greatest + row + r, mine->sums[row + r],
                     mine->output + (row + r) * LINE, own->width);
    }
    for (int64_t i = 0; i < own->width; i += panel) {
        const float *values = own->v + place + (i / panel * own->rows + key + columns.first) * panel;
        loops->product(scores + columns.first, values, columns.end - columns.first, mine->output + row * LINE + i, LINE,
                       0);
    }
}

static void write_rows(const pairs *own, const workspace *mine, int64_t batch, int64_t head, int64_t query, float *out,
                       float *totals) {
    const attention *job = own->job;
    for (int64_t r = 0; r < smaller(TILE_ROWS, job->queries - query); r++) {
        float *row = out + ((batch * job->queries + query + r) * job->heads + head) * job->head;
        float sum = 0.0f;
        for (int i = 0; i < LANES; i++) sum += mine->sums[r][i];
        const int blind = mine->seen.rows[r].end == 0;
        if (blind) memset(row, 0, (size_t)job->head * sizeof(float));
        else own->loops->scale(mine->output + r * LINE, job->head, 1.0f / sum, row);
        totals[(batch * job->heads + head) * job->queries + query + r] = mine->greatest[r] + log2f(sum);
    }
}

static void attend_tile(const pairs *own, workspace *mine, int64_t pair, int64_t head, int64_t query, float *out,
                        float *totals) {
    const attention *job = own->job;
    const int64_t batch = (own->first + pair) / job->kv_heads, block = own->loops->block;
    copy_tile(own, &job->q, batch, head, query, job->scale * LOG2_E, mine->q);
    for (int64_t r = 0; r < TILE_ROWS; r++) memset(mine->output + r * LINE, 0, (size_t)own->width * sizeof(float));
    memset(mine->sums, 0, sizeof mine->sums);
    for (int64_t r = 0; r < TILE_ROWS; r++) mine->greatest[r] = -INFINITY;
    look_at_keys(job, block, batch, query, &mine->seen);
    for (int64_t key = mine->seen.all.first / TILE_KEYS * TILE_KEYS; key < mine->seen.all.end; key += TILE_KEYS)
        for (int64_t row = 0; row < TILE_ROWS; row += block) {
            const span columns = columns_of(mine->seen.blocks[row / block], key, own->loops->panel);
            if (columns.first < columns.end) attend(own, mine, pair, row, key, columns);
        }
    write_rows(own, mine, batch, head, query, out, totals);
}

static int attend_pairs(const pairs *own, float *out, float *totals, int threads) {
    const attention *job = own->job;
    const int64_t group = job->heads / job->kv_heads, tiles = blocks_of(job->queries, TILE_ROWS);
    const int64_t heads = own->count * group;
    int done = 1;
#pragma omp parallel num_threads(threads) reduction(&& : done)
    {
        workspace *mine = room_for(sizeof *mine);
        done = mine != NULL;
        fill_pairs(own);
#pragma omp for schedule(dynamic, 1)
        for (int64_t piece = 0; piece < heads * tiles; piece++) { /* the longest first */
            const int64_t tile = tiles - 1 - piece / heads, pair = piece % heads / group;
            const int64_t head = (own->first + pair) % job->kv_heads * group + piece % group;
            if (done) attend_tile(own, mine, pair, head, tile * TILE_ROWS, out, totals);
        }
        free(mine);
    }
    return done;
}

int trimtab_attention(const attention *job, float *out, float *totals, int level, int threads) {
    const attention_loops *loops = attention_loops_at(level);
    const int64_t all = job->batch * job->kv_heads, step = pairs_at_once(job);
    const int64_t rows = filled(job->keys, loops->panel), width = filled(job->head, loops->panel);
    pairs own = {job, loops, 0, step, rows, width, NULL, NULL, NULL, 0};
    own.turned_k = room_for(2 * step * panel_floats(&own) * (int64_t)sizeof(float));
    if (!own.turned_k) return 0;
    own.v = own.turned_k + step * panel_floats(&own);
    int done = 1;
    for (; done && own.first < all; own.first += step) {
        own.count = smaller(step, all - own.first);
        done = attend_pairs(&own, out, totals, threads);
    }
    free(own.turned_k);
    return done;
}
