/* Blocks of 8-bit codes into a table of 256 entries. */
#include "kernels.h"

#define SMALLEST_SCALE 1e-38f
#define GRID_STEPS 65535.0f

/* The number of the 255 thresholds that lie below a value. */
INLINE uint8_t code_of(float scaled, const float *bounds) {
    int above = 0;
    for (int step = 128; step; step >>= 1) above += scaled > bounds[above + step - 1] ? step : 0;
    return (uint8_t)above;
}

/* The even step of [-1, 1] nearest to a value; what is not a number goes to the lowest. */
INLINE float on_grid(float scaled) {
    const float step = (scaled + 1.0f) * 0.5f * GRID_STEPS + 0.5f;
    const int whole = step == step ? (int)step : 0;
    return (float)whole / GRID_STEPS * 2.0f - 1.0f;
}

INLINE float clamp(float value) { return value < -1.0f ? -1.0f : value > 1.0f ? 1.0f : value; }

static void quantize_block(const float *x, int64_t count, const float *bounds, int grid, uint8_t *codes, float *absmax) {
    float scale = 0.0f;
    for (int64_t i = 0; i < count; i++) scale = fabsf(x[i]) > scale ? fabsf(x[i]) : scale;
    const float inverse = 1.0f / (grid || scale > SMALLEST_SCALE ? scale : SMALLEST_SCALE);
    for (int64_t i = 0; i < count; i++) {
        const float scaled = clamp(x[i] * inverse);
        codes[i] = code_of(grid ? on_grid(scaled) : scaled, bounds);
    }
    *absmax = scale;
}

void trimtab_quantize_8bit(const float *x, int64_t count, int64_t block, const float *bounds, int grid, uint8_t *codes,
                           float *absmax, int threads) {
    const int64_t blocks = blocks_of(count, block);
#pragma omp parallel for num_threads(threads) schedule(static) if (count > 16384)
    for (int64_t index = 0; index < blocks; index++) {
        const int64_t start = index * block, here = smaller(block, count - start);
        quantize_block(x + start, here, bounds, grid, codes + start, absmax + index);
    }
}

void trimtab_dequantize_8bit(const uint8_t *codes, int64_t count, int64_t block, const float *absmax, const float *table,
                             float *out, int threads) {
    const int64_t blocks = blocks_of(count, block);
#pragma omp parallel for num_threads(threads) schedule(static) if (count > 65536)
    for (int64_t index = 0; index < blocks; index++) {
        const int64_t end = smaller((index + 1) * block, count);
        for (int64_t i = index * block; i < end; i++) out[i] = table[codes[i]] * absmax[index];
    }
}
