/* One vector times a 4-bit matrix, in integers: levels rounded to 15 bits, activations to 15 bits with a scale for
 * each 64, products summed exactly. Relative error near 1e-4, against 9e-2 that the 4 bits themselves cost.
 */
#include "few_rows.h"

#define PREFETCH_BYTES 1024
#define STEPS 16383.0f /* 64 / 8 products a lane of at most STEPS squared stay below 2^31 */

#if HAVE_X86

/* Weights that share one scale within a group: a unit never straddles two blocks. */
INLINE int64_t unit_of(const weight4 *w) { return smaller(w->block, GROUP); }

/* One scale a unit of a row. */
INLINE void scales_of_row(const weight4 *w, int64_t row, float *scales) {
    const int64_t unit = unit_of(w), units = w->cols / unit, base = row * units;
    const int shift = __builtin_ctzll((unsigned long long)(w->block / unit));
    for (int64_t i = 0; i < units; i++) scales[i] = scale_of(w, (base + i) >> shift);
}

/* A vector rounded for the kernel. values: in the order in which codes are unpacked; scales: one a unit. */
typedef struct {
    int16_t *values;
    float *scales;
} rounded;

typedef struct {
    int16_t level[32]; /* twice over, so that a fifth index bit does not matter */
    float step;        /* what one integer step of a level is worth */
} integer_table;

static integer_table round_table(const float *table) {
    integer_table out;
    float largest = 0.0f;
    for (int i = 0; i < 16; i++) largest = fabsf(table[i]) > largest ? fabsf(table[i]) : largest;
    const float inverse = largest > 0.0f ? STEPS / largest : 0.0f;
    for (int i = 0; i < 32; i++) out.level[i] = (int16_t)lrintf(table[i & 15] * inverse);
    out.step = largest / STEPS;
    return out;
}

/* Rounds 64 values; a value that is not finite makes the scale NaN, and so every result. */
TARGET_AVX2 static float round_group(const float *x, float step, int16_t *out) {
    float largest = 0.0f, poison = 0.0f;
    for (int i = 0; i < GROUP; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        poison += x[i] * 0.0f;
    }
    const float inverse = largest > 0x1p-100f ? STEPS / largest : 0.0f;
    for (int i = 0; i < GROUP; i++) out[i] = (int16_t)_mm_cvtss_si32(_mm_set_ss(x[i] * inverse));
    return largest / STEPS * step + poison;
}

/* Unpacking order of 16-bit words: word j holds elements 4j + 1, 4j, 4j + 3, 4j + 2 from its lowest bits up. */
static void order_by_words(const int16_t *from, int64_t count, int16_t *to) {
    const int64_t words = count / 4;
    for (int64_t j = 0; j < words; j++) {
        to[j] = from[4 * j + 1];
        to[words + j] = from[4 * j];
        to[2 * words + j] = from[4 * j + 3];
        to[3 * words + j] = from[4 * j + 2];
    }
}

/* Unpacking order of bytes in 128-bit lanes: first elements of bytes 0-7, of bytes 8-15, then the second ones. */
static void order_by_lanes(const int16_t *from, int16_t *to) {
    for (int part = 0; part < 4; part++)
        for (int lane = 0; lane < 2; lane++)
            for (int i = 0; i < 8; i++)
                to[part * 16 + lane * 8 + i] = from[lane * 32 + (part & 1) * 16 + 2 * i + (part >> 1)];
}

static void round_vector(const float *x, const weight4 *w, float step, int level, rounded *out) {
    const int64_t copies = GROUP / unit_of(w);
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
}

INLINE float sum8(const float *lanes) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* Dot products of two rows of codes with a rounded vector; `scales` are the products of both scales, one a unit. */
TARGET_AVX512 INLINE void two_rows_avx512(
    const uint8_t *codes[2], const float *scales[2], const int16_t *x, int64_t cols, const int16_t *levels, int halves,
    float out[2]
) {
    const __m512i table = _mm512_loadu_si512(levels);
    const __m512i spread = halves ? _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)
                                  : _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    int64_t k = 0, unit = 0;
    for (; k + 2 * GROUP <= cols; k += 2 * GROUP, unit += halves ? 4 : 2) {
        for (int r = 0; r < 2; r++) {
            const __m512i word = _mm512_loadu_si512(codes[r] + k / 2);
            _mm_prefetch((const char *)codes[r] + k / 2 + PREFETCH_BYTES, _MM_HINT_T0);
            __m512i a = _mm512_setzero_si512(), b = a;
            a = _mm512_dpwssd_epi32(a, _mm512_permutexvar_epi16(word, table), _mm512_loadu_si512(x + k));
            b = _mm512_dpwssd_epi32(
                b, _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 4), table), _mm512_loadu_si512(x + k + 32));
            a = _mm512_dpwssd_epi32(
                a, _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 8), table), _mm512_loadu_si512(x + k + 64));
            b = _mm512_dpwssd_epi32(
                b, _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 12), table), _mm512_loadu_si512(x + k + 96));
            const __m128 near = halves ? _mm_loadu_ps(scales[r] + unit)
                                       : _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(scales[r] + unit)));
            const __m512 scale = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(near));
            sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(a, b)), scale, sums[r]);
        }
    }
    for (int r = 0; r < 2; r++) {
        float lanes[8];
        __m256 sum = _mm256_add_ps(_mm512_castps512_ps256(sums[r]), _mm512_extractf32x8_ps(sums[r], 1));
        if (k < cols) {
            const __m256i word = _mm256_loadu_si256((const __m256i *)(codes[r] + k / 2));
            __m256i a = _mm256_setzero_si256();
            for (int part = 0; part < 4; part++)
                a = _mm256_dpwssd_epi32(
                    a, _mm256_permutexvar_epi16(_mm256_and_si256(_mm256_srlv_epi16(word, _mm256_set1_epi16(4 * part)),
                    _mm256_set1_epi16(15)), _mm512_castsi512_si256(table)),
                    _mm256_loadu_si256((const __m256i *)(x + k + 16 * part)));
            const __m256 scale = _mm256_set_m128(_mm_set1_ps(scales[r][unit + halves]), _mm_set1_ps(scales[r][unit]));
            sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), scale, sum);
        }
        _mm256_storeu_ps(lanes, sum);
        out[r] = sum8(lanes);
    }
}

TARGET_AVX2 INLINE void two_rows_avx2(
    const uint8_t *codes[2], const float *scales[2], const int16_t *x, int64_t cols, const int16_t *levels, int halves,
    float out[2]
) {
    uint8_t low[16], high[16];
    for (int i = 0; i < 16; i++) low[i] = (uint8_t)(levels[i] & 255), high[i] = (uint8_t)((uint16_t)levels[i] >> 8);
    const __m256i low_table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)low));
    const __m256i high_table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)high));
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int64_t k = 0, unit = 0; k < cols; k += GROUP, unit += 1 + halves) {
        for (int r = 0; r < 2; r++) {
            const __m256i bytes = _mm256_loadu_si256((const __m256i *)(codes[r] + k / 2));
            _mm_prefetch((const char *)codes[r] + k / 2 + PREFETCH_BYTES, _MM_HINT_T0);
            const __m256i first = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);
            const __m256i second = _mm256_and_si256(bytes, nibble);
            const __m256i first_low = _mm256_shuffle_epi8(low_table, first);
            const __m256i first_high = _mm256_shuffle_epi8(high_table, first);
            const __m256i second_low = _mm256_shuffle_epi8(low_table, second);
            const __m256i second_high = _mm256_shuffle_epi8(high_table, second);
            const __m256i *operand = (const __m256i *)(x + k);
            __m256i a = _mm256_madd_epi16(_mm256_unpacklo_epi8(first_low, first_high), _mm256_loadu_si256(operand));
            __m256i b = _mm256_madd_epi16(_mm256_unpackhi_epi8(first_low, first_high), _mm256_loadu_si256(operand + 1));
            __m256i c = _mm256_madd_epi16(_mm256_unpacklo_epi8(second_low, second_high), _mm256_loadu_si256(operand + 2));
            __m256i d = _mm256_madd_epi16(_mm256_unpackhi_epi8(second_low, second_high), _mm256_loadu_si256(operand + 3));
            const __m256 total = _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)));
            const __m256 scale =
                halves ? _mm256_set_m128(_mm_set1_ps(scales[r][unit + 1]), _mm_set1_ps(scales[r][unit]))
                       : _mm256_broadcast_ss(scales[r] + unit);
            sums[r] = _mm256_fmadd_ps(total, scale, sums[r]);
        }
    }
    for (int r = 0; r < 2; r++) {
        float lanes[8];
        _mm256_storeu_ps(lanes, sums[r]);
        out[r] = sum8(lanes);
    }
}

typedef struct {
    const weight4 *w;
    const rounded *x;
    const int16_t *levels;
    const float *bias;
    float *y;
    float *scratch; /* two rows of scales */
} work;

/* Rows two at a time share the loads of the vector; of an odd count the last is taken twice. */
#define ROWS(NAME, TARGET, TWO_ROWS)                                                                          \
    TARGET static void NAME(const work *job, int64_t from, int64_t to) {                                      \
        const weight4 *w = job->w;                                                                            \
        const int64_t units = w->cols / unit_of(w), bytes = w->cols / 2;                                      \
        const float *scales[2] = {job->scratch, job->scratch + units};                                        \
        for (int64_t row = from; row < to; row += 2) {                                                        \
            const int64_t other = row + 1 < to ? row + 1 : row;                                               \
            const uint8_t *codes[2] = {w->codes + row * bytes, w->codes + other * bytes};                     \
            float out[2];                                                                                     \
            scales_of_row(w, row, job->scratch);                                                              \
            scales_of_row(w, other, job->scratch + units);                                                    \
            for (int64_t i = 0; i < units; i++) job->scratch[i] *= job->x->scales[i];                         \
            for (int64_t i = 0; i < units; i++) job->scratch[units + i] *= job->x->scales[i];                 \
            if (w->block < GROUP) TWO_ROWS(codes, scales, job->x->values, w->cols, job->levels, 1, out);      \
            else TWO_ROWS(codes, scales, job->x->values, w->cols, job->levels, 0, out);                       \
            job->y[row] = out[0] + (job->bias ? job->bias[row] : 0.0f);                                       \
            job->y[other] = (other == row ? out[0] : out[1]) + (job->bias ? job->bias[other] : 0.0f);         \
        }                                                                                                     \
    }
ROWS(rows_avx512, TARGET_AVX512, two_rows_avx512)
ROWS(rows_avx2, TARGET_AVX2, two_rows_avx2)

/* y = W x + bias; gives 0 where memory is short. Needs AVX2. */
int multiply_integer(const weight4 *w, const float *x, const float *bias, float *y, int level, int threads) {
    const int64_t units = w->cols / unit_of(w);
    if (w->rows * w->cols < PARALLEL_FROM) threads = 1;
    const size_t value_bytes = (size_t)w->cols * sizeof(int16_t), scale_bytes = (size_t)units * sizeof(float);
    char *memory = malloc(value_bytes + scale_bytes * (size_t)(1 + 2 * threads));
    if (!memory) return 0;
    rounded in = {(int16_t *)memory, (float *)(memory + value_bytes)};
    const integer_table table = round_table(w->table);
    round_vector(x, w, table.step, level, &in);
    /* An even share of rows each, so that only the last thread can meet an odd row. */
    const int64_t share = (w->rows / threads + 2) & ~(int64_t)1;
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        const work job = {w, &in, table.level, bias, y, in.scales + units * (1 + 2 * t)};
        const int64_t from = t * share, to = smaller(from + share, w->rows);
        if (level >= AVX512) rows_avx512(&job, from, to);
        else rows_avx2(&job, from, to);
    }
    free(memory);
    return 1;
}

#endif
