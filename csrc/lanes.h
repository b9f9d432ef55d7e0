/* The values within vectors, added up or compared. */
#ifndef TRIMTAB_LANES_H
#define TRIMTAB_LANES_H

#include "trimtab.h"

/* In sixteen partial sums, as wide as the widest vector: a compiler makes it any width with the same bits. */
INLINE float sum_of_products(const float *a, const float *b, int64_t count) {
    enum { PARTS = 16 };
    float parts[PARTS] = {0}, total = 0.0f;
    int64_t i = 0;
    for (; i + PARTS <= count; i += PARTS)
        for (int part = 0; part < PARTS; part++) parts[part] += a[i + part] * b[i + part];
    for (int part = 0; part < PARTS; part++) total += parts[part];
    for (; i < count; i++) total += a[i] * b[i];
    return total;
}

#if HAVE_X86

TARGET_AVX2 INLINE float sum_avx2(__m256 lanes) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

TARGET_AVX2 INLINE float most_avx2(__m256 lanes) {
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}

#endif

#endif
