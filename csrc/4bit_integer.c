/* One vector times a 4-bit matrix, in integers: levels rounded to 15 bits, activations to 15 bits with a scale for
 * each 64, products summed exactly. Relative error near 1e-4, against 9e-2 that the 4 bits themselves cost.
 */
#include "integer_parts.h"

#define STEPS 16383.0f /* 64 / 8 products a lane of at most STEPS squared stay below 2^31 */

#if HAVE_X86

TARGET_AVX2 static void decode_run(const weight4 *w, int64_t run, decoded_scales *out) {
    for (int i = 0; i < 256; i++) out->value[i] = w->nested_table[i] * w->nested_absmax[run] + *w->nested_offset;
    out->run = run;
}

/* The products of both scales for `count` units from unit `base` of the matrix on; `x_scales` has one for each.
 * Without a target: the compiler would make gathers of the look-ups, which are slower than scalar loads.
 */
void multiply_scales(
    const weight4 *w, int64_t base, int64_t count, const float *x_scales, decoded_scales *decoded,
    float *scales
) {
    const int shift = __builtin_ctzll((unsigned long long)(w->block / unit_of(w)));
    if (!w->nested_absmax) {
        const float *absmax = w->absmax;
        for (int64_t i = 0; i < count; i++) scales[i] = absmax[(base + i) >> shift] * x_scales[i];
        return;
    }
    const uint8_t *codes = w->absmax;
    for (int64_t i = 0; i < count; i += 64) _mm_prefetch((const char *)codes + base + count + i, _MM_HINT_T0);
    for (int64_t i = 0; i < count;) {
        const int64_t run = (base + i) >> shift >> NESTED_SHIFT;
        const int64_t end = smaller(((run + 1) << NESTED_SHIFT << shift) - base, count);
        if (decoded->run != run) decode_run(w, run, decoded);
        if (shift) for (; i < end; i++) scales[i] = decoded->value[codes[(base + i) >> shift]] * x_scales[i];
        else {
            const float *value = decoded->value;
#pragma GCC unroll 8
            for (; i < end; i++) scales[i] = value[codes[base + i]] * x_scales[i];
        }
    }
}

/* Scales still to be worked out for the next rows. They are taken a few at a time between the products of the rows in
 * work: look-ups leave the vector units free, and products leave the loads.
 */
typedef struct {
    const uint8_t *codes;
    const float *value, *x_scales;
    float *scales;
    int64_t count, done;
} upcoming;

/* One at a time by intrinsics, for the compiler would make slow gathers of a loop. */
TARGET_AVX2 INLINE void take_some(upcoming *next, int64_t count) {
    if (next->done + count > next->count) return;
    const uint8_t *codes = next->codes + next->done;
    const float *x_scales = next->x_scales + next->done;
    float *scales = next->scales + next->done;
    for (int64_t i = 0; i < count; i++)
        _mm_store_ss(scales + i, _mm_mul_ss(_mm_load_ss(next->value + codes[i]), _mm_load_ss(x_scales + i)));
    next->done += count;
}

/* Says what is to come for `count` units from unit `base` on; nothing where they do not share a nested scale. */
static upcoming expect(
    const weight4 *w, int64_t base, int64_t count, const float *x_scales, decoded_scales *decoded, float *scales
) {
    const int64_t run = base >> NESTED_SHIFT;
    upcoming next = {(const uint8_t *)w->absmax + base, decoded->value, x_scales, scales, 0, 0};
    if (!w->nested_absmax || w->block > GROUP || count <= 0 || (base + count - 1) >> NESTED_SHIFT != run) return next;
    if (decoded->run != run) decode_run(w, run, decoded);
    next.count = count;
    return next;
}

integer_table round_table(const float *table) {
    integer_table out;
    float largest = 0.0f;
    for (int i = 0; i < 16; i++) largest = fabsf(table[i]) > largest ? fabsf(table[i]) : largest;
    const float inverse = largest > 0.0f ? STEPS / largest : 0.0f;
    for (int i = 0; i < 32; i++) out.level[i] = (int16_t)lrintf(table[i & 15] * inverse);
    out.step = largest / STEPS;
    return out;
}

/* Rounds 64 values; a value that is not finite makes the scale NaN, and so every result. */
TARGET_AVX2 float round_group(const float *x, float step, int16_t *out) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 most = _mm256_setzero_ps(), poison = most;
    for (int i = 0; i < GROUP; i += 8) {
        const __m256 value = _mm256_loadu_ps(x + i);
        most = _mm256_max_ps(most, _mm256_and_ps(value, magnitude));
        poison = _mm256_fmadd_ps(value, _mm256_setzero_ps(), poison);
    }
    float lanes[16], largest = 0.0f, total = 0.0f;
    _mm256_storeu_ps(lanes, most);
    _mm256_storeu_ps(lanes + 8, poison);
    for (int i = 0; i < 8; i++) largest = lanes[i] > largest ? lanes[i] : largest, total += lanes[8 + i];
    const __m256 inverse = _mm256_set1_ps(largest > 0x1p-100f ? STEPS / largest : 0.0f);
    for (int i = 0; i < GROUP; i += 16) {
        const __m256i one = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse));
        const __m256i two = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8), inverse));
        const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(one, two), 0xd8);
        _mm256_storeu_si256((__m256i *)(out + i), both);
    }
    return largest / STEPS * step + total;
}

/* Unpacking order of 16-bit words, of GROUP or twice as many elements: word j holds elements 4j + 1, 4j, 4j + 3, 4j + 2
 * from its lowest bits up.
 */
TARGET_AVX512 static void order_by_words(const int16_t *from, int64_t count, int16_t *to) {
    static const int16_t first[4] = {1, 0, 3, 2};
    const __m512i every_fourth = _mm512_slli_epi16(_mm512_setr_epi32(0x10000, 0x30002, 0x50004, 0x70006, 0x90008, 0xb000a,
                                                                     0xd000c, 0xf000e, 0x10000, 0x30002, 0x50004, 0x70006,
                                                                     0x90008, 0xb000a, 0xd000c, 0xf000e), 2);
    const __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + 32);
    for (int part = 0; part < 4; part++) {
        const __m512i places = _mm512_add_epi16(every_fourth, _mm512_set1_epi16(first[part]));
        const __m512i near = _mm512_permutex2var_epi16(a, places, b);
        if (count == GROUP) {
            _mm256_storeu_si256((__m256i *)(to + 16 * part), _mm512_castsi512_si256(near));
            continue;
        }
        const __m512i far = _mm512_permutex2var_epi16(_mm512_loadu_si512(from + 64), places, _mm512_loadu_si512(from + 96));
        _mm512_storeu_si512(to + 32 * part, _mm512_mask_blend_epi16(0xffff0000, near, far));
    }
}

/* Unpacking order of bytes in 128-bit lanes: first elements of bytes 0-7, of bytes 8-15, then the second ones. */
static void order_by_lanes(const int16_t *from, int16_t *to) {
    for (int part = 0; part < 4; part++)
        for (int lane = 0; lane < 2; lane++)
            for (int i = 0; i < 8; i++)
                to[part * 16 + lane * 8 + i] = from[lane * 32 + (part & 1) * 16 + 2 * i + (part >> 1)];
}

void round_vector(const float *x, const weight4 *w, float step, int level, rounded *out) {
    const int64_t copies = GROUP / unit_of(w), units = w->cols / unit_of(w);
    int16_t natural[2 * GROUP];
    for (int64_t k = 0; k < w->cols;) {
        const int64_t take = level >= AVX512 && k + 2 * GROUP <= w->cols ? 2 * GROUP : GROUP;
        for (int64_t part = 0; part < take; part += GROUP) {
            const float scale = round_group(x + k + part, step, natural + part);
            for (int64_t i = 0; i < copies; i++) out->scales[(k + part) / GROUP * copies + i] = scale;
        }
        if (level >= AVX512) order_by_words(natural, take, out->values + k);
        else order_by_lanes(natural, out->values + k);
        k += take;
    }
    for (int r = 1; r < ROWS; r++) memcpy(out->scales + r * units, out->scales, (size_t)units * sizeof(float));
}

/* Rows lie one after the other, so the bytes AHEAD of the ones in work are fetched in one run. Only to the second
 * level: the equal places of several rows compete for the same few lines of the first.
 */
#define PREFETCH(codes, offset) _mm_prefetch((const char *)(codes)[0] + (offset) + AHEAD, _MM_HINT_T1)

/* Dot products of ROWS rows of codes with a rounded vector; `scales` are the products of both scales, one a unit. */
TARGET_AVX512 INLINE __m128 dot_rows_avx512(
    const uint8_t *const codes[ROWS], const float *const scales[ROWS], const int16_t *x, int64_t cols,
    const int16_t *levels, int halves, upcoming *next
) {
    const __m512i table = _mm512_loadu_si512(levels);
    __m512 sums[ROWS] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    __m256 folded[ROWS];
    int64_t k = 0, unit = 0;
    for (; k + 2 * GROUP <= cols; k += 2 * GROUP, unit += halves ? 4 : 2) {
        const __m512i operand[4] = {_mm512_loadu_si512(x + k), _mm512_loadu_si512(x + k + 32),
                                    _mm512_loadu_si512(x + k + 64), _mm512_loadu_si512(x + k + 96)};
        take_some(next, 2 * ROWS);
        for (int r = 0; r < ROWS; r++) {
            const __m512i sum = dot_avx512(_mm512_loadu_si512(codes[r] + k / 2), table, operand);
            PREFETCH(codes, ROWS / 2 * k + 64 * r);
            sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), spread_avx512(scales[r] + unit, halves), sums[r]);
        }
    }
    for (int r = 0; r < ROWS; r++) folded[r] = fold_avx512(sums[r]);
    if (k == cols) return sum_lanes(folded);
    for (int r = 0; r < ROWS; r++) PREFETCH(codes, ROWS / 2 * k + 32 * r);
    if (halves) add_last_halves_avx512(codes, scales, unit, x + k, k, table, folded);
    else {
        const float last[ROWS] = {scales[0][unit], scales[1][unit], scales[2][unit], scales[3][unit]};
        add_last_avx512(codes, last, x + k, k, table, folded);
    }
    return sum_lanes(folded);
}

TARGET_AVX2 INLINE __m128 dot_rows_avx2(
    const uint8_t *const codes[ROWS], const float *const scales[ROWS], const int16_t *x, int64_t cols,
    const int16_t *levels, int halves, upcoming *next
) {
    uint8_t low[16], high[16];
    for (int i = 0; i < 16; i++) low[i] = (uint8_t)(levels[i] & 255), high[i] = (uint8_t)((uint16_t)levels[i] >> 8);
    const __m256i low_table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)low));
    const __m256i high_table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)high));
    __m256 sums[ROWS] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int64_t k = 0, unit = 0; k < cols; k += GROUP, unit += 1 + halves) {
        const __m256i *from = (const __m256i *)(x + k);
        const __m256i operand[4] = {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1),
                                    _mm256_loadu_si256(from + 2), _mm256_loadu_si256(from + 3)};
        take_some(next, ROWS);
        for (int r = 0; r < ROWS; r++) {
            const __m256i sum = dot_avx2(codes[r] + k / 2, low_table, high_table, operand);
            if (r % 2) PREFETCH(codes, ROWS / 2 * k + 32 * (r - 1));
            const __m256 scale = halves ? _mm256_set_m128(_mm_set1_ps(scales[r][unit + 1]), _mm_set1_ps(scales[r][unit]))
                                        : _mm256_broadcast_ss(scales[r] + unit);
            sums[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, sums[r]);
        }
    }
    return sum_lanes(sums);
}

typedef struct {
    const weight4 *w;
    const rounded *x;
    const int16_t *levels;
    const float *bias;
    float *y;
    float *scratch; /* twice ROWS rows of scales */
} work;

/* ROWS rows at a time share the loads of the vector; where fewer are left, the last is taken several times. */
#define MULTIPLY_ROWS(NAME, TARGET, DOT_ROWS)                                                                  \
    TARGET static void NAME(const work *job, int64_t from, int64_t to) {                                       \
        const weight4 *w = job->w;                                                                             \
        const float *x_scales = job->x->scales;                                                                \
        const int64_t units = w->cols / unit_of(w);                                                            \
        float *here = job->scratch, *there = job->scratch + ROWS * units;                                      \
        decoded_scales decoded = {.run = -1};                                                                  \
        multiply_scales(w, from * units, smaller(ROWS, to - from) * units, x_scales, &decoded, here);          \
        for (int64_t row = from; row < to; row += ROWS) {                                                      \
            const int64_t rows = smaller(ROWS, to - row), base = (row + ROWS) * units;                         \
            const int64_t left = smaller(ROWS, to - row - ROWS) * units;                                       \
            upcoming next = expect(w, base, left, x_scales, &decoded, there);                                  \
            const uint8_t *codes[ROWS];                                                                        \
            const float *scales[ROWS];                                                                         \
            float out[ROWS], *swap = here;                                                                     \
            for (int64_t r = 0; r < ROWS; r++) {                                                               \
                codes[r] = w->codes + (row + smaller(r, rows - 1)) * (w->cols / 2);                            \
                scales[r] = here + smaller(r, rows - 1) * units;                                               \
            }                                                                                                  \
            _mm_storeu_ps(                                                                                     \
                out, w->block < GROUP ? DOT_ROWS(codes, scales, job->x->values, w->cols, job->levels, 1, &next) \
                                      : DOT_ROWS(codes, scales, job->x->values, w->cols, job->levels, 0, &next)); \
            for (int64_t r = 0; r < rows; r++) job->y[row + r] = out[r] + (job->bias ? job->bias[row + r] : 0.0f); \
            if (left > next.done)                                                                              \
                multiply_scales(                                                                               \
                    w, base + next.done, left - next.done, x_scales + next.done, &decoded, there + next.done); \
            here = there, there = swap;                                                                        \
        }                                                                                                      \
    }
MULTIPLY_ROWS(multiply_rows_avx512, TARGET_AVX512, dot_rows_avx512)
MULTIPLY_ROWS(multiply_rows_avx2, TARGET_AVX2, dot_rows_avx2)

/* One thread's share of the rows of all matrices, in groups of ROWS. */
static void multiply_share(const product4 *products, int count, const rounded *x, const int16_t *levels, float *scratch,
                           int64_t from, int64_t to, int level) {
    for (int i = 0; i < count; i++) {
        const weight4 *w = products[i].w;
        const int64_t groups = blocks_of(w->rows, ROWS);
        if (from < groups && to > 0) {
            const work job = {w, x, levels, products[i].bias, products[i].y, scratch};
            const int64_t begin = larger(from, 0), end = smaller(to, groups);
            (level >= AVX512 ? multiply_rows_avx512 : multiply_rows_avx2)(&job, begin * ROWS, smaller(end * ROWS, w->rows));
        }
        from -= groups, to -= groups;
    }
}

int multiply_integer(const product4 *products, int count, const float *x, int level, int threads) {
    const weight4 *w = products[0].w;
    const int64_t units = w->cols / unit_of(w);
    int64_t groups = 0;
    for (int i = 0; i < count; i++) groups += blocks_of(products[i].w->rows, ROWS);
    if (groups * ROWS * w->cols < PARALLEL_FROM || threads < 1) threads = 1;
    const size_t value_bytes = (size_t)w->cols * sizeof(int16_t), scale_bytes = (size_t)(ROWS * units) * sizeof(float);
    /* Aligned, so that no load of the values touches two cache lines. */
    char *memory = aligned_alloc(64, (value_bytes + scale_bytes * (size_t)(1 + 2 * threads) + 63) & ~(size_t)63);
    if (!memory) return 0;
    rounded in = {(int16_t *)memory, (float *)(memory + value_bytes)};
    const integer_table table = round_table(w->table);
    round_vector(x, w, table.step, level, &in);
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int t = 0; t < threads; t++)
        multiply_share(products, count, &in, table.level, in.scales + (1 + 2 * t) * ROWS * units, groups * t / threads,
                       groups * (t + 1) / threads, level);
    free(memory);
    return 1;
}

#endif
