/* Attention of a decoder over keys and values that lie in pages. */
#ifndef TRIMTAB_PAGED_ATTENTION_H
#define TRIMTAB_PAGED_ATTENTION_H

#include "trimtab.h"

/* Tokens a page holds. For each layer a page has keys (kv_heads, head, PAGE), then values (kv_heads, PAGE, wide), all of
 * them float32 or, at half the bytes to be read for every token, float16. */
enum { PAGE = 32 };

typedef struct {
    int64_t heads, kv_heads, head;
    int64_t window; /* positions that a token sees, itself among them; 0: all before it */
    float scale;
    int half; /* pages are float16 */
} attention_shape;

INLINE int64_t wide_of(int64_t head) { return filled(head, PAGE); }

/* Numbers of one layer in a page. */
INLINE int64_t layer_numbers(const attention_shape *a) { return a->kv_heads * PAGE * (a->head + wide_of(a->head)); }

/* `count` successive tokens of one sequence, the first of them at position `first`. */
typedef struct {
    void *const *pages;
    int64_t first, count;
    const float *query; /* (count, heads, head) */
    float *out;         /* (count, heads, head) */
} attention_run;

/* Puts one token's key and value (kv_heads, head) into its page; what float16 cannot hold becomes its largest number. */
void keep_token(const attention_shape *a, void *const *pages, int64_t layer, int64_t position, const float *key,
                const float *value, int level);

/* softmax(scale * query key^T) value for every run, keys and values being kept already. Needs AVX2. Gives 0 where memory
 * is short. */
int attend(const attention_shape *a, int64_t layer, const attention_run *runs, int64_t count, int level, int threads);

#endif
