/* Powers of whole vectors, to about one unit in the last place; NaN stays NaN.
 *
 * exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln 2 / 2, and Cephes' polynomial for exp(r); arguments are clamped
 * to [-87, 88]. power_of_two(x) = 2^n 2^r with n whole and |r| <= 1/2, and a polynomial for 2^r, right to 2e-8; it gives 0
 * below 2^-126.
 */
#ifndef TRIMTAB_EXP_H
#define TRIMTAB_EXP_H

#include "trimtab.h"

#define EXP_LEAST (-87.0f)
#define EXP_MOST 88.0f
#define LOG2_E 1.44269504f
#define LN_2_HIGH 0.693359375f
#define LN_2_LOW (-2.12194440e-4f)
static const float EXP_TERMS[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
#define EXP_FIRST_TERM 1.9875691500e-4f

static const float POWER[] = {
    1.0f, 0.69314724f, 0.24022648f, 0.055503134f, 0.0096183745f, 0.00134052976f, 0.00015379523f,
};
#define SMALLEST -126.0f

INLINE float exp_one(float x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, in the sum's lowest bits */
    x = x < EXP_LEAST ? EXP_LEAST : x > EXP_MOST ? EXP_MOST : x;
    const float sum = x * LOG2_E + shift, n = sum - shift, r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    float p = EXP_FIRST_TERM;
    for (int i = 0; i < 5; i++) p = p * r + EXP_TERMS[i];
    /* The bits, since NaN may not be converted to an integer. */
    return ((p * r) * r + r + 1.0f) * float_of_bits((bits_of_float(sum) + 127) << 23);
}

INLINE float power_of_two(float x) {
    if (x < SMALLEST) return 0.0f;
    if (!(x <= 127.0f)) return x + INFINITY;
    const float n = nearbyintf(x), r = x - n;
    float p = POWER[6];
    for (int i = 5; i >= 0; i--) p = p * r + POWER[i];
    return p * float_of_bits((uint32_t)((int32_t)n + 127) << 23);
}

#if HAVE_X86
#define ROUND_AVX2(x) _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define ROUND_AVX512(x) _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

/* p times 2^n, n whole. */
TARGET_AVX2 INLINE __m256 times_power_avx2(__m256 p, __m256 n) {
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

#define VECTOR_EXP(NAME, TARGET, VEC, P, ROUND, SCALE)                                                       \
    TARGET INLINE VEC NAME(VEC x) {                                                                          \
        x = P##min_ps(P##set1_ps(EXP_MOST), P##max_ps(P##set1_ps(EXP_LEAST), x)); /* NaN second: it stays */ \
        const VEC n = ROUND(P##mul_ps(x, P##set1_ps(LOG2_E)));                                               \
        VEC r = P##fnmadd_ps(n, P##set1_ps(LN_2_HIGH), x), p = P##set1_ps(EXP_FIRST_TERM);                   \
        r = P##fnmadd_ps(n, P##set1_ps(LN_2_LOW), r);                                                        \
        for (int i = 0; i < 5; i++) p = P##fmadd_ps(p, r, P##set1_ps(EXP_TERMS[i]));                         \
        p = P##add_ps(P##fmadd_ps(P##mul_ps(p, r), r, r), P##set1_ps(1.0f));                                 \
        return SCALE(p, n);                                                                                  \
    }
VECTOR_EXP(exp_avx2, TARGET_AVX2, __m256, _mm256_, ROUND_AVX2, times_power_avx2)
VECTOR_EXP(exp_avx512, TARGET_AVX512, __m512, _mm512_, ROUND_AVX512, _mm512_scalef_ps)

#define HORNER(fma, set, r)                                                                                  \
    fma(r, fma(r, fma(r, fma(r, fma(r, fma(r, set(POWER[6]), set(POWER[5])), set(POWER[4])), set(POWER[3])), \
                      set(POWER[2])), set(POWER[1])), set(POWER[0]))

TARGET_AVX2 INLINE __m256 power_avx2(__m256 x) {
    const __m256 smallest = _mm256_set1_ps(SMALLEST);
    /* NaN comes second: kept */
    const __m256 inside = _mm256_min_ps(_mm256_set1_ps(127.0f), _mm256_max_ps(smallest, x));
    const __m256 n = ROUND_AVX2(inside), r = _mm256_sub_ps(inside, n);
    const __m256 value = times_power_avx2(HORNER(_mm256_fmadd_ps, _mm256_set1_ps, r), n);
    return _mm256_and_ps(value, _mm256_cmp_ps(x, smallest, _CMP_NLT_UQ));
}

TARGET_AVX512 INLINE __m512 power_avx512(__m512 x) {
    const __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(SMALLEST), _CMP_NLT_UQ); /* NaN too */
    const __m512 n = ROUND_AVX512(x), r = _mm512_sub_ps(x, n);
    return _mm512_maskz_scalef_ps(kept, HORNER(_mm512_fmadd_ps, _mm512_set1_ps, r), n);
}
#endif

#endif
