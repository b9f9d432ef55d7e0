/* Calls every kernel on memory of exactly the needed size, at every level; prints the number of calls. */
#include <stdio.h>

#include "attention.h"
#include "few_rows.h"

typedef struct {
    const int8_t *codes;
    const float *absmax;
    int64_t rows, cols;
    float step;
} weight8;

int trimtab_cpu_level(void);
void trimtab_quantize_4bit(const void *, int, int64_t, int64_t, const float *, const uint8_t *, uint8_t *, float *, int, int);
void trimtab_dequantize_4bit(const weight4 *, int64_t, int64_t, int64_t, int64_t, void *, int, int, int);
int trimtab_product_4bit(const weight4 *, const float *, int64_t, int, const float *, const float *, const float *, int64_t,
                         float, float *, int, int);
int trimtab_low_rank_down(const float *, const float *, int64_t, int64_t, int64_t, float *, int, int);
int trimtab_low_rank_grads(const float *, const float *, const float *, const float *, int64_t, int64_t, int64_t, int64_t,
                           float, float *, float *, float *, int, int);
int trimtab_linear_4bit(const weight4 *, const float *, int64_t, const float *, float *, int, int, int);
void trimtab_quantize_8bit(const float *, int64_t, int64_t, const float *, int, uint8_t *, float *, int);
void trimtab_dequantize_8bit(const uint8_t *, int64_t, int64_t, const float *, const float *, float *, int);
void trimtab_dequantize_rows(const weight8 *, int64_t, int64_t, int64_t, int64_t, float *, int, int);
int trimtab_linear_8bit(const weight8 *, const float *, int64_t, const float *, float *, int, int);

static long calls;

static void *random_bytes(size_t count) {
    uint8_t *memory = malloc(count ? count : 1);
    for (size_t i = 0; i < count; i++) memory[i] = (uint8_t)(rand() >> 7);
    return memory;
}

static float *random_floats(size_t count) {
    float *memory = malloc(count ? count * sizeof(float) : 1);
    for (size_t i = 0; i < count; i++) memory[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    return memory;
}

static float *rising(size_t count) {
    float *memory = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++) memory[i] = (float)(i + 1) / (float)(count + 1) * 2.0f - 1.0f;
    return memory;
}

static void codecs(int64_t count, int64_t block, int level) {
    const int64_t blocks = blocks_of(count, block), nested = blocks_of(blocks, 256);
    float *bounds = rising(15), *table = rising(16), *bounds8 = rising(255), *table8 = rising(256);
    uint8_t *order = malloc(16), *codes = malloc((size_t)(count + 1) / 2 + !count), *codes8 = malloc((size_t)blocks + !blocks);
    float *absmax = malloc(sizeof(float) * (size_t)(blocks + !blocks)), *nested_absmax = random_floats((size_t)nested);
    float offset = 0.5f;
    for (int i = 0; i < 16; i++) order[i] = (uint8_t)i;
    for (int dtype = 0; dtype < 3; dtype++) {
        const size_t bytes = (size_t)count * (dtype ? 2 : 4);
        void *x = dtype ? random_bytes(bytes) : random_floats((size_t)count), *out = malloc(bytes + !bytes);
        trimtab_quantize_4bit(x, dtype, count, block, bounds, order, codes, absmax, level, 2);
        for (int grid = 0; grid < 2; grid++) trimtab_quantize_8bit(absmax, blocks, 256, bounds8, grid, codes8, nested_absmax, 2);
        const weight4 plain = {codes, absmax, table, NULL, NULL, NULL, 1, count, block};
        const weight4 twice = {codes, codes8, table, nested_absmax, &offset, table8, 1, count, block};
        trimtab_dequantize_4bit(&plain, 0, 1, 0, count, out, dtype, level, 2);
        trimtab_dequantize_4bit(&twice, 0, 1, 0, count, out, dtype, level, 2);
        if (count > 2) trimtab_dequantize_4bit(&twice, 0, 1, 1, count - 2, out, dtype, level, 2);
        trimtab_dequantize_8bit(codes8, blocks, 256, nested_absmax, table8, absmax, 2);
        calls += 7;
        free(x), free(out);
    }
    free(bounds), free(table), free(bounds8), free(table8), free(order), free(codes), free(codes8), free(absmax);
    free(nested_absmax);
}

static void products(int64_t rows, int64_t cols, int64_t block, int level) {
    const int64_t blocks = blocks_of(rows * cols, block), nested = blocks_of(blocks, 256);
    uint8_t *codes = random_bytes((size_t)(rows * cols + 1) / 2), *scales = random_bytes((size_t)blocks);
    int8_t *codes8 = random_bytes((size_t)(rows * cols));
    float *table = rising(16), *table8 = rising(256), *nested_absmax = random_floats((size_t)nested), offset = 0.5f;
    float *absmax = random_floats((size_t)blocks), *row_absmax = random_floats((size_t)rows), *bias = random_floats((size_t)rows);
    const weight4 twice = {codes, scales, table, nested_absmax, &offset, table8, rows, cols, block};
    const weight4 plain = {codes, absmax, table, NULL, NULL, NULL, rows, cols, block};
    const weight8 whole = {codes8, row_absmax, rows, cols, 1.0f / 127.0f};
    const int64_t counts[] = {1, 2, 3, 7, 16};
    for (int i = 0; i < 5; i++)
        for (int exact = 0; exact < 2; exact++)
            for (int threads = 1; threads < 3; threads++) {
                float *x = random_floats((size_t)(counts[i] * cols)), *y = random_floats((size_t)(counts[i] * rows));
                trimtab_linear_4bit(&twice, x, counts[i], bias, y, exact, level, threads);
                trimtab_linear_4bit(&plain, x, counts[i], NULL, y, exact, level, threads);
                trimtab_linear_8bit(&whole, x, counts[i], bias, y, level, threads);
                calls += 3;
                free(x), free(y);
            }
    float *dense = random_floats((size_t)(rows * cols));
    trimtab_dequantize_rows(&whole, 0, rows, 0, cols, dense, level, 2);
    free(codes), free(scales), free(codes8), free(table), free(table8), free(nested_absmax), free(absmax);
    free(row_absmax), free(bias), free(dense);
}

/* Many rows, both ways, with edges on every side. */
static void many(int64_t rows, int64_t cols, int level) {
    const int64_t block = 64, blocks = blocks_of(rows * cols, block), nested = blocks_of(blocks, 256);
    uint8_t *codes = random_bytes((size_t)(rows * cols + 1) / 2), *scales = random_bytes((size_t)blocks);
    float *table = rising(16), *table8 = rising(256), *nested_absmax = random_floats((size_t)nested), offset = 0.5f;
    const weight4 twice = {codes, scales, table, nested_absmax, &offset, table8, rows, cols, block};
    const int64_t counts[] = {1, 5, 6, 7, 12, 13, 30};
    for (int i = 0; i < 7; i++)
        for (int turned = 0; turned < 2; turned++)
            for (int threads = 1; threads < 3; threads++) {
                const int64_t depth = turned ? cols : rows, wide = turned ? rows : cols;
                float *x = random_floats((size_t)(counts[i] * depth)), *y = random_floats((size_t)(counts[i] * wide));
                float *bias = random_floats((size_t)wide);
                const int64_t rank = turned ? 3 : 0;
                float *low = random_floats((size_t)(counts[i] * rank)), *factor = random_floats((size_t)(wide * rank));
                trimtab_product_4bit(&twice, x, counts[i], turned, turned ? bias : NULL, low, factor, rank, 2.0f, y, level,
                                     threads);
                calls++;
                free(x), free(y), free(bias), free(low), free(factor);
            }
    free(codes), free(scales), free(table), free(table8), free(nested_absmax);
}

static void low_rank(int64_t inputs, int64_t outputs, int64_t rank, int level) {
    const int64_t counts[] = {1, 11, 12, 13, 49, 100};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (int threads = 1; threads <= 3; threads += 2) {
            const int64_t rows = counts[i];
            float *x = random_floats((size_t)(rows * inputs)), *grad = random_floats((size_t)(rows * outputs));
            float *a = random_floats((size_t)(rank * inputs)), *b = random_floats((size_t)(outputs * rank));
            float *a_grad = random_floats((size_t)(rank * inputs)), *b_grad = random_floats((size_t)(outputs * rank));
            float *low = random_floats((size_t)(rows * rank)), *low_grad = random_floats((size_t)(rows * rank));
            trimtab_low_rank_down(x, a, rows, inputs, rank, low, level, threads);
            trimtab_low_rank_grads(grad, x, low, b, rows, inputs, outputs, rank, 0.5f, low_grad, a_grad, b_grad, level,
                                   threads);
            calls += 2;
            free(x), free(grad), free(a), free(b), free(a_grad), free(b_grad), free(low), free(low_grad);
        }
}

/* Heads of q lie one behind the other, those of k and v beside each other. */
static void attend(int64_t heads, int64_t kv_heads, int64_t queries, int64_t keys, int64_t head, int level) {
    const int64_t batch = 2, ours = batch * heads * queries, theirs = batch * kv_heads * keys;
    const int64_t sizes[] = {ours, theirs, theirs, ours, ours, ours, theirs, theirs};
    float *x[8], *totals = random_floats((size_t)ours);
    for (int i = 0; i < 8; i++) x[i] = random_floats((size_t)(sizes[i] * head));
    int32_t *starts = malloc((size_t)(batch * queries) * sizeof(int32_t));
    for (int64_t i = 0; i < batch * queries; i++) /* anywhere; or one border, far along, as between packed examples */
        starts[i] = (int32_t)(i < queries ? rand() % (keys + 4) - 2 : i % queries < queries / 2 ? 0 : keys - queries / 2);
    const strided q = {x[0], heads * queries * head, queries * head, head};
    const strided k = {x[1], keys * kv_heads * head, head, kv_heads * head}, v = {x[2], k.batch, k.head, k.time};
    const gradients all = {{x[3], queries * heads * head, head, heads * head}, x[4], totals, x[5], x[6], x[7]};
    for (int threads = 1; threads <= 2; threads++) {
        const attention job = {q, k, v, threads == 1 ? NULL : starts, batch, heads, kv_heads, queries, keys, head, 0.5f};
        calls += trimtab_attention(&job, x[4], totals, level, threads);
        calls += trimtab_attention_grad(&job, &all, level, threads);
    }
    for (int i = 0; i < 8; i++) free(x[i]);
    free(totals), free(starts);
}

int main(void) {
    const int64_t lengths[][2] = {{1, 1}, {5, 3}, {12, 12}, {47, 96}, {49, 97}, {100, 100}, {33, 200}, {60, 700}};
    const int64_t heads[] = {1, 8, 33, 256};
    for (int level = 0; level <= trimtab_cpu_level(); level++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (size_t j = 0; j < sizeof heads / sizeof *heads; j++)
                for (int64_t shared = 1; shared <= 3; shared += 2)
                    attend(shared * 2, 2, lengths[i][0], lengths[i][1], heads[j], level);

    const int64_t edges[][2] = {{1, 1}, {3, 5}, {8, 8}, {33, 65}, {66, 576}, {520, 20}, {40, 1100}, {130, 513}};
    for (int level = 1; level <= trimtab_cpu_level(); level++)
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
            many(edges[i][0], edges[i][1], level);
            for (int64_t rank = 1; rank <= 33; rank += 16) low_rank(edges[i][0], edges[i][1], rank, level);
        }

    const int64_t sizes[] = {0, 1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 129, 4095, 4096, 4097, 16385};
    const int64_t shapes[][2] = {{1, 64}, {2, 64}, {3, 64}, {5, 128}, {4, 192}, {7, 1088}, {66, 576}};
    for (int level = 0; level <= trimtab_cpu_level(); level++)
        for (int64_t block = 32; block <= 4096; block *= 2) {
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) codecs(sizes[i], block, level);
            for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) products(shapes[i][0], shapes[i][1], block, level);
        }
    for (int level = 0; level <= trimtab_cpu_level(); level++) products(430, 640, 64, level); /* shared by threads */
    printf("%ld\n", calls);
    return 0;
}
