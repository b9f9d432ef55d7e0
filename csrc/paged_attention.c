/* Queries are taken in blocks: some tokens with all the heads that share a key head. A block goes through the pages it
 * sees and keeps, for each query, the largest score, the sum of the weights and the weighted values so far.
 *
 * Source: the running softmax of arXiv:2205.14135, algorithm 1.
 */
#include "paged_attention.h"

#include "exp.h"
#include "kernels.h"
#include "lanes.h"

enum { ROWS = 48 }; /* queries of a block, at most: MOST_GROUPED in Python */

#define HALF_MOST 65504.0f

/* A comparison with NaN is false, so that NaN stays. */
INLINE uint16_t half_in_range(float value) {
    return half_of_float(value > HALF_MOST ? HALF_MOST : value < -HALF_MOST ? -HALF_MOST : value);
}

static void halves_portable(const float *from, int64_t count, uint16_t *to) {
    for (int64_t i = 0; i < count; i++) to[i] = half_in_range(from[i]);
}

#if HAVE_X86
/* min and max give their second operand where one is NaN. */
TARGET_AVX2 static void halves_avx2(const float *from, int64_t count, uint16_t *to) {
    const __m256 most = _mm256_set1_ps(HALF_MOST), least = _mm256_set1_ps(-HALF_MOST);
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256 value = _mm256_max_ps(least, _mm256_min_ps(most, _mm256_loadu_ps(from + i)));
        _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    }
    halves_portable(from + i, count - i, to + i);
}
#endif

static void halves(const float *from, int64_t count, uint16_t *to, int level) {
#if HAVE_X86
    if (level >= AVX2) {
        halves_avx2(from, count, to);
        return;
    }
#endif
    (void)level;
    halves_portable(from, count, to);
}

/* A head's key is a column, its value a row. */
static void keep_floats(const float *key, const float *value, int64_t head, float *key_to, float *value_to) {
    for (int64_t d = 0; d < head; d++) key_to[d * PAGE] = key[d];
    memcpy(value_to, value, (size_t)head * sizeof(float));
    memset(value_to + head, 0, (size_t)(wide_of(head) - head) * sizeof(float));
}

static void keep_halves(const float *key, const float *value, int64_t head, uint16_t *key_to, uint16_t *value_to,
                        int level) {
    uint16_t some[PAGE];
    for (int64_t from = 0; from < head; from += PAGE) {
        const int64_t count = smaller(PAGE, head - from);
        halves(key + from, count, some, level);
        for (int64_t d = 0; d < count; d++) key_to[(from + d) * PAGE] = some[d];
    }
    halves(value, head, value_to, level);
    memset(value_to + head, 0, (size_t)(wide_of(head) - head) * sizeof(uint16_t));
}

void keep_token(const attention_shape *a, void *const *pages, int64_t layer, int64_t position, const float *key,
                const float *value, int level) {
    const int64_t slot = position % PAGE, head = a->head, keys_at = layer * layer_numbers(a) + slot;
    const int64_t values_at = keys_at - slot + a->kv_heads * PAGE * head + slot * wide_of(head);
    void *page = pages[position / PAGE];
    for (int64_t h = 0; h < a->kv_heads; h++, key += head, value += head) {
        const int64_t key_to = keys_at + h * head * PAGE, value_to = values_at + h * PAGE * wide_of(head);
        if (a->half) keep_halves(key, value, head, (uint16_t *)page + key_to, (uint16_t *)page + value_to, level);
        else keep_floats(key, value, head, (float *)page + key_to, (float *)page + value_to);
    }
}

int64_t trimtab_page_numbers(int64_t layers, int64_t kv_heads, int64_t head) {
    return layers * layer_numbers(&(attention_shape){.kv_heads = kv_heads, .head = head});
}

#if HAVE_X86

/* y[r][0 .. PAGE) = keep[r] * y[r] + sum over k of x[r][k] * m[k][0 .. PAGE) for BLOCK rows. */
#define SMALL_PRODUCT(NAME, TARGET, VEC, LANES, BLOCK, P)                                                            \
    TARGET static void NAME(const float *x, int64_t x_stride, const float *m, int64_t m_stride, int64_t depth,       \
                            const float *keep, float *y, int64_t y_stride) {                                         \
        VEC sums[BLOCK][PAGE / LANES];                                                                               \
        _Pragma("GCC unroll 12") for (int r = 0; r < BLOCK; r++)                                                     \
            _Pragma("GCC unroll 4") for (int v = 0; v < PAGE / LANES; v++)                                           \
                sums[r][v] = keep ? P##mul_ps(P##set1_ps(keep[r]), P##loadu_ps(y + r * y_stride + v * LANES)) : P##setzero_ps(); \
        for (int64_t k = 0; k < depth; k++) {                                                                        \
            VEC right[PAGE / LANES];                                                                                 \
            _Pragma("GCC unroll 4") for (int v = 0; v < PAGE / LANES; v++) right[v] = P##loadu_ps(m + k * m_stride + v * LANES); \
            _Pragma("GCC unroll 12") for (int r = 0; r < BLOCK; r++) {                                               \
                const VEC left = P##set1_ps(x[r * x_stride + k]);                                                    \
                _Pragma("GCC unroll 4") for (int v = 0; v < PAGE / LANES; v++) sums[r][v] = P##fmadd_ps(left, right[v], sums[r][v]); \
            }                                                                                                        \
        }                                                                                                            \
        _Pragma("GCC unroll 12") for (int r = 0; r < BLOCK; r++)                                                     \
            _Pragma("GCC unroll 4") for (int v = 0; v < PAGE / LANES; v++) P##storeu_ps(y + r * y_stride + v * LANES, sums[r][v]); \
    }
#define SMALL_AVX2(BLOCK) SMALL_PRODUCT(small_avx2_##BLOCK, TARGET_AVX2, __m256, 8, BLOCK, _mm256_)
#define SMALL_AVX512(BLOCK) SMALL_PRODUCT(small_avx512_##BLOCK, TARGET_AVX512, __m512, 16, BLOCK, _mm512_)
SMALL_AVX2(1)
SMALL_AVX2(2)
SMALL_AVX2(3)
SMALL_AVX512(1)
SMALL_AVX512(2)
SMALL_AVX512(3)
SMALL_AVX512(4)
SMALL_AVX512(12)

typedef void (*small_function)(const float *, int64_t, const float *, int64_t, int64_t, const float *, float *, int64_t);

typedef struct {
    int64_t rows;
    small_function function;
} small_kernel;

/* Largest first. */
static const small_kernel avx2_kernels[] = {{3, small_avx2_3}, {2, small_avx2_2}, {1, small_avx2_1}};
static const small_kernel avx512_kernels[] = {
    {12, small_avx512_12}, {4, small_avx512_4}, {3, small_avx512_3}, {2, small_avx512_2}, {1, small_avx512_1},
};

static void small_product(int64_t rows, const float *x, int64_t x_stride, const float *m, int64_t m_stride, int64_t depth,
                          const float *keep, float *y, int64_t y_stride, int level) {
    const small_kernel *kernel = level >= AVX512 ? avx512_kernels : avx2_kernels;
    for (int64_t row = 0; row < rows; row += kernel->rows) {
        while (kernel->rows > rows - row) kernel++;
        kernel->function(x + row * x_stride, x_stride, m, m_stride, depth, keep ? keep + row : NULL, y + row * y_stride,
                         y_stride);
    }
}

/* Turns PAGE scores of one query into weights: updates the largest score and the sum, gives what earlier sums and
 * values are to be multiplied by. Scores are minus infinity where nothing is seen; NaN is a largest score, so that it is
 * not taken for that.
 */
#define WEIGH(NAME, TARGET, VEC, LANES, P, MOST, TOTAL, EXP)                                              \
    TARGET static float NAME(float *scores, float scale, float *largest, float *sum) {                    \
        VEC s[PAGE / LANES], most = P##set1_ps(-INFINITY), total = P##setzero_ps();                       \
        for (int v = 0; v < PAGE / LANES; v++) {                                                          \
            s[v] = P##mul_ps(P##loadu_ps(scores + v * LANES), P##set1_ps(scale));                         \
            most = P##max_ps(most, s[v]);                                                                 \
        }                                                                                                 \
        const float before = *largest, found = MOST(most), now = before > found ? before : found;         \
        if (now == -INFINITY) {                                                                           \
            memset(scores, 0, PAGE * sizeof(float));                                                      \
            return 1.0f;                                                                                  \
        }                                                                                                 \
        for (int v = 0; v < PAGE / LANES; v++) {                                                          \
            s[v] = EXP(P##sub_ps(s[v], P##set1_ps(now)));                                                 \
            P##storeu_ps(scores + v * LANES, s[v]);                                                       \
            total = P##add_ps(total, s[v]);                                                               \
        }                                                                                                 \
        const float keep = before == -INFINITY ? 0.0f : expf(before - now);                               \
        *largest = now, *sum = *sum * keep + TOTAL(total);                                                \
        return keep;                                                                                      \
    }

WEIGH(weigh_avx2, TARGET_AVX2, __m256, 8, _mm256_, most_avx2, sum_avx2, exp_avx2)
WEIGH(weigh_avx512, TARGET_AVX512, __m512, 16, _mm512_, _mm512_reduce_max_ps, _mm512_reduce_add_ps, exp_avx512)

typedef struct {
    float *query, *scores, *values; /* (ROWS, head), (ROWS, PAGE), (ROWS, wide) */
    float *widened;                 /* (PAGE, wide): keys or values of one page */
    float largest[ROWS], sum[ROWS], keep[ROWS];
} block_state;

/* Hides the places of one page that a query at `position` does not see. */
static void hide(const attention_shape *a, float *scores, int64_t position, int64_t page) {
    const int64_t first = a->window ? position - a->window + 1 : 0;
    for (int64_t slot = 0; slot < PAGE; slot++)
        if (page * PAGE + slot > position || page * PAGE + slot < first) scores[slot] = -INFINITY;
}

/* Makes float32 of a whole number of pairs of vectors; fetches what will be widened next. */
#define WIDEN(NAME, TARGET, P, LANES, LOAD)                                                                \
    TARGET static void NAME(const uint16_t *from, int64_t count, const uint16_t *next, float *to) {        \
        for (int64_t i = 0; i < count; i += 32) {                                                          \
            _mm_prefetch((const char *)(next + i), _MM_HINT_T1);                                           \
            for (int v = 0; v < 32; v += LANES) P##storeu_ps(to + i + v, P##cvtph_ps(LOAD(from + i + v))); \
        }                                                                                                  \
    }
#define HALVES_AVX2(from) _mm_loadu_si128((const __m128i *)(from))
#define HALVES_AVX512(from) _mm256_loadu_si256((const __m256i *)(from))
WIDEN(widen_avx2, TARGET_AVX2, _mm256_, 8, HALVES_AVX2)
WIDEN(widen_avx512, TARGET_AVX512, _mm512_, 16, HALVES_AVX512)

/* `count` numbers of page number `page` of a run from place `at` on, as float32. */
static const float *numbers_at(const attention_shape *a, const attention_run *run, int64_t page, int64_t last_page, int64_t at,
                               int64_t count, block_state *own, int level) {
    if (!a->half) return (const float *)run->pages[page] + at;
    const uint16_t *from = (const uint16_t *)run->pages[page] + at;
    const uint16_t *next = (const uint16_t *)run->pages[smaller(page + 2, last_page)] + at;
    (level >= AVX512 ? widen_avx512 : widen_avx2)(from, count, next, own->widened);
    return own->widened;
}

/* Tokens begin .. begin + tokens of a run, for one key head. */
static void attend_block(const attention_shape *a, int64_t layer, const attention_run *run, int64_t begin, int64_t tokens,
                         int64_t kv_head, block_state *own, int level) {
    const int64_t group = a->heads / a->kv_heads, rows = tokens * group, head = a->head, wide = wide_of(head);
    const int64_t position = run->first + begin, last = position + tokens - 1;
    const int64_t seen = a->window && position >= a->window ? position - a->window + 1 : 0;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = ((begin + r / group) * a->heads + kv_head * group + r % group) * head;
        memcpy(own->query + r * head, run->query + at, (size_t)head * sizeof(float));
        own->largest[r] = -INFINITY, own->sum[r] = 0.0f;
    }
    memset(own->values, 0, (size_t)(rows * wide) * sizeof(float));
    for (int64_t page = seen / PAGE; page <= last / PAGE; page++) {
        const int64_t depth = smaller(PAGE, last - page * PAGE + 1), layer_at = layer * layer_numbers(a);
        const float *keys = numbers_at(a, run, page, last / PAGE, layer_at + kv_head * head * PAGE, head * PAGE, own, level);
        small_product(rows, own->query, head, keys, PAGE, head, NULL, own->scores, PAGE, level);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t here = position + r / group;
            if (page * PAGE + PAGE - 1 > here || a->window) hide(a, own->scores + r * PAGE, here, page);
            own->keep[r] = (level >= AVX512 ? weigh_avx512 : weigh_avx2)(
                own->scores + r * PAGE, a->scale, own->largest + r, own->sum + r);
        }
        const int64_t values_at = layer_at + a->kv_heads * PAGE * head + kv_head * PAGE * wide;
        const float *values = numbers_at(a, run, page, last / PAGE, values_at, depth * wide, own, level);
        for (int64_t from = 0; from < wide; from += PAGE)
            small_product(rows, own->scores, PAGE, values + from, wide, depth, own->keep, own->values + from, wide, level);
    }
    for (int64_t r = 0; r < rows; r++) {
        float *out = run->out + ((begin + r / group) * a->heads + kv_head * group + r % group) * head;
        for (int64_t d = 0; d < head; d++) out[d] = own->values[r * wide + d] / own->sum[r];
    }
}

static int attend_run(const attention_shape *a, int64_t layer, const attention_run *run, int64_t task, int64_t each,
                      int level) {
    const int64_t wide = wide_of(a->head), head = filled(a->head, 16);
    block_state own;
    float *memory = room_for((ROWS * (head + PAGE + wide) + PAGE * wide) * (int64_t)sizeof(float));
    if (!memory) return 0;
    own.query = memory, own.scores = own.query + ROWS * head, own.values = own.scores + ROWS * PAGE;
    own.widened = own.values + ROWS * wide;
    const int64_t begin = task / a->kv_heads * each;
    attend_block(a, layer, run, begin, smaller(each, run->count - begin), task % a->kv_heads, &own, level);
    free(memory);
    return 1;
}

int attend(const attention_shape *a, int64_t layer, const attention_run *runs, int64_t count, int level, int threads) {
    const int64_t each = ROWS / (a->heads / a->kv_heads);
    int64_t tasks = 0, seen = 0;
    int done = 1;
    for (int64_t i = 0; i < count; i++) {
        tasks += blocks_of(runs[i].count, each) * a->kv_heads;
        seen += runs[i].count * (runs[i].first + runs[i].count);
    }
    if (seen * a->heads * a->head < PARALLEL_FROM) threads = 1;
    /* Later blocks see more: handing out one at a time keeps the threads even. */
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) reduction(&& : done) if (threads > 1)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t here = tasks - 1 - task, run = 0;
        for (; here >= blocks_of(runs[run].count, each) * a->kv_heads; run++)
            here -= blocks_of(runs[run].count, each) * a->kv_heads;
        done = attend_run(a, layer, runs + run, here, each, level) && done;
    }
    return done;
}

#else

int attend(const attention_shape *a, int64_t layer, const attention_run *runs, int64_t count, int level, int threads) {
    (void)a, (void)layer, (void)runs, (void)count, (void)level, (void)threads;
    return 0;
}

#endif
