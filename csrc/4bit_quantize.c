/* Rounds weights to 4-bit codes, block by block. */
#include "kernels.h"
#include "lanes.h"

#define SMALLEST_SCALE 1e-38f

typedef struct {
    const float *bounds;  /* 15 thresholds in rising order */
    const uint8_t *order; /* code of each of the 16 levels in rising order */
} codebook;

INLINE uint8_t code_of(float scaled, const codebook *book) {
    int above = 0;
    for (int step = 8; step; step >>= 1) above += scaled > book->bounds[above + step - 1] ? step : 0;
    return book->order[above];
}

INLINE float largest_magnitude(const float *x, int64_t count) {
    float largest = 0.0f;
    for (int64_t i = 0; i < count; i++) {
        float magnitude = fabsf(x[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

INLINE void pack_pairs(const float *scaled, int64_t count, const codebook *book, uint8_t *codes) {
    for (int64_t i = 0; i < count; i += 2) {
        uint8_t second = code_of(i + 1 < count ? scaled[i + 1] : 0.0f, book);
        codes[i / 2] = (uint8_t)(code_of(scaled[i], book) << 4 | second);
    }
}

/* A short last block divides by its scale, and the scale is stored as it divided. */
static void quantize_short(const float *x, int64_t count, const codebook *book, uint8_t *codes, float *absmax) {
    float scaled[LARGEST_BLOCK], scale = largest_magnitude(x, count);
    scale = scale > SMALLEST_SCALE ? scale : SMALLEST_SCALE;
    for (int64_t i = 0; i < count; i++) scaled[i] = x[i] / scale;
    pack_pairs(scaled, count, book, codes);
    *absmax = scale;
}

static void quantize_block(const float *x, int64_t count, const codebook *book, uint8_t *codes, float *absmax) {
    float scaled[LARGEST_BLOCK], scale = largest_magnitude(x, count);
    float inverse = 1.0f / (scale > SMALLEST_SCALE ? scale : SMALLEST_SCALE);
    for (int64_t i = 0; i < count; i++) scaled[i] = x[i] * inverse;
    pack_pairs(scaled, count, book, codes);
    *absmax = scale;
}

#if HAVE_X86
/* The number of thresholds below each of 8 values, by bisection in registers. */
TARGET_AVX2 INLINE __m256i ranks_avx2(__m256 scaled, const __m256 first[3], __m256 pairs, __m256 eights) {
    __m256 above = _mm256_cmp_ps(scaled, first[0], _CMP_GT_OQ);
    __m256i rank = _mm256_and_si256(_mm256_castps_si256(above), _mm256_set1_epi32(8));
    above = _mm256_cmp_ps(scaled, _mm256_blendv_ps(first[1], first[2], above), _CMP_GT_OQ);
    rank = _mm256_or_si256(rank, _mm256_and_si256(_mm256_castps_si256(above), _mm256_set1_epi32(4)));
    above = _mm256_cmp_ps(scaled, _mm256_permutevar8x32_ps(pairs, _mm256_srli_epi32(rank, 2)), _CMP_GT_OQ);
    rank = _mm256_or_si256(rank, _mm256_and_si256(_mm256_castps_si256(above), _mm256_set1_epi32(2)));
    above = _mm256_cmp_ps(scaled, _mm256_permutevar8x32_ps(eights, _mm256_srli_epi32(rank, 1)), _CMP_GT_OQ);
    return _mm256_sub_epi32(rank, _mm256_castps_si256(above));
}

TARGET_AVX2 INLINE float largest_avx2(const float *x, int64_t count) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
    for (int64_t i = 0; i < count; i += 32) {
        a = _mm256_max_ps(a, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i)));
        b = _mm256_max_ps(b, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i + 8)));
        c = _mm256_max_ps(c, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i + 16)));
        d = _mm256_max_ps(d, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i + 24)));
    }
    return most_avx2(_mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d)));
}

TARGET_AVX2 static void quantize_block_avx2(
    const float *x, int64_t count, const codebook *book, uint8_t *codes, float *absmax
) {
    const float *t = book->bounds;
    const __m256 first[3] = {_mm256_set1_ps(t[7]), _mm256_set1_ps(t[3]), _mm256_set1_ps(t[11])};
    const __m256 pairs = _mm256_setr_ps(t[1], t[5], t[9], t[13], 0, 0, 0, 0);
    const __m256 eights = _mm256_setr_ps(t[0], t[2], t[4], t[6], t[8], t[10], t[12], t[14]);
    const __m128i order = _mm_loadu_si128((const __m128i *)book->order);
    const __m256i straight = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    float scale = largest_avx2(x, count);
    const __m256 inverse = _mm256_set1_ps(1.0f / (scale > SMALLEST_SCALE ? scale : SMALLEST_SCALE));
    for (int64_t i = 0; i < count; i += 32) {
        __m256i a = ranks_avx2(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse), first, pairs, eights);
        __m256i b = ranks_avx2(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8), inverse), first, pairs, eights);
        __m256i c = ranks_avx2(_mm256_mul_ps(_mm256_loadu_ps(x + i + 16), inverse), first, pairs, eights);
        __m256i d = ranks_avx2(_mm256_mul_ps(_mm256_loadu_ps(x + i + 24), inverse), first, pairs, eights);
        __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        bytes = _mm256_permutevar8x32_epi32(bytes, straight);
        bytes = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(order), bytes);
        /* first * 16 + second, in each pair of bytes */
        __m256i joined = _mm256_maddubs_epi16(bytes, _mm256_set1_epi16(0x0110));
        joined = _mm256_permute4x64_epi64(_mm256_packus_epi16(joined, joined), 0x08);
        _mm_storeu_si128((__m128i *)(codes + i / 2), _mm256_castsi256_si128(joined));
    }
    *absmax = scale;
}
#endif

void trimtab_quantize_4bit(const void *x, int dtype, int64_t count, int64_t block, const float *bounds,
                           const uint8_t *order, uint8_t *codes, float *absmax, int level, int threads) {
    const codebook book = {bounds, order};
    const int64_t blocks = blocks_of(count, block);
#pragma omp parallel for num_threads(threads) schedule(static) if (count > 65536)
    for (int64_t index = 0; index < blocks; index++) {
        float buffer[LARGEST_BLOCK];
        const int64_t start = index * block, here = smaller(block, count - start);
        const float *values = (const float *)x + start;
        if (dtype != FLOAT32) read_floats(x, dtype, start, here, buffer), values = buffer;
        if (here < block) quantize_short(values, here, &book, codes + start / 2, absmax + index);
#if HAVE_X86
        else if (level >= AVX2) quantize_block_avx2(values, here, &book, codes + start / 2, absmax + index);
#endif
        else quantize_block(values, here, &book, codes + start / 2, absmax + index);
    }
}
