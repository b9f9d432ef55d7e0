/* Shared by the kernels that multiply in integers. */
#ifndef TRIMTAB_INTEGER_PARTS_H
#define TRIMTAB_INTEGER_PARTS_H

#include "4bit_integer.h"

#if HAVE_X86

#define ROWS 4 /* that are multiplied together */

/* Weights that share one scale within a group: a unit never straddles two blocks. */
INLINE int64_t unit_of(const weight4 *w) { return smaller(w->block, GROUP); }

/* The 256 scales that the codes of one nested block stand for. */
typedef struct {
    int64_t run;
    float value[256];
} decoded_scales;

/* A vector rounded for the kernel. values: in the order in which codes are unpacked; scales: one a unit, as often as
 * rows are taken together.
 */
typedef struct {
    int16_t *values;
    float *scales;
} rounded;

typedef struct {
    int16_t level[32]; /* twice over, so that a fifth index bit does not matter */
    float step;        /* what one integer step of a level is worth */
} integer_table;

/* Rounds GROUP values to 15 bits; gives step times what one integer step of theirs is worth. A value that is not finite
 * makes it NaN, and so every result. */
float round_group(const float *x, float step, int16_t *out);

integer_table round_table(const float *table);

void round_vector(const float *x, const weight4 *w, float step, int level, rounded *out);

void multiply_scales(const weight4 *w, int64_t base, int64_t count, const float *x_scales, decoded_scales *decoded,
                     float *scales);

TARGET_AVX2 INLINE __m128 two_floats(const float *from) { return _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)from)); }

/* Two neighbouring scales of each of ROWS rows. */
TARGET_AVX2 INLINE __m256 two_scales(const float *const scales[ROWS], int64_t unit) {
    const __m128 one = _mm_movelh_ps(two_floats(scales[0] + unit), two_floats(scales[1] + unit));
    const __m128 two = _mm_movelh_ps(two_floats(scales[2] + unit), two_floats(scales[3] + unit));
    return _mm256_set_m128(two, one);
}

/* Two scales spread over their halves of a vector, or four over their quarters. */
TARGET_AVX512 INLINE __m512 spread_avx512(const float *scales, int halves) {
    const __m512i quarters = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    if (halves) return _mm512_permutexvar_ps(quarters, _mm512_castps128_ps512(_mm_loadu_ps(scales)));
    return _mm512_mask_broadcastss_ps(_mm512_set1_ps(scales[0]), 0xff00, _mm_load_ss(scales + 1));
}

/* The sums of 32 words of codes with their operands, as 16 integers. */
TARGET_AVX512 INLINE __m512i dot_avx512(__m512i word, __m512i table, const __m512i x[4]) {
    __m512i sum = _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_permutexvar_epi16(word, table), x[0]);
    sum = _mm512_dpwssd_epi32(sum, _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 4), table), x[1]);
    sum = _mm512_dpwssd_epi32(sum, _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 8), table), x[2]);
    return _mm512_dpwssd_epi32(sum, _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 12), table), x[3]);
}

TARGET_AVX512 INLINE __m256 fold_avx512(__m512 sum) {
    return _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps(sum, 1));
}

/* The last 64 columns of two rows at a time, one in each half; near: a scale for each half of either row's columns. */
TARGET_AVX512 INLINE void add_last_pair_avx512(const uint8_t *one, const uint8_t *two, const float near[4],
                                               const int16_t *x, __m512i table, __m256 folded[2]) {
    __m512i operand[4];
    for (int i = 0; i < 4; i++)
        operand[i] = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(x + 16 * i)));
    const __m512i word = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)one)),
                                            _mm256_loadu_si256((const __m256i *)two), 1);
    const __m512 sum = _mm512_mul_ps(_mm512_cvtepi32_ps(dot_avx512(word, table, operand)), spread_avx512(near, 1));
    folded[0] = _mm256_add_ps(folded[0], _mm512_castps512_ps256(sum));
    folded[1] = _mm256_add_ps(folded[1], _mm512_extractf32x8_ps(sum, 1));
}

/* `last`: one scale for each row's 64 columns. */
TARGET_AVX512 INLINE void add_last_avx512(const uint8_t *const codes[ROWS], const float last[ROWS], const int16_t *x,
                                          int64_t k, __m512i table, __m256 folded[ROWS]) {
    for (int r = 0; r < ROWS; r += 2) {
        const float near[4] = {last[r], last[r], last[r + 1], last[r + 1]};
        add_last_pair_avx512(codes[r] + k / 2, codes[r + 1] + k / 2, near, x, table, folded + r);
    }
}

/* Two scales for each row's 64 columns, from place `unit` on. */
TARGET_AVX512 INLINE void add_last_halves_avx512(const uint8_t *const codes[ROWS], const float *const scales[ROWS],
                                                 int64_t unit, const int16_t *x, int64_t k, __m512i table,
                                                 __m256 folded[ROWS]) {
    for (int r = 0; r < ROWS; r += 2) {
        const float near[4] = {scales[r][unit], scales[r][unit + 1], scales[r + 1][unit], scales[r + 1][unit + 1]};
        add_last_pair_avx512(codes[r] + k / 2, codes[r + 1] + k / 2, near, x, table, folded + r);
    }
}

/* Sums of 8 lanes of each of four vectors. */
TARGET_AVX2 INLINE __m128 sum_lanes(const __m256 sums[ROWS]) {
    const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

/* The levels of 64 weights of a row: bytes of both halves of each are looked up and joined to words. */
TARGET_AVX2 INLINE void look_up_avx2(const uint8_t *codes, __m256i low_table, __m256i high_table, __m256i level[4]) {
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)codes), nibble = _mm256_set1_epi8(15);
    const __m256i first = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);
    const __m256i second = _mm256_and_si256(bytes, nibble);
    const __m256i low1 = _mm256_shuffle_epi8(low_table, first), high1 = _mm256_shuffle_epi8(high_table, first);
    const __m256i low2 = _mm256_shuffle_epi8(low_table, second), high2 = _mm256_shuffle_epi8(high_table, second);
    level[0] = _mm256_unpacklo_epi8(low1, high1), level[1] = _mm256_unpackhi_epi8(low1, high1);
    level[2] = _mm256_unpacklo_epi8(low2, high2), level[3] = _mm256_unpackhi_epi8(low2, high2);
}

TARGET_AVX2 INLINE __m256i dot_avx2(const uint8_t *codes, __m256i low_table, __m256i high_table, const __m256i x[4]) {
    __m256i level[4];
    look_up_avx2(codes, low_table, high_table, level);
    const __m256i a = _mm256_madd_epi16(level[0], x[0]), b = _mm256_madd_epi16(level[1], x[1]);
    const __m256i c = _mm256_madd_epi16(level[2], x[2]), d = _mm256_madd_epi16(level[3], x[3]);
    return _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
}

#endif

#endif
