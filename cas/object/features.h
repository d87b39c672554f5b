#ifndef LARDER_OBJECT_FEATURES_H
#define LARDER_OBJECT_FEATURES_H

/*
 * Finds bytes that are alike without being equal: a few numbers computed from
 * the bytes, of which similar inputs have one or more in common. They are hints
 * for the choice of a base; a wrong one costs space, never correctness.
 */
#include <stddef.h>
#include <stdint.h>

enum {
	FEATURES_COUNT = 3,
	FEATURES_INPUT_MIN = 32, /* shorter inputs have none */
};

/*
 * The features of `len` bytes: equal inputs have equal ones on every machine,
 * inputs that differ in a small part of their bytes share at least one of the
 * three with a probability that falls with the size of that part, and others
 * share none. Compare out[i] with out[i] only. Zero means none: all three are
 * zero for inputs shorter than FEATURES_INPUT_MIN, and none is for others.
 */
void features_of(uint64_t out[FEATURES_COUNT], const uint8_t *data, size_t len);

#endif
