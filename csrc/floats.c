/* Conversions between float32, float16 and bfloat16, and what this processor can do. */
#include "kernels.h"

int trimtab_cpu_level(void) {
#if HAVE_X86
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vnni");
    return avx2 ? (avx512 ? AVX512 : AVX2) : PORTABLE;
#else
    return PORTABLE;
#endif
}

float float_of_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 31u, fraction = half & 0x3ffu;
    if (exponent == 31) return float_of_bits(sign | 0x7f800000u | (fraction << 13));
    if (exponent == 0) {
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return float_of_bits(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

/* Round to nearest, ties to even; too large becomes infinite; NaN stays NaN. */
uint16_t half_of_float(float value) {
    uint32_t bits = bits_of_float(value), sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((bits >> 13) & 0x3ffu));
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (bits < 0x38800000u) {
        /* Below the smallest normal: adding 0.5 leaves the rounded fraction in the low bits. */
        float shifted = float_of_bits(bits) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(shifted) - 0x3f000000u));
    }
    uint32_t rounded = bits + 0xfffu + ((bits >> 13) & 1u) - 0x38000000u;
    return (uint16_t)(sign | (rounded >> 13));
}

void read_floats(const void *from, int dtype, int64_t start, int64_t count, float *to) {
    const uint16_t *narrow = (const uint16_t *)from + start;
    if (dtype == FLOAT32) memcpy(to, (const float *)from + start, (size_t)count * sizeof(float));
    else if (dtype == BFLOAT16) for (int64_t i = 0; i < count; i++) to[i] = float_of_bfloat(narrow[i]);
    else for (int64_t i = 0; i < count; i++) to[i] = float_of_half(narrow[i]);
}

void write_floats(const float *from, int64_t count, void *to, int dtype, int64_t start) {
    uint16_t *narrow = (uint16_t *)to + start;
    if (dtype == FLOAT32) memcpy((float *)to + start, from, (size_t)count * sizeof(float));
    else if (dtype == BFLOAT16) for (int64_t i = 0; i < count; i++) narrow[i] = bfloat_of_float(from[i]);
    else for (int64_t i = 0; i < count; i++) narrow[i] = half_of_float(from[i]);
}
