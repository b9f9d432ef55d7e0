/* Shared by the kernels of 4-bit and 8-bit weights.
 *
 * Every function takes the instruction set to use as `level` (PORTABLE, AVX2 or AVX512, at most what
 * trimtab_cpu_level() gives) and the number of OpenMP threads. All sizes were checked by the caller. Codecs give the
 * same bits at every level: one IEEE-754 rounding an operation, no contraction (-ffp-contract=off).
 */
#ifndef TRIMTAB_H
#define TRIMTAB_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* TRIMTAB_PORTABLE leaves the wide kernels out, as on another processor. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(TRIMTAB_PORTABLE)
#define HAVE_X86 1
#include <immintrin.h>
#define TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))
#else
#define HAVE_X86 0
#endif

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

enum { PORTABLE = 0, AVX2 = 1, AVX512 = 2 };
enum { FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2 };

/* Bytes from what is in work to what is prefetched: processors alone look only to the end of a page of 4 KB. */
#define AHEAD 16384

#define NESTED_SHIFT 8 /* 256 scales share a nested scale */
#define LARGEST_BLOCK 4096

#define PARALLEL_FROM 262144 /* products below which waking another thread costs more than it saves */

/* A matrix in 4 bits. Without double quantization `absmax` is float and the nested pointers are NULL. */
typedef struct {
    const uint8_t *codes;
    const void *absmax;
    const float *table;
    const float *nested_absmax;
    const float *nested_offset;
    const float *nested_table;
    int64_t rows, cols, block;
} weight4;

INLINE float scale_of(const weight4 *w, int64_t block) {
    if (!w->nested_absmax) return ((const float *)w->absmax)[block];
    float nested = w->nested_table[((const uint8_t *)w->absmax)[block]] * w->nested_absmax[block >> NESTED_SHIFT];
    return nested + *w->nested_offset;
}

/* Writes the weights start .. start + count of the flattened matrix to float32. */
void decode_range(const weight4 *w, int64_t start, int64_t count, float *out, int level);

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

INLINE int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

/* A size, rounded up to a multiple of `unit`. */
INLINE int64_t filled(int64_t size, int64_t unit) { return blocks_of(size, unit) * unit; }

/* Memory on the border of a vector, or NULL. */
INLINE void *room_for(int64_t bytes) { return aligned_alloc(64, (size_t)filled(bytes, 64)); }

INLINE float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

float float_of_half(uint16_t half);
uint16_t half_of_float(float value);

INLINE float float_of_bfloat(uint16_t bits) { return float_of_bits((uint32_t)bits << 16); }

/* Round to nearest, ties to even; NaN stays NaN. */
INLINE uint16_t bfloat_of_float(float value) {
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* Copies `count` values of any dtype to float32. */
void read_floats(const void *from, int dtype, int64_t start, int64_t count, float *to);

/* Rounds `count` float32 values to any dtype. */
void write_floats(const float *from, int64_t count, void *to, int dtype, int64_t start);

#endif
