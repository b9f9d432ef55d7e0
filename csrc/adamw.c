/* One AdamW step over slices of many parameters, with 32-bit or blockwise 8-bit state.
 *
 * Every operation is a single IEEE-754 rounding, in the order of the PyTorch twin (optimizer_reference.py), so both
 * give the same bits at every level.
 */
#include "kernels.h"

enum { BLOCK = 256 };

INLINE float load(const void *array, int64_t i, int dtype) {
    if (dtype == FLOAT32) return ((const float *)array)[i];
    const uint16_t bits = ((const uint16_t *)array)[i];
    return dtype == BFLOAT16 ? float_of_bfloat(bits) : float_of_half(bits);
}

INLINE void store(void *array, int64_t i, int dtype, float value) {
    if (dtype == FLOAT32) ((float *)array)[i] = value;
    else ((uint16_t *)array)[i] = dtype == BFLOAT16 ? bfloat_of_float(value) : half_of_float(value);
}

INLINE float update(float p, float g, float *m, float *v, const Numbers *n) {
    *m = n->beta1 * *m + n->rest1 * g;
    *v = n->beta2 * *v + n->rest2 * (g * g);
    return n->decay * p - (n->step_size * *m) / (n->root_scale * sqrtf(*v) + n->eps);
}

/* ---- 32-bit state ---- */

INLINE void step32(void *p, const void *g, float *m, float *v, int64_t from, int64_t to, const Numbers *n, int dtype) {
    for (int64_t i = from; i < to; i++) store(p, i, dtype, update(load(p, i, dtype), load(g, i, dtype), m + i, v + i, n));
}

static void slice32_plain(void *p, const void *g, float *m, float *v, int64_t count, const Numbers *n, int dtype) {
    step32(p, g, m, v, 0, count, n, dtype);
}

/* ---- 8-bit state ---- */

INLINE uint8_t nearest(float x, const Table *table) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    int32_t cell = (int32_t)((bits & 0x7fffffffu) >> 16);
    cell = cell < ADAMW_LOWEST ? ADAMW_LOWEST : cell > ADAMW_HIGHEST ? ADAMW_HIGHEST : cell;
    uint8_t code = table->first[cell - ADAMW_LOWEST + (bits >> 31) * ADAMW_CELLS];
    return (uint8_t)(code + (x > table->middle[code]));
}

static void encode(const float *values, uint8_t *codes, float *absmax, int count, const Table *table) {
    float largest = 0.0f;
    for (int i = 0; i < count; i++) largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    const float scale = largest > 0.0f ? largest : 1.0f;
    for (int i = 0; i < count; i++) codes[i] = nearest(values[i] / scale, table);
    *absmax = largest;
}

INLINE State8 block_of(const State8 *s, int64_t start) {
    State8 block = {s->codes1 + start, s->codes2 + start, s->absmax1 + start / BLOCK, s->absmax2 + start / BLOCK};
    return block;
}

INLINE void block8(void *p, const void *g, int64_t at, int count, State8 s, const Table *t, const Numbers *n, int dtype) {
    float m[BLOCK], v[BLOCK];
    for (int i = 0; i < count; i++) {
        m[i] = t[0].map[s.codes1[i]] * *s.absmax1;
        v[i] = t[1].map[s.codes2[i]] * *s.absmax2;
        store(p, at + i, dtype, update(load(p, at + i, dtype), load(g, at + i, dtype), m + i, v + i, n));
    }
    encode(m, s.codes1, s.absmax1, count, t);
    encode(v, s.codes2, s.absmax2, count, t + 1);
}

INLINE void step8(void *p, const void *g, int64_t from, int64_t to, State8 s, const Table *t, const Numbers *n, int dtype) {
    for (int64_t at = from; at < to; at += BLOCK)
        block8(p, g, at, (int)(to - at < BLOCK ? to - at : BLOCK), block_of(&s, at), t, n, dtype);
}

static void slice8_plain(void *p, const void *g, int64_t count, State8 s, const Table *t, const Numbers *n, int dtype) {
    step8(p, g, 0, count, s, t, n, dtype);
}

#if HAVE_X86
/* ---- eight at a time ---- */

typedef struct {
    __m256 beta1, rest1, beta2, rest2, eps, decay, step_size, root_scale;
} Wide;

TARGET_AVX2 INLINE Wide widen(const Numbers *n) {
    Wide w = {_mm256_set1_ps(n->beta1), _mm256_set1_ps(n->rest1), _mm256_set1_ps(n->beta2),
              _mm256_set1_ps(n->rest2), _mm256_set1_ps(n->eps),   _mm256_set1_ps(n->decay),
              _mm256_set1_ps(n->step_size), _mm256_set1_ps(n->root_scale)};
    return w;
}

TARGET_AVX2 INLINE __m256 load8(const void *array, int64_t i, int dtype) {
    if (dtype == FLOAT32) return _mm256_loadu_ps((const float *)array + i);
    const __m128i half = _mm_loadu_si128((const __m128i *)((const uint16_t *)array + i));
    if (dtype == FLOAT16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

TARGET_AVX2 INLINE __m128i bfloat8(__m256 value) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
    const __m256i narrow = _mm256_srli_epi32(rounded, 16);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(narrow, narrow), 0x08));
}

TARGET_AVX2 INLINE void store8(void *array, int64_t i, int dtype, __m256 value) {
    if (dtype == FLOAT32) {
        _mm256_storeu_ps((float *)array + i, value);
        return;
    }
    const __m128i half = dtype == BFLOAT16 ? bfloat8(value) : _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128((__m128i *)((uint16_t *)array + i), half);
}

TARGET_AVX2 INLINE __m256 update8(__m256 p, __m256 g, __m256 *m, __m256 *v, const Wide *w) {
    *m = _mm256_add_ps(_mm256_mul_ps(w->beta1, *m), _mm256_mul_ps(w->rest1, g));
    *v = _mm256_add_ps(_mm256_mul_ps(w->beta2, *v), _mm256_mul_ps(w->rest2, _mm256_mul_ps(g, g)));
    __m256 root = _mm256_add_ps(_mm256_mul_ps(w->root_scale, _mm256_sqrt_ps(*v)), w->eps);
    __m256 change = _mm256_div_ps(_mm256_mul_ps(w->step_size, *m), root);
    return _mm256_sub_ps(_mm256_mul_ps(w->decay, p), change);
}

TARGET_AVX2 INLINE void step32_wide(void *p, const void *g, float *m, float *v, int64_t count, const Numbers *n, int dtype) {
    const Wide w = widen(n);
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 first = _mm256_loadu_ps(m + i), second = _mm256_loadu_ps(v + i);
        store8(p, i, dtype, update8(load8(p, i, dtype), load8(g, i, dtype), &first, &second, &w));
        _mm256_storeu_ps(m + i, first);
        _mm256_storeu_ps(v + i, second);
    }
    step32(p, g, m, v, i, count, n, dtype);
}

TARGET_AVX2 static void slice32_avx2(void *p, const void *g, float *m, float *v, int64_t count, const Numbers *n, int dtype) {
    if (dtype == FLOAT32) step32_wide(p, g, m, v, count, n, FLOAT32);
    else if (dtype == BFLOAT16) step32_wide(p, g, m, v, count, n, BFLOAT16);
    else step32_wide(p, g, m, v, count, n, FLOAT16);
}

TARGET_AVX2 INLINE __m256i nearest8(__m256 x, const Table *table) {
    __m256i bits = _mm256_castps_si256(x);
    __m256i cell = _mm256_srli_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)), 16);
    cell = _mm256_max_epi32(cell, _mm256_set1_epi32(ADAMW_LOWEST));
    cell = _mm256_sub_epi32(_mm256_min_epi32(cell, _mm256_set1_epi32(ADAMW_HIGHEST)), _mm256_set1_epi32(ADAMW_LOWEST));
    cell = _mm256_add_epi32(cell, _mm256_and_si256(_mm256_srai_epi32(bits, 31), _mm256_set1_epi32(ADAMW_CELLS)));
    __m256i code = _mm256_i32gather_epi32((const int *)table->first, cell, 1); /* four bytes each: hence the padding */
    code = _mm256_and_si256(code, _mm256_set1_epi32(255));
    __m256 above = _mm256_cmp_ps(x, _mm256_i32gather_ps(table->middle, code, 4), _CMP_GT_OQ);
    return _mm256_sub_epi32(code, _mm256_castps_si256(above));
}

TARGET_AVX2 static void encode_avx2(const float *values, uint8_t *codes, float *absmax, const Table *table) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 most = _mm256_setzero_ps();
    for (int i = 0; i < BLOCK; i += 8) most = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(values + i), magnitude), most);
    float lanes[8], largest = 0.0f;
    _mm256_storeu_ps(lanes, most);
    for (int i = 0; i < 8; i++) largest = lanes[i] > largest ? lanes[i] : largest;
    const __m256 scale = _mm256_set1_ps(largest > 0.0f ? largest : 1.0f);
    for (int i = 0; i < BLOCK; i += 8) {
        __m256i code = nearest8(_mm256_div_ps(_mm256_loadu_ps(values + i), scale), table);
        __m128i narrow = _mm_packus_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
        _mm_storel_epi64((__m128i *)(codes + i), _mm_packus_epi16(narrow, narrow));
    }
    *absmax = largest;
}

TARGET_AVX2 INLINE __m256 decode8(const uint8_t *codes, const Table *table, __m256 absmax) {
    __m256i index = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)codes));
    return _mm256_mul_ps(_mm256_i32gather_ps(table->map, index, 4), absmax);
}

TARGET_AVX2 INLINE void block8_wide(void *p, const void *g, int64_t at, State8 s, const Table *t, const Wide *w, int dtype) {
    float m[BLOCK], v[BLOCK];
    const __m256 absmax1 = _mm256_set1_ps(*s.absmax1), absmax2 = _mm256_set1_ps(*s.absmax2);
    for (int i = 0; i < BLOCK; i += 8) {
        __m256 first = decode8(s.codes1 + i, t, absmax1), second = decode8(s.codes2 + i, t + 1, absmax2);
        store8(p, at + i, dtype, update8(load8(p, at + i, dtype), load8(g, at + i, dtype), &first, &second, w));
        _mm256_storeu_ps(m + i, first);
        _mm256_storeu_ps(v + i, second);
    }
    encode_avx2(m, s.codes1, s.absmax1, t);
    encode_avx2(v, s.codes2, s.absmax2, t + 1);
}

TARGET_AVX2 INLINE void step8_wide(void *p, const void *g, int64_t count, State8 s, const Table *t, const Numbers *n, int dtype) {
    const Wide w = widen(n);
    int64_t at = 0;
    for (; at + BLOCK <= count; at += BLOCK) block8_wide(p, g, at, block_of(&s, at), t, &w, dtype);
    step8(p, g, at, count, s, t, n, dtype);
}

TARGET_AVX2 static void slice8_avx2(void *p, const void *g, int64_t count, State8 s, const Table *t, const Numbers *n, int dtype) {
    if (dtype == FLOAT32) step8_wide(p, g, count, s, t, n, FLOAT32);
    else if (dtype == BFLOAT16) step8_wide(p, g, count, s, t, n, BFLOAT16);
    else step8_wide(p, g, count, s, t, n, FLOAT16);
}
#endif

/* ---- entry points ---- */

INLINE int64_t width(int dtype) { return dtype == FLOAT32 ? 4 : 2; }

#if HAVE_X86
#define PICK(level, name) ((level) >= AVX2 ? name##_avx2 : name##_plain)
#else
#define PICK(level, name) name##_plain
#endif

void trimtab_adamw32(void *const *params, void *const *grads, float *exp_avg, float *exp_avg_sq, const Slice *slices,
                     int64_t count, const Numbers *numbers, int dtype, int level, int threads) {
    void (*run)(void *, const void *, float *, float *, int64_t, const Numbers *, int) =
        PICK(level, slice32);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        const Slice s = slices[i];
        const int64_t skip = s.start * width(dtype);
        run((char *)params[s.tensor] + skip, (const char *)grads[s.tensor] + skip, exp_avg + s.state,
            exp_avg_sq + s.state, s.length, numbers, dtype);
    }
}

void trimtab_adamw8(void *const *params, void *const *grads, const State8 *state, const Slice *slices, int64_t count,
                    const Table *tables, const Numbers *numbers, int dtype, int level, int threads) {
    void (*run)(void *, const void *, int64_t, State8, const Table *, const Numbers *, int) =
        PICK(level, slice8);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        const Slice s = slices[i];
        const int64_t skip = s.start * width(dtype);
        run((char *)params[s.tensor] + skip, (const char *)grads[s.tensor] + skip, s.length, block_of(state, s.state),
            tables, numbers, dtype);
    }
}
