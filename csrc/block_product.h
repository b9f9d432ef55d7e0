/* The product of a register block, which matrix products are made of. */
#ifndef TRIMTAB_BLOCK_PRODUCT_H
#define TRIMTAB_BLOCK_PRODUCT_H

#include "trimtab.h"

#define EACH(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)

/* c = (where `first`) or += a b, for `block` rows of c of `vectors` vectors of `width` floats each. AT(r, k) says where
 * a[r][k] stands; lines of b are `step` apart. */
#define BLOCK_PRODUCT(name, target, vector, width, block, vectors, AT, step, P)                                   \
    target static void name(const float *a, const float *b, int64_t depth, float *c, int64_t stride, int first) { \
        vector sums[block][vectors];                                                                              \
        EACH(r, block) EACH(i, vectors)                                                                           \
            sums[r][i] = first ? P##setzero_ps() : P##loadu_ps(c + r * stride + i * width);                       \
        for (int64_t k = 0; k < depth; k++, b += step) {                                                          \
            vector right[vectors];                                                                                \
            EACH(i, vectors) right[i] = P##loadu_ps(b + i * width);                                               \
            EACH(r, block) {                                                                                      \
                const vector left = P##set1_ps(a[AT(r, k)]);                                                      \
                EACH(i, vectors) sums[r][i] = P##fmadd_ps(left, right[i], sums[r][i]);                            \
            }                                                                                                     \
        }                                                                                                         \
        EACH(r, block) EACH(i, vectors) P##storeu_ps(c + r * stride + i * width, sums[r][i]);                     \
    }

#endif
