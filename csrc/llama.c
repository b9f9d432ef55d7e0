/* The whole network in one call, so that between two products of a token no time is lost. */
#include "llama.h"

#include "kernels.h"

#define WORTH_THREADS 65536 /* values below which one thread passes over them faster alone */

typedef struct {
    const llama *m;
    const llama_read *reads;
    int64_t sequences, tokens, written, wanted;
    arithmetic how;
    /* (tokens, width) the residual stream, its norm, what a block adds; (tokens, heads or kv_heads, head);
     * (tokens, inner); (tokens, largest rank) and (tokens, widest output) for adapters; (tokens) */
    float *stream, *normed, *added, *query, *key, *value, *mixed, *gate, *up, *low, *wide, *roots;
    attention_run *runs;
} pass;

static int64_t threads_for(const pass *p, int64_t values) { return values < WORTH_THREADS ? 1 : p->how.threads; }

static void norm(const pass *p, const float *x, const float *weight, int64_t rows, int64_t cols, float *y) {
    trimtab_rms_norm(x, weight, 0.0f, p->m->eps, rows, cols, y, p->roots, p->how.level, (int)threads_for(p, rows * cols));
}

/* Adds what the adapters of the sequences add to one linear layer. */
static int adapt(const pass *p, int64_t layer, int linear, const float *x, float *y) {
    const matrix *m = &p->m->layer[layer].linears[linear];
    for (int64_t s = 0, begin = 0; s < p->sequences; begin += p->reads[s++].count) {
        if (p->reads[s].adapter < 0) continue;
        const low_rank *lora = p->m->adapters + (p->reads[s].adapter * p->m->layers + layer) * LINEARS + linear;
        if (!lora->rank) continue;
        const matrix down = {lora->a, NULL, NULL, lora->rank, m->cols, 0, FLOAT32};
        const matrix up = {lora->b, NULL, NULL, m->rows, lora->rank, 0, FLOAT32};
        int64_t count = p->reads[s].count, written = p->reads[s].written;
        while (s + 1 < p->sequences && p->reads[s + 1].adapter == p->reads[s].adapter)
            count += p->reads[++s].count, written += p->reads[s].written;
        if (!multiply(&down, (vectors){x + begin * m->cols, written, count - written}, p->low, p->how)) return 0;
        if (!multiply(&up, (vectors){p->low, written, count - written}, p->wide, p->how)) return 0;
        float *to = y + begin * m->rows;
        for (int64_t i = 0; i < count * m->rows; i++) to[i] += lora->scale * p->wide[i];
        begin += count - p->reads[s].count;
    }
    return 1;
}

/* Several linear layers from `linear` on, of one input. */
static int apply(const pass *p, int64_t layer, int linear, int several, const float *x, float *const *y) {
    const matrix *m[3];
    for (int i = 0; i < several; i++) m[i] = &p->m->layer[layer].linears[linear + i];
    if (!multiply_several(m, several, (vectors){x, p->written, p->tokens - p->written}, y, p->how)) return 0;
    for (int i = 0; i < several; i++)
        if (p->m->adapters && !adapt(p, layer, linear + i, x, y[i])) return 0;
    return 1;
}

/* The rotation of arXiv:2104.09864, halves of a head being pairs. */
static void rotate(float *heads, int64_t count, int64_t head, const float *cosines, const float *sines) {
    const int64_t half = head / 2;
    for (int64_t h = 0; h < count; h++, heads += head)
        for (int64_t d = 0; d < half; d++) {
            const float near = heads[d], far = heads[half + d];
            heads[d] = near * cosines[d] - far * sines[d];
            heads[half + d] = far * cosines[d] + near * sines[d];
        }
}

static void place_token(const pass *p, int64_t layer, const llama_read *read, int64_t offset, int64_t token) {
    const attention_shape *a = &p->m->attention;
    const int64_t position = read->first + offset, half = a->head / 2;
    const float *cosines = p->m->cosines + position * half, *sines = p->m->sines + position * half;
    float *key = p->key + token * a->kv_heads * a->head;
    rotate(p->query + token * a->heads * a->head, a->heads, a->head, cosines, sines);
    rotate(key, a->kv_heads, a->head, cosines, sines);
    keep_token(a, read->pages, layer, position, key, p->value + token * a->kv_heads * a->head, p->how.level);
}

static void norm_heads(const pass *p, float *heads, const float *weight, int64_t count) {
    const int64_t head = p->m->attention.head;
    norm(p, heads, weight, count, head, p->mixed);
    memcpy(heads, p->mixed, (size_t)(count * head) * sizeof(float));
}

static int attention_block(const pass *p, int64_t layer) {
    const llama_layer *l = p->m->layer + layer;
    const attention_shape *a = &p->m->attention;
    norm(p, p->stream, l->input_norm, p->tokens, p->m->width, p->normed);
    if (!apply(p, layer, QUERY, 3, p->normed, (float *const[]){p->query, p->key, p->value})) return 0;
    if (l->query_norm) norm_heads(p, p->query, l->query_norm, p->tokens * a->heads);
    if (l->key_norm) norm_heads(p, p->key, l->key_norm, p->tokens * a->kv_heads);
    for (int64_t s = 0, token = 0; s < p->sequences; token += p->reads[s++].count)
        for (int64_t i = 0; i < p->reads[s].count; i++) place_token(p, layer, p->reads + s, i, token + i);
    if (!attend(a, layer, p->runs, p->sequences, p->how.level, p->how.threads)) return 0;
    return apply(p, layer, OUTPUT, 1, p->mixed, &p->added);
}

static int mlp_block(const pass *p, int64_t layer) {
    const int64_t values = p->tokens * p->m->inner;
    norm(p, p->stream, p->m->layer[layer].middle_norm, p->tokens, p->m->width, p->normed);
    if (!apply(p, layer, GATE, 2, p->normed, (float *const[]){p->gate, p->up})) return 0;
    /* Rows that are no whole vectors go one by one, for the same bits in any place. */
    const int64_t rows = p->m->inner % 16 ? p->tokens : 1;
    for (int64_t r = 0; r < rows; r++) {
        float *gate = p->gate + r * p->m->inner;
        trimtab_gated_silu(gate, p->up + r * p->m->inner, values / rows, gate, p->how.level, (int)threads_for(p, values / rows));
    }
    return apply(p, layer, DOWN, 1, p->gate, &p->added);
}

static void add_to_stream(const pass *p) {
    for (int64_t i = 0; i < p->tokens * p->m->width; i++) p->stream[i] += p->added[i];
}

static void embed(const pass *p) {
    float *to = p->stream;
    for (int64_t s = 0; s < p->sequences; s++)
        for (int64_t i = 0; i < p->reads[s].count; i++, to += p->m->width)
            read_row(&p->m->embedding, p->reads[s].tokens[i], to, p->how.level);
}

static int give_logits(const pass *p, float *logits) {
    float *to = p->added;
    const size_t row = (size_t)p->m->width;
    for (int64_t s = 0, end = 0; s < p->sequences; s++) {
        end += p->reads[s].count;
        const size_t wanted = (size_t)p->reads[s].wanted * row;
        memcpy(to, p->stream + (size_t)end * row - wanted, wanted * sizeof(float));
        to += wanted;
    }
    if (!p->wanted) return 1;
    norm(p, p->added, p->m->final_norm, p->wanted, p->m->width, p->normed);
    /* One token of a sequence goes the way of written ones, however many stand beside it. */
    for (int64_t s = 0, begin = 0; s < p->sequences;) {
        const int single = p->reads[s].wanted <= 1;
        int64_t rows = 0;
        for (; s < p->sequences && single == (p->reads[s].wanted <= 1); s++) rows += p->reads[s].wanted;
        const vectors in = {p->normed + begin * p->m->width, single ? rows : 0, single ? 0 : rows};
        if (!multiply(&p->m->head, in, logits + begin * p->m->head.rows, p->how)) return 0;
        begin += rows;
    }
    return 1;
}

static int64_t largest_rank(const pass *p) {
    int64_t most = 0;
    for (int64_t s = 0; s < p->sequences; s++)
        for (int64_t i = 0; p->reads[s].adapter >= 0 && i < p->m->layers * LINEARS; i++) {
            const int64_t rank = p->m->adapters[p->reads[s].adapter * p->m->layers * LINEARS + i].rank;
            most = rank > most ? rank : most;
        }
    return most;
}

/* Cuts one piece of memory into the buffers of a pass; gives it back for the caller to free. */
static void *make_room(pass *p) {
    const llama *m = p->m;
    const int64_t n = p->tokens, q = m->attention.heads * m->attention.head, kv = m->attention.kv_heads * m->attention.head;
    const int64_t rank = largest_rank(p), most = q > m->width ? q : m->width, widest = rank ? most + m->inner : 0;
    float **buffers[] = {&p->stream, &p->normed, &p->added, &p->query, &p->key, &p->value,
                         &p->mixed,  &p->gate,   &p->up,    &p->low,   &p->wide, &p->roots};
    const int64_t sizes[] = {m->width, m->width, m->width, q, kv, kv, q, m->inner, m->inner, rank, widest,
                             m->attention.heads + 1};
    int64_t total = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) total += (n * sizes[i] + 15) / 16 * 16;
    void *memory = room_for(total * (int64_t)sizeof(float) + p->sequences * (int64_t)sizeof(attention_run));
    if (!memory) return NULL;
    float *at = memory;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; at += (n * sizes[i++] + 15) / 16 * 16) *buffers[i] = at;
    p->runs = (attention_run *)at;
    for (int64_t s = 0, token = 0; s < p->sequences; token += p->reads[s++].count)
        p->runs[s] = (attention_run){p->reads[s].pages, p->reads[s].first, p->reads[s].count, p->query + token * q,
                                     p->mixed + token * q};
    return memory;
}

int trimtab_llama_read(const llama *m, const llama_read *reads, int64_t count, float *logits, int exact, int level,
                       int threads) {
    pass p = {.m = m, .reads = reads, .sequences = count, .how = {exact, level, threads < 1 ? 1 : threads}};
    for (int64_t s = 0; s < count; s++) {
        p.tokens += reads[s].count, p.wanted += reads[s].wanted;
        p.written += reads[s].written;
    }
    void *memory = make_room(&p);
    if (!memory) return 0;
    embed(&p);
    int done = 1;
    for (int64_t layer = 0; done && layer < m->layers; layer++) {
        done = attention_block(&p, layer);
        if (!done) break;
        add_to_stream(&p);
        done = mlp_block(&p, layer);
        if (done) add_to_stream(&p);
    }
    done = done && give_logits(&p, logits);
    free(memory);
    return done;
}
