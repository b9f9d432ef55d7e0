/* exp of whole vectors, to about one unit in the last place. Arguments are clamped to [-87, 88]; NaN stays NaN.
 *
 * exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln 2 / 2, and a polynomial for exp(r). Cephes' coefficients.
 */
#ifndef EXP_H
#define EXP_H

#include "trimtab.h"

#define EXP_LEAST (-87.0f)
#define EXP_MOST 88.0f
#define LOG2_E 1.44269504f
#define LN_2_HIGH 0.693359375f
#define LN_2_LOW (-2.12194440e-4f)
static const float EXP_TERMS[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
#define EXP_FIRST_TERM 1.9875691500e-4f

INLINE float exp_one(float x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    x = x < EXP_LEAST ? EXP_LEAST : x > EXP_MOST ? EXP_MOST : x;
    const float n = (x * LOG2_E + shift) - shift, r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    float p = EXP_FIRST_TERM;
    for (int i = 0; i < 5; i++) p = p * r + EXP_TERMS[i];
    return ((p * r) * r + r + 1.0f) * float_of_bits((uint32_t)((int32_t)n + 127) << 23);
}

#if HAVE_X86
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

TARGET_AVX2 INLINE __m256 scale_avx2(__m256 p, __m256 n) {
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

#define ROUND_AVX2(x) _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define ROUND_AVX512(x) _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
VECTOR_EXP(exp_avx2, TARGET_AVX2, __m256, _mm256_, ROUND_AVX2, scale_avx2)
VECTOR_EXP(exp_avx512, TARGET_AVX512, __m512, _mm512_, ROUND_AVX512, _mm512_scalef_ps)
#endif

#endif
