/* Many vectors times a quantized matrix: a matrix product that makes its right factor dense on the way.
 *
 * Each thread owns a run of output columns. It decodes a tile of the matrix straight into panels, PANEL columns wide
 * and DEPTH deep, that fit its second-level cache, and multiplies every row of x with them in a register block of
 * BLOCK rows. No more of the matrix is ever dense than one tile a thread. Sums run over the whole depth in order, in
 * float32 with fused multiply-add.
 */
#include "many_rows.h"

#include "block_product.h"

#if HAVE_X86

enum { DEPTH = 512, STRIDE = DEPTH + 8, TILE_FLOATS = 160 * 1024, SQUARE = 8 };

#define PLACE(r, k) ((r) * STRIDE + (k))
BLOCK_PRODUCT(product_avx2, TARGET_AVX2, __m256, 8, 6, 2, PLACE, 16, _mm256_)
BLOCK_PRODUCT(product_avx512, TARGET_AVX512, __m512, 16, 12, 2, PLACE, 32, _mm512_)

typedef void (*product_function)(const float *, const float *, int64_t, float *, int64_t, int);

/* Writes the transpose of 8 rows of 8 to rows that lie `wide` apart. */
TARGET_AVX2 static void transpose_square(const float *from, int64_t stride, float *to, int64_t wide) {
    __m256 a[SQUARE], b[SQUARE];
    for (int i = 0; i < SQUARE; i++) a[i] = _mm256_loadu_ps(from + i * stride);
    for (int i = 0; i < SQUARE; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < SQUARE; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * wide, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * wide, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}

typedef struct {
    product_function product;
    int64_t block, panel; /* rows and columns of a register block */
    float *tile, *rows, *lines, *spill;
} workspace;

/* Fills panels with matrix rows col .. col + cols, columns k .. k + depth, turned over. */
static void fill_turned(const summand *part, int level, const workspace *own, int64_t col, int64_t cols, int64_t k,
                        int64_t depth) {
    const int64_t wide = own->panel;
    for (int64_t from = 0; from < cols; from += SQUARE) {
        const int64_t here = smaller(SQUARE, cols - from);
        for (int64_t i = 0; i < SQUARE; i++) {
            float *line = own->lines + i * DEPTH;
            if (i < here) part->decode(part->matrix, col + from + i, k, depth, line, level);
            else memset(line, 0, (size_t)depth * sizeof(float));
        }
        float *panel = own->tile + from / wide * depth * wide + from % wide;
        int64_t done = 0;
        for (; done + SQUARE <= depth; done += SQUARE) transpose_square(own->lines + done, DEPTH, panel + done * wide, wide);
        for (; done < depth; done++)
            for (int64_t i = 0; i < SQUARE; i++) panel[done * wide + i] = own->lines[i * DEPTH + done];
    }
}

/* Fills panels with matrix columns col .. col + cols of the rows k .. k + depth. */
static void fill_straight(const summand *part, int level, const workspace *own, int64_t col, int64_t cols, int64_t k,
                          int64_t depth) {
    const int64_t wide = own->panel;
    for (int64_t i = 0; i < depth; i++) {
        for (int64_t from = 0; from < cols; from += DEPTH) {
            const int64_t here = smaller(DEPTH, cols - from);
            part->decode(part->matrix, k + i, col + from, here, own->lines, level);
            for (int64_t done = 0; done < here; done += wide) {
                float *panel = own->tile + (from + done) / wide * depth * wide + i * wide;
                const int64_t width = smaller(wide, here - done);
                memcpy(panel, own->lines + done, (size_t)width * sizeof(float));
                memset(panel + width, 0, (size_t)(wide - width) * sizeof(float));
            }
        }
    }
}

/* One register block of output; at the edges through a buffer, so that nothing outside is touched. */
static void write_block(const many_rows *job, const workspace *own, const float *panel, int64_t depth, int64_t row,
                        int64_t rows, int64_t col, int64_t cols, int first) {
    float *y = job->y + row * job->cols + col;
    if (rows == own->block && cols == own->panel) {
        own->product(own->rows, panel, depth, y, job->cols, first);
        return;
    }
    /* Through the same additions in the same order, so that a row has the same bits in any place. */
    const int64_t wide = own->panel;
    for (int64_t r = 0; !first && r < rows; r++) memcpy(own->spill + r * wide, y + r * job->cols, (size_t)cols * sizeof(float));
    own->product(own->rows, panel, depth, own->spill, wide, first);
    for (int64_t r = 0; r < rows; r++) memcpy(y + r * job->cols, own->spill + r * wide, (size_t)cols * sizeof(float));
}

/* Adds one summand's depth k .. k + depth to a run of output columns; the first to do so need not be added. */
static void multiply_tile(const many_rows *job, const summand *part, const workspace *own, int64_t col, int64_t cols,
                          int64_t k, int64_t depth, int first) {
    if (job->turned) fill_turned(part, job->level, own, col, cols, k, depth);
    else fill_straight(part, job->level, own, col, cols, k, depth);
    for (int64_t row = 0; row < job->count; row += own->block) {
        const int64_t rows = smaller(own->block, job->count - row);
        for (int64_t r = 0; r < own->block; r++) {
            const int64_t source = row + (r < rows ? r : 0);
            memcpy(own->rows + r * STRIDE, part->x + source * part->depth + k, (size_t)depth * sizeof(float));
        }
        for (int64_t done = 0; done < cols; done += own->panel) {
            const float *panel = own->tile + done / own->panel * depth * own->panel;
            write_block(job, own, panel, depth, row, rows, col + done, smaller(own->panel, cols - done), first);
        }
    }
}

static void add_bias(const many_rows *job, int64_t col, int64_t cols) {
    for (int64_t row = 0; row < job->count; row++)
        for (int64_t c = col; c < col + cols; c++) job->y[row * job->cols + c] += job->bias[c];
}

static int64_t even_share(int64_t size, int64_t most, int64_t unit) {
    return filled(blocks_of(size, blocks_of(size, most)), unit);
}

static int multiply_columns(const many_rows *job, int64_t begin, int64_t end) {
    const int wide = job->level >= AVX512;
    const int64_t block = wide ? 12 : 6, panel = wide ? 32 : 16;
    const int64_t depth = even_share(job->base.depth, DEPTH, SQUARE);
    const int64_t tile = even_share(end - begin, smaller(TILE_FLOATS / depth / panel * panel, end - begin + panel), panel);
    const int64_t sizes[] = {(tile + panel) * depth, block * STRIDE, SQUARE * DEPTH, block * panel};
    float *scratch = room_for((sizes[0] + sizes[1] + sizes[2] + sizes[3]) * (int64_t)sizeof(float));
    if (!scratch) return 0;
    const workspace own = {
        wide ? product_avx512 : product_avx2, block, panel, scratch, scratch + sizes[0], scratch + sizes[0] + sizes[1],
        scratch + sizes[0] + sizes[1] + sizes[2],
    };
    for (int64_t col = begin; col < end; col += tile) {
        const int64_t cols = smaller(tile, end - col);
        for (int64_t k = 0; k < job->base.depth; k += depth)
            multiply_tile(job, &job->base, &own, col, cols, k, smaller(depth, job->base.depth - k), k == 0);
        for (int64_t k = 0; k < job->beside.depth; k += depth)
            multiply_tile(job, &job->beside, &own, col, cols, k, smaller(depth, job->beside.depth - k), 0);
        if (job->bias) add_bias(job, col, cols);
    }
    free(scratch);
    return 1;
}

int multiply_many(const many_rows *job, int threads) {
    int done = 1;
    const int64_t share = filled(blocks_of(job->cols, threads), GROUP);
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(&& : done)
    for (int64_t thread = 0; thread < threads; thread++) {
        const int64_t begin = thread * share, end = smaller(begin + share, job->cols);
        if (begin < end) done = multiply_columns(job, begin, end) && done;
    }
    return done;
}

#else

int multiply_many(const many_rows *job, int threads) {
    (void)job, (void)threads;
    return 0;
}

#endif
