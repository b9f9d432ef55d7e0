/* Reads tokens through a small random network of every type of weight, on memory of exactly the needed size; prints the
 * number of passes. */
#include "kernels.h"
#include "llama.h"
#include "random_memory.h"

enum { LAYERS = 2, WORDS = 23, POSITIONS = 80, PAGES = (POSITIONS + PAGE - 1) / PAGE };

static const float table[16] = {-1.0f, -0.7f, -0.5f, -0.4f, -0.3f, -0.2f, -0.1f, 0.0f, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.8f, 1.0f};

static matrix random_matrix(int64_t rows, int64_t cols, int kind) {
    matrix m = {NULL, NULL, random_floats((size_t)rows), rows, cols, 0, kind};
    if (kind == FOUR_BIT) {
        const size_t bytes = (size_t)(rows * cols + 1) / 2, blocks = (size_t)blocks_of(rows * cols, 64);
        weight4 *w = unset_bytes(sizeof *w);
        if (rand() % 2) *w = (weight4){random_bytes(bytes), random_floats(blocks), table, NULL, NULL, NULL, rows, cols, 64};
        else *w = (weight4){random_bytes(bytes), random_bytes(blocks), table, random_floats(blocks_of(blocks, 256)),
                            random_floats(1), rising_floats(256), rows, cols, 64};
        m.values = w;
    } else if (kind == EIGHT_BIT) {
        m.block = cols % 32 ? cols : 32;
        m.values = random_bytes((size_t)(rows * cols));
        m.scales = random_floats((size_t)(rows * (cols / m.block)));
    } else if (kind == PANELS) {
        const size_t filled = (size_t)(rows + 15) / 16 * 16;
        m.values = random_bytes(filled * (size_t)cols);
        m.scales = random_floats(filled * (size_t)(cols / 32));
    } else if (kind == FLOAT32) m.values = random_floats((size_t)(rows * cols));
    else { /* small finite numbers in both 16-bit types */
        uint16_t *values = unset_bytes((size_t)(rows * cols) * 2);
        for (int64_t i = 0; i < rows * cols; i++) values[i] = (uint16_t)(0x3000 + rand() % 256);
        m.values = values;
    }
    return m;
}

static long drive(int64_t width, int64_t inner, int64_t heads, int64_t kv_heads, int64_t head, int kind, int level) {
    const int64_t sizes[LINEARS][2] = {{heads * head, width}, {kv_heads * head, width}, {kv_heads * head, width},
                                       {width, heads * head}, {inner, width}, {inner, width}, {width, inner}};
    llama_layer layers[LAYERS];
    low_rank lora[LAYERS * LINEARS];
    for (int l = 0; l < LAYERS; l++) {
        for (int i = 0; i < LINEARS; i++) {
            layers[l].linears[i] = random_matrix(sizes[i][0], sizes[i][1], kind);
            lora[l * LINEARS + i] = (low_rank){random_floats((size_t)(16 * sizes[i][1])), random_floats((size_t)(16 * sizes[i][0])),
                                               (l + i) % 3 ? 16 : 0, 0.5f};
        }
        layers[l].input_norm = random_floats((size_t)width), layers[l].middle_norm = random_floats((size_t)width);
        layers[l].query_norm = l ? random_floats((size_t)head) : NULL, layers[l].key_norm = layers[l].query_norm;
    }
    const int half = kind == FOUR_BIT || kind == FLOAT16;
    const int head_kind = kind == EIGHT_BIT && width % 64 == 0 ? PANELS : kind;
    const llama m = {LAYERS, width, inner, {heads, kv_heads, head, kind == FLOAT32 ? 9 : 0, 0.3f, half}, 1e-5f, layers,
                     random_floats((size_t)width), random_matrix(WORDS, width, kind), random_matrix(WORDS, width, head_kind),
                     random_floats((size_t)(POSITIONS * head / 2)), random_floats((size_t)(POSITIONS * head / 2)), lora};
    void *pages[3][PAGES];
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < PAGES; i++) pages[s][i] = random_bytes((size_t)(LAYERS * layer_numbers(&m.attention)) * (half ? 2 : 4));
    int32_t tokens[POSITIONS];
    for (int i = 0; i < POSITIONS; i++) tokens[i] = rand() % WORDS;
    const int64_t counts[] = {1, 31, 2, 1, 45};
    long passes = 0;
    for (int exact = 0; exact < 2; exact++)
        for (int64_t i = 0, at = 0; i < 5; at += counts[i++]) {
            const llama_read reads[] = {{tokens, 1, i, pages[1], -1, i % 2, 1}, {tokens, 1, i, pages[2], 0, 1, 1},
                                        {tokens, counts[i], at, pages[0], 0, counts[i], 0}};
            const int64_t alone = counts[i] == 1, first = alone ? 2 : 0;
            int64_t wanted = 0;
            for (int64_t r = first; r < 3; r++) wanted += reads[r].wanted;
            float *logits = random_floats((size_t)(wanted * WORDS));
            passes += trimtab_llama_read(&m, reads + first, 3 - first, logits, exact, level, 1 + (int)i % 2);
        }
    give_back();
    return passes;
}

int main(void) {
    const int kinds[] = {FOUR_BIT, EIGHT_BIT, FLOAT32, FLOAT16, BFLOAT16};
    long passes = 0;
    for (int level = 1; level <= trimtab_cpu_level(); level++)
        for (int i = 0; i < 5; i++) {
            passes += drive(64, 128, 4, 2, 16, kinds[i], level);
            passes += drive(128, 64, 6, 1, 64, kinds[i], level);
            passes += drive(40, 24, 3, 3, 18, kinds[i], level);
            passes += drive(72, 100, 13, 1, 40, kinds[i], level);
        }
    printf("%ld\n", passes);
    return 0;
}
