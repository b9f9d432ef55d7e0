/* Makes 4-bit codes dense: level times scale in float32, then one rounding to the wanted dtype. */
#include "kernels.h"

#define PIECE 256   /* weights that are decoded before they are rounded to 16 bits */
#define SHARE 16384 /* weights that a thread takes at a time; a multiple of every block */
#define STREAM_FROM (1 << 23) /* weights from which the output would only push everything else out of the caches */

INLINE float level_at(const weight4 *w, int64_t index) {
    uint8_t pair = w->codes[index >> 1];
    return w->table[index & 1 ? pair & 15 : pair >> 4];
}

INLINE void decode(const weight4 *w, int64_t start, int64_t count, float scale, float *out) {
    for (int64_t i = 0; i < count; i++) out[i] = level_at(w, start + i) * scale;
}

#if HAVE_X86
/* 32 codes of 16 bytes, one a byte, in order. */
TARGET_AVX2 INLINE __m256i codes_in_order(const uint8_t *codes) {
    const __m128i low = _mm_set1_epi8(15), bytes = _mm_loadu_si128((const __m128i *)codes);
    const __m128i first = _mm_and_si128(_mm_srli_epi16(bytes, 4), low), second = _mm_and_si128(bytes, low);
    return _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
}

/* `start` is even and `count` a multiple of 32. */
TARGET_AVX2 INLINE void decode_with_avx2(
    const weight4 *w, int64_t start, int64_t count, float scale, float *out, int stream
) {
    const __m256 low = _mm256_loadu_ps(w->table), high = _mm256_loadu_ps(w->table + 8), by = _mm256_set1_ps(scale);
    for (int64_t i = 0; i < count; i += 32) {
        if (i % 128 == 0) _mm_prefetch((const char *)w->codes + ((start + i) >> 1) + AHEAD, _MM_HINT_T1);
        uint8_t order[32];
        _mm256_storeu_si256((__m256i *)order, codes_in_order(w->codes + ((start + i) >> 1)));
        for (int k = 0; k < 32; k += 8) {
            __m256i code = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(order + k)));
            __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
            __m256 below = _mm256_permutevar8x32_ps(low, code), above = _mm256_permutevar8x32_ps(high, code);
            const __m256 value = _mm256_mul_ps(_mm256_blendv_ps(below, above, upper), by);
            if (stream) _mm256_stream_ps(out + i + k, value);
            else _mm256_storeu_ps(out + i + k, value);
        }
    }
}

TARGET_AVX512 INLINE void decode_with_avx512(
    const weight4 *w, int64_t start, int64_t count, float scale, float *out, int stream
) {
    const __m512 table = _mm512_mul_ps(_mm512_loadu_ps(w->table), _mm512_set1_ps(scale));
    for (int64_t i = 0; i < count; i += 32) {
        if (i % 128 == 0) _mm_prefetch((const char *)w->codes + ((start + i) >> 1) + AHEAD, _MM_HINT_T1);
        __m256i order = codes_in_order(w->codes + ((start + i) >> 1));
        __m512i first = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(order));
        __m512i second = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(order, 1));
        if (stream) {
            _mm512_stream_ps(out + i, _mm512_permutexvar_ps(first, table));
            _mm512_stream_ps(out + i + 16, _mm512_permutexvar_ps(second, table));
        } else {
            _mm512_storeu_ps(out + i, _mm512_permutexvar_ps(first, table));
            _mm512_storeu_ps(out + i + 16, _mm512_permutexvar_ps(second, table));
        }
    }
}

#define DECODE(NAME, TARGET, DECODE_WITH, STREAM)                                                              \
    TARGET static void NAME(const weight4 *w, int64_t start, int64_t count, float scale, float *out) {         \
        DECODE_WITH(w, start, count, scale, out, STREAM);                                                      \
    }
DECODE(decode_avx2, TARGET_AVX2, decode_with_avx2, 0)
DECODE(decode_avx512, TARGET_AVX512, decode_with_avx512, 0)
DECODE(stream_avx2, TARGET_AVX2, decode_with_avx2, 1)
DECODE(stream_avx512, TARGET_AVX512, decode_with_avx512, 1)

TARGET_AVX2 static void narrow_avx2(const float *from, int64_t count, uint16_t *to, int dtype) {
    int64_t i = 0;
    for (; dtype == FLOAT16 && i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; i++) to[i] = dtype == FLOAT16 ? half_of_float(from[i]) : bfloat_of_float(from[i]);
}
#endif

/* Writes the weights start .. start + count to float32. Blocks start at even places and hold a multiple of 32, so an
 * odd start costs one weight of scalar code and an unaligned end fewer than 32.
 */
#define DECODE_RANGE(NAME, TARGET, WIDE)                                                                       \
    TARGET static void NAME(const weight4 *w, int64_t start, int64_t count, float *out) {                      \
        const int64_t end = start + count;                                                                     \
        for (int64_t from = start, index = start / w->block; from < end; index++) {                            \
            const int64_t to = smaller((index + 1) * w->block, end), head = from & 1;                          \
            const int64_t wide = (to - from - head) & ~(int64_t)31, done = from + head + wide;                 \
            const float scale = scale_of(w, index);                                                            \
            decode(w, from, head, scale, out + (from - start));                                                \
            WIDE(w, from + head, wide, scale, out + (from + head - start));                                    \
            decode(w, done, to - done, scale, out + (done - start));                                           \
            from = to;                                                                                         \
        }                                                                                                      \
    }
typedef void (*range_function)(const weight4 *, int64_t, int64_t, float *);
DECODE_RANGE(decode_range_portable, , decode)
#if HAVE_X86
DECODE_RANGE(decode_range_avx2, TARGET_AVX2, decode_avx2)
DECODE_RANGE(decode_range_avx512, TARGET_AVX512, decode_avx512)
DECODE_RANGE(stream_range_avx2, TARGET_AVX2, stream_avx2)
DECODE_RANGE(stream_range_avx512, TARGET_AVX512, stream_avx512)
#endif

/* With `stream`, stores go past the caches; every block must then begin on a whole cache line of the output. */
static range_function range_of(int level, int stream) {
#if HAVE_X86
    if (level >= AVX512) return stream ? stream_range_avx512 : decode_range_avx512;
    if (level >= AVX2) return stream ? stream_range_avx2 : decode_range_avx2;
#endif
    (void)level, (void)stream;
    return decode_range_portable;
}

void decode_range(const weight4 *w, int64_t start, int64_t count, float *out, int level) {
    range_of(level, 0)(w, start, count, out);
}

static void decode_narrow(const weight4 *w, int64_t start, int64_t count, uint16_t *out, int dtype, int level) {
    float buffer[PIECE];
    for (int64_t done = 0; done < count; done += PIECE) {
        const int64_t here = smaller(PIECE, count - done);
        decode_range(w, start + done, here, buffer, level);
#if HAVE_X86
        if (level >= AVX2) {
            narrow_avx2(buffer, here, out + done, dtype);
            continue;
        }
#endif
        write_floats(buffer, here, out + done, dtype, 0);
    }
}

static void decode_all(const weight4 *w, int64_t start, int64_t count, void *out, int dtype, int level, int threads) {
    const int stream = count >= STREAM_FROM && start % w->block == 0 && ((uintptr_t)out & 63) == 0;
    const range_function range = range_of(level, stream);
#pragma omp parallel for num_threads(threads) schedule(static) if (count > 4 * SHARE)
    for (int64_t done = 0; done < count; done += SHARE) {
        const int64_t here = smaller(SHARE, count - done);
        if (dtype == FLOAT32) range(w, start + done, here, (float *)out + done);
        else decode_narrow(w, start + done, here, (uint16_t *)out + done, dtype, level);
    }
#if HAVE_X86
    if (stream) _mm_sfence();
#endif
}

void trimtab_dequantize_4bit(const weight4 *w, int64_t row, int64_t rows, int64_t col, int64_t cols, void *out, int dtype,
                             int level, int threads) {
    if (cols == w->cols) {
        decode_all(w, row * cols, rows * cols, out, dtype, level, threads);
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * cols > 4 * SHARE)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t start = (row + r) * w->cols + col;
        if (dtype == FLOAT32) decode_range(w, start, cols, (float *)out + r * cols, level);
        else decode_narrow(w, start, cols, (uint16_t *)out + r * cols, dtype, level);
    }
}
