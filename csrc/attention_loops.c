/* The inner loops of attention, for each instruction set. */
#include "attention.h"
#include "block_product.h"
#include "lanes.h"

#define STRAIGHT(r, k) ((r) * LINE + (k))
#define TURNED(r, k) ((k) * LINE + (r))

/* ---- plain C ---- */

enum { PLAIN_BLOCK = 4, PLAIN_PANEL = 16 };

#define PLAIN_PRODUCT(name, AT, step)                                                                      \
    static void name(const float *a, const float *b, int64_t depth, float *c, int64_t stride, int first) { \
        float sums[PLAIN_BLOCK][PLAIN_PANEL];                                                              \
        for (int r = 0; r < PLAIN_BLOCK; r++)                                                              \
            for (int i = 0; i < PLAIN_PANEL; i++) sums[r][i] = first ? 0.0f : c[r * stride + i];           \
        for (int64_t k = 0; k < depth; k++, b += step)                                                     \
            for (int r = 0; r < PLAIN_BLOCK; r++)                                                          \
                for (int i = 0; i < PLAIN_PANEL; i++) sums[r][i] += a[AT(r, k)] * b[i];                    \
        for (int r = 0; r < PLAIN_BLOCK; r++)                                                              \
            for (int i = 0; i < PLAIN_PANEL; i++) c[r * stride + i] = sums[r][i];                          \
    }

PLAIN_PRODUCT(product_plain, STRAIGHT, PLAIN_PANEL)
PLAIN_PRODUCT(turned_plain, TURNED, LINE)

static void weigh_plain(float *scores, int64_t count, float *greatest, float *sums, float *output, int64_t width) {
    float top = *greatest;
    for (int64_t i = 0; i < count; i++) top = scores[i] > top ? scores[i] : top;
    const float shift = top == -INFINITY ? 0.0f : top, keep = power_of_two(*greatest - shift);
    if (top != *greatest) {
        for (int64_t i = 0; i < LANES; i++) sums[i] *= keep;
        for (int64_t i = 0; i < width; i++) output[i] *= keep;
    }
    for (int64_t i = 0; i < count; i++) {
        scores[i] = power_of_two(scores[i] - shift);
        sums[i % LANES] += scores[i];
    }
    *greatest = top;
}

static void blame_plain(float *scores, float *products, int64_t count, float total, float mean) {
    for (int64_t i = 0; i < count; i++) {
        const float x = scores[i] - total;
        scores[i] = power_of_two(x > 0.0f ? 0.0f : x);
        products[i] = scores[i] * (products[i] - mean);
    }
}

INLINE void scale_each(const float *from, int64_t count, float by, float *to) {
    for (int64_t i = 0; i < count; i++) to[i] = from[i] * by;
}

static void scale_plain(const float *from, int64_t count, float by, float *to) { scale_each(from, count, by, to); }

static float dot_plain(const float *a, const float *b, int64_t count) { return sum_of_products(a, b, count); }

static const attention_loops plain = {
    PLAIN_BLOCK, PLAIN_PANEL, product_plain, product_plain, turned_plain,
    weigh_plain, blame_plain, scale_plain,   dot_plain,
};

#if HAVE_X86

/* Rows of scores, a vector at a time. `top_of` gives a vector's greatest value. */
#define ROW_LOOPS(suffix, target, vector, width, load, store, set, add, sub, mul, min, max, power, top_of)       \
    target static void weigh_##suffix(float *scores, int64_t count, float *greatest, float *sums, float *output, \
                                      int64_t columns) {                                                         \
        vector tops = set(*greatest);                                                                            \
        for (int64_t i = 0; i < count; i += width) tops = max(tops, load(scores + i));                           \
        const float top = top_of(tops), shift = top == -INFINITY ? 0.0f : top;                                   \
        if (top != *greatest) {                                                                                  \
            const vector keep = power(set(*greatest - shift));                                                   \
            for (int64_t i = 0; i < LANES; i += width) store(sums + i, mul(load(sums + i), keep));               \
            for (int64_t i = 0; i < columns; i += width) store(output + i, mul(load(output + i), keep));         \
        }                                                                                                        \
        const vector shifts = set(shift);                                                                        \
        for (int64_t i = 0; i < count; i += LANES)                                                               \
            _Pragma("GCC unroll 2") for (int64_t j = 0; j < LANES; j += width) {                                 \
                const vector weight = power(sub(load(scores + i + j), shifts));                                  \
                store(scores + i + j, weight);                                                                   \
                store(sums + j, add(load(sums + j), weight));                                                    \
            }                                                                                                    \
        *greatest = top;                                                                                         \
    }                                                                                                            \
    target static void blame_##suffix(float *scores, float *products, int64_t count, float total, float mean) {  \
        const vector totals = set(total), means = set(mean), zero = set(0.0f);                                   \
        for (int64_t i = 0; i < count; i += width) {                                                             \
            const vector weight = power(min(zero, sub(load(scores + i), totals)));                               \
            store(scores + i, weight);                                                                           \
            store(products + i, mul(weight, sub(load(products + i), means)));                                    \
        }                                                                                                        \
    }

#define AVX2_PRODUCT(name, AT, step) BLOCK_PRODUCT(name, TARGET_AVX2, __m256, 8, 6, 2, AT, step, _mm256_)
#define AVX512_PRODUCT(name, vectors, AT, step) BLOCK_PRODUCT(name, TARGET_AVX512, __m512, 16, 12, vectors, AT, step, _mm512_)

AVX2_PRODUCT(product_avx2, STRAIGHT, 16)
AVX2_PRODUCT(turned_avx2, TURNED, LINE)
AVX512_PRODUCT(product_avx512, 2, STRAIGHT, 32)
AVX512_PRODUCT(narrow_avx512, 1, STRAIGHT, 32)
AVX512_PRODUCT(turned_avx512, 2, TURNED, LINE)
ROW_LOOPS(avx2, TARGET_AVX2, __m256, 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_add_ps, _mm256_sub_ps,
          _mm256_mul_ps, _mm256_min_ps, _mm256_max_ps, power_avx2, most_avx2)
ROW_LOOPS(avx512, TARGET_AVX512, __m512, 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_add_ps,
          _mm512_sub_ps, _mm512_mul_ps, _mm512_min_ps, _mm512_max_ps, power_avx512, _mm512_reduce_max_ps)

TARGET_AVX2 static void scale_avx2(const float *from, int64_t count, float by, float *to) {
    scale_each(from, count, by, to);
}

TARGET_AVX2 static float dot_avx2(const float *a, const float *b, int64_t count) {
    return sum_of_products(a, b, count);
}

static const attention_loops avx2 = {
    6, 16, product_avx2, product_avx2, turned_avx2, weigh_avx2, blame_avx2, scale_avx2, dot_avx2,
};
static const attention_loops avx512 = {
    12, 32, product_avx512, narrow_avx512, turned_avx512, weigh_avx512, blame_avx512, scale_avx2, dot_avx2,
};

const attention_loops *attention_loops_at(int level) {
    return level >= AVX512 ? &avx512 : level >= AVX2 ? &avx2 : &plain;
}

#else

const attention_loops *attention_loops_at(int level) {
    (void)level;
    return &plain;
}

#endif
