/* A decoder of the Llama family: one pass of any number of tokens of any number of sequences. */
#ifndef TRIMTAB_LLAMA_H
#define TRIMTAB_LLAMA_H

#include "matrix.h"
#include "paged_attention.h"

enum { QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN, LINEARS };

/* Adds scale * (x a^T) b^T to a linear layer; rank 0 where an adapter leaves the layer alone. */
typedef struct {
    const float *a, *b; /* (rank, inputs), (outputs, rank); rank is a multiple of 16 */
    int64_t rank;
    float scale;
} low_rank;

typedef struct {
    matrix linears[LINEARS];
    const float *input_norm, *middle_norm; /* (width) */
    const float *query_norm, *key_norm;    /* (head), or NULL */
} llama_layer;

typedef struct {
    int64_t layers, width, inner;
    attention_shape attention;
    float eps;
    const llama_layer *layer;
    const float *final_norm;
    matrix embedding, head;
    const float *cosines, *sines; /* (positions, head / 2) */
    const low_rank *adapters;     /* (adapters, layers, LINEARS) */
} llama;

/* `count` new tokens of one sequence; logits are wanted of the last `wanted` of them. */
typedef struct {
    const int32_t *tokens;
    int64_t count, first; /* position of the first token */
    void *const *pages;
    int64_t adapter; /* -1: none */
    int64_t wanted;
    int64_t written; /* 1: one token that the network wrote itself */
} llama_read;

/* Reads the tokens (written ones stand first), keeps their keys and values in the pages, and writes logits (all wanted
 * tokens, vocabulary) in the order of the reads. Needs AVX2; gives 0 where memory is short. */
EXPORT int trimtab_llama_read(const llama *m, const llama_read *reads, int64_t count, float *logits, int exact, int level,
                              int threads);

#endif
