/*
 * Cuts do not depend on how the bytes arrive, nor on the width of the lanes.
 *
 * The first bytes of the input choose seed, mean, place in the stream, length
 * of blocks and how the rest is laid out; the rest is data, repeated until
 * there is enough of it for some chunks.
 */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cas/object/chunker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	HEAD_LEN = 8,
	STREAM_LEN = 48 * 1024,
	LENGTHS_MAX = STREAM_LEN / (CHUNKER_MEAN_MIN / 4) + 2,
};

static size_t
cut_in_blocks(const struct chunker *chunker, const uint8_t *stream, size_t len, uint64_t offset,
    size_t block_len, uint32_t *lengths)
{
	struct chunker_cell *cells = malloc(CHUNKER_CELLS_MAX(block_len) * sizeof *cells);
	struct chunker_candidates candidates = {
		.cells = cells,
		.room = CHUNKER_CELLS_MAX(block_len),
	};
	uint64_t start = offset;
	size_t count = 0;

	assert(cells != NULL);
	for (size_t at = 0; at < len; at += block_len) {
		size_t here = len - at < block_len ? len - at : block_len;
		uint32_t length;

		chunker_scan(chunker, &candidates, stream + at, here,
		    at < CHUNKER_WINDOW_LEN ? at : CHUNKER_WINDOW_LEN, offset + at);
		while ((length = chunker_next(chunker, &candidates, start, at + here == len)) > 0) {
			assert(count < LENGTHS_MAX);
			lengths[count++] = length;
			start += length;
		}
	}
	assert(start == offset + len);
	free(cells);
	return count;
}

static void
check_limits(const struct chunker *chunker, const uint32_t *lengths, size_t count, uint64_t offset,
    size_t len)
{
	uint64_t start = offset;

	for (size_t i = 0; i < count; start += lengths[i++]) {
		assert(lengths[i] > 0 && lengths[i] <= chunker_most(chunker, start));
		assert(lengths[i] >= chunker_most(chunker, start) / 16 || i + 1 == count);
	}
	assert(start == offset + len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t want[LENGTHS_MAX], got[LENGTHS_MAX];
	uint8_t seed[CHUNKER_SEED_LEN] = { 0 }, *stream;
	struct chunker chunker;
	uint64_t offset;
	size_t count, len, block_len, repeats;

	if (size <= HEAD_LEN)
		return 0;
	seed[0] = data[0];
	offset = data[1] % 2 ? CHUNKER_SECOND_AT - (uint64_t)data[2] * 256 : 0;
	block_len = 1 + data[3] + ((size_t)data[4] << 8);
	repeats = data[5] + 1u;
	data += HEAD_LEN;
	size -= HEAD_LEN;

	len = size * repeats < STREAM_LEN ? size * repeats : STREAM_LEN;
	stream = malloc(len); /* exact, so that the sanitizer sees one byte too far */
	assert(stream != NULL);
	for (size_t i = 0; i < len; i++)
		stream[i] = data[i % size];

	chunker_init(&chunker, seed, CHUNKER_MEAN_MIN);
	if (data[-2] % 2) /* as dense as candidates can be, which real rates never show */
		for (int i = 0; i < CHUNKER_CLASSES; i++) {
			chunker.classes[i].strict <<= 6;
			chunker.classes[i].loose <<= 6;
		}
	chunker_with(&chunker, CHUNKER_SCALAR);
	count = chunker_cut(&chunker, stream, len, true, offset, want, LENGTHS_MAX);
	check_limits(&chunker, want, count, offset, len);
	for (int way = 0; way < CHUNKER_WAYS; way++) {
		if (!chunker_with(&chunker, (enum chunker_way)way))
			continue;
		assert(chunker_cut(&chunker, stream, len, true, offset, got, LENGTHS_MAX) == count);
		assert(memcmp(want, got, count * sizeof *got) == 0);
		assert(cut_in_blocks(&chunker, stream, len, offset, block_len, got) == count);
		assert(memcmp(want, got, count * sizeof *got) == 0);
	}
	free(stream);
	return 0;
}
