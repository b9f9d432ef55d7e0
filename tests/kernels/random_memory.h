/* Random memory of exactly the needed size, for a sanitizer to guard; all of it is given back at once. */
#ifndef RANDOM_MEMORY_H
#define RANDOM_MEMORY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void *taken[4096];
static size_t pieces;

static void *unset_bytes(size_t count) {
    if (pieces == sizeof taken / sizeof *taken) {
        fprintf(stderr, "more pieces of memory than there is a place for\n");
        exit(1);
    }
    return taken[pieces++] = malloc(count ? count : 1);
}

static void *random_bytes(size_t count) {
    uint8_t *memory = unset_bytes(count);
    for (size_t i = 0; i < count; i++) memory[i] = (uint8_t)(rand() >> 7);
    return memory;
}

static float *random_floats(size_t count) {
    float *memory = unset_bytes(count * sizeof(float));
    for (size_t i = 0; i < count; i++) memory[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    return memory;
}

/* From above -1 to below 1. */
static float *rising_floats(size_t count) {
    float *memory = unset_bytes(count * sizeof(float));
    for (size_t i = 0; i < count; i++) memory[i] = (float)(i + 1) / (float)(count + 1) * 2.0f - 1.0f;
    return memory;
}

static void give_back(void) {
    while (pieces) free(taken[--pieces]);
}

#endif
