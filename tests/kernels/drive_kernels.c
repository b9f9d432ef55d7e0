/* Calls every kernel on memory of exactly the needed size, at every level; prints the number of calls. */
#include "kernels.h"
#include "random_memory.h"

static long calls;

static void codecs(int64_t count, int64_t block, int level) {
    const int64_t blocks = blocks_of(count, block), nested = blocks_of(blocks, 256);
    float *bounds = rising_floats(15), *table = rising_floats(16), *bounds8 = rising_floats(255), *table8 = rising_floats(256);
    uint8_t *order = unset_bytes(16), *codes = unset_bytes((size_t)(count + 1) / 2);
    uint8_t *codes8 = unset_bytes((size_t)blocks);
    float *absmax = unset_bytes(sizeof(float) * (size_t)blocks), *nested_absmax = random_floats((size_t)nested);
    float offset = 0.5f;
    for (int i = 0; i < 16; i++) order[i] = (uint8_t)i;
    for (int dtype = 0; dtype < 3; dtype++) {
        const size_t bytes = (size_t)count * (dtype ? 2 : 4);
        void *x = dtype ? random_bytes(bytes) : random_floats((size_t)count), *out = unset_bytes(bytes);
        trimtab_quantize_4bit(x, dtype, count, block, bounds, order, codes, absmax, level, 2);
        for (int grid = 0; grid < 2; grid++) trimtab_quantize_8bit(absmax, blocks, 256, bounds8, grid, codes8, nested_absmax, 2);
        const weight4 plain = {codes, absmax, table, NULL, NULL, NULL, 1, count, block};
        const weight4 twice = {codes, codes8, table, nested_absmax, &offset, table8, 1, count, block};
        trimtab_dequantize_4bit(&plain, 0, 1, 0, count, out, dtype, level, 2);
        trimtab_dequantize_4bit(&twice, 0, 1, 0, count, out, dtype, level, 2);
        if (count > 2) trimtab_dequantize_4bit(&twice, 0, 1, 1, count - 2, out, dtype, level, 2);
        trimtab_dequantize_8bit(codes8, blocks, 256, nested_absmax, table8, absmax, 2);
        calls += 7;
    }
    give_back();
}

static void products(int64_t rows, int64_t cols, int64_t block, int level) {
    const int64_t blocks = blocks_of(rows * cols, block), nested = blocks_of(blocks, 256);
    uint8_t *codes = random_bytes((size_t)(rows * cols + 1) / 2), *scales = random_bytes((size_t)blocks);
    int8_t *codes8 = random_bytes((size_t)(rows * cols));
    float *table = rising_floats(16), *table8 = rising_floats(256), *nested_absmax = random_floats((size_t)nested), offset = 0.5f;
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
            }
    float *dense = random_floats((size_t)(rows * cols));
    trimtab_dequantize_rows(&whole, 0, rows, 0, cols, dense, level, 2);
    give_back();
}

/* Many rows, both ways, with edges on every side. */
static void many(int64_t rows, int64_t cols, int level) {
    const int64_t block = 64, blocks = blocks_of(rows * cols, block), nested = blocks_of(blocks, 256);
    uint8_t *codes = random_bytes((size_t)(rows * cols + 1) / 2), *scales = random_bytes((size_t)blocks);
    float *table = rising_floats(16), *table8 = rising_floats(256), *nested_absmax = random_floats((size_t)nested), offset = 0.5f;
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
                const product_job job = {&twice, x, counts[i], turned ? bias : NULL, low, factor, rank, 2.0f, turned, y};
                calls += trimtab_product_4bit(&job, level, threads);
            }
    give_back();
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
            const low_rank_job job = {grad, x, low, b, rows, inputs, outputs, rank, 0.5f, low_grad, a_grad, b_grad};
            calls += trimtab_low_rank_down(x, a, rows, inputs, rank, low, level, threads);
            calls += trimtab_low_rank_grads(&job, level, threads);
        }
    give_back();
}

/* Heads of q lie one behind the other, those of k and v beside each other. */
static void attend(int64_t heads, int64_t kv_heads, int64_t queries, int64_t keys, int64_t head, int level) {
    const int64_t batch = 2, ours = batch * heads * queries, theirs = batch * kv_heads * keys;
    const int64_t sizes[] = {ours, theirs, theirs, ours, ours, ours, theirs, theirs};
    float *x[8], *totals = random_floats((size_t)ours);
    for (int i = 0; i < 8; i++) x[i] = random_floats((size_t)(sizes[i] * head));
    int32_t *starts = unset_bytes((size_t)(batch * queries) * sizeof(int32_t));
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
    give_back();
}

/* Some of the gates are not numbers. */
static void fused(int64_t rows, int64_t cols, int level) {
    const size_t count = (size_t)(rows * cols);
    float *x = random_floats(count), *g = random_floats(count), *y = random_floats(count), *dx = random_floats(count);
    float *weight = random_floats((size_t)cols), *roots = random_floats((size_t)rows);
    for (int threads = 1; threads <= 2; threads++) {
        trimtab_rms_norm(x, weight, 1.0f, 1e-6f, rows, cols, y, roots, level, threads);
        trimtab_rms_norm_grad(g, x, weight, 1.0f, roots, rows, cols, dx, level, threads);
        for (size_t i = 0; i < count; i += 5) x[i] = NAN;
        trimtab_gated_silu(x, g, rows * cols, y, level, threads);
        trimtab_gated_silu_grad(g, x, g, rows * cols, dx, y, level, threads);
        calls += 4;
    }
    give_back();
}

/* A whole tensor, and the end of another, whose state lies behind. */
static void adamw(int64_t length, int level) {
    const int64_t behind = filled(length, 256), values = behind + length, cells = 2 * ADAMW_CELLS + ADAMW_PADDING;
    const Slice slices[] = {{0, 0, 0, length}, {1, 256, behind, length}};
    const Numbers numbers = {0.9f, 0.1f, 0.99f, 0.01f, 1e-8f, 0.999f, 1e-3f, 1.5f};
    const Table tables[] = {{rising_floats(256), rising_floats(256), random_bytes((size_t)cells)},
                            {rising_floats(256), rising_floats(256), random_bytes((size_t)cells)}};
    float *first = rising_floats((size_t)values), *second = rising_floats((size_t)values);
    const size_t blocks = (size_t)blocks_of(values, 256);
    const State8 state = {random_bytes((size_t)values), random_bytes((size_t)values), random_floats(blocks),
                          random_floats(blocks)};
    for (int dtype = 0; dtype < 3; dtype++) {
        const size_t bytes = dtype ? 2 : 4, one = (size_t)length * bytes, other = (size_t)(256 + length) * bytes;
        void *const params[] = {random_bytes(one), random_bytes(other)}, *const grads[] = {random_bytes(one), random_bytes(other)};
        trimtab_adamw32(params, grads, first, second, slices, 2, &numbers, dtype, level, 2);
        trimtab_adamw8(params, grads, &state, slices, 2, tables, &numbers, dtype, level, 2);
        calls += 2;
    }
    give_back();
}

int main(void) {
    const int64_t lengths[][2] = {{1, 1}, {5, 3}, {12, 12}, {47, 96}, {49, 97}, {100, 100}, {33, 200}, {60, 700}};
    const int64_t heads[] = {1, 8, 33, 256};
    for (int level = 0; level <= trimtab_cpu_level(); level++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (size_t j = 0; j < sizeof heads / sizeof *heads; j++)
                for (int64_t shared = 1; shared <= 3; shared += 2)
                    attend(shared * 2, 2, lengths[i][0], lengths[i][1], heads[j], level);

    const int64_t odd[] = {1, 3, 16, 31, 65, 257};
    for (int level = 0; level <= trimtab_cpu_level(); level++)
        for (int i = 0; i < 6; i++) {
            for (int64_t rows = 1; rows <= 70; rows += 23) fused(rows, odd[i], level);
            for (int64_t more = 0; more <= 512; more += 256) adamw(odd[i] + more, level);
        }

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
