#ifndef LARDER_OBJECT_CHUNKER_H
#define LARDER_OBJECT_CHUNKER_H

/*
 * Cuts a stream of bytes into chunks where its content says so, so that equal
 * stretches of two streams become equal chunks wherever they stand.
 *
 * Whether a cut *may* stand at a place depends on the 32 bytes before it (and
 * the store's seed) only; that is the costly part, and any block of a stream
 * can be searched on its own, in parallel. Which of these candidates *are* cut
 * is decided in order, from the start of the stream, and costs next to nothing.
 *
 * One thread, the bytes in memory:
 *
 *	chunker_init(&chunker, seed, 16384);
 *	count = chunker_cut(&chunker, data, len, true, 0, lengths, lengths_max);
 *
 * Many threads, a large stream in blocks. Each worker, for its own block:
 *
 *	chunker_scan(&chunker, &candidates, block, block_len, before, offset);
 *
 * and then, in the order of the blocks, with `start` handed from one to the next:
 *
 *	while ((len = chunker_next(&chunker, &candidates, start, is_last)) > 0) {
 *		the chunk is `len` bytes at stream offset `start`
 *		start += len;
 *	}
 *
 * When chunker_next() says 0, the chunk at `start` goes on in the next block:
 * ask again, with the same start and the candidates of the next block. Blocks
 * need not overlap for that. If they do (because a worker wants to finish the
 * chunks that begin in its block alone), let it stop at the first start that
 * lies in the next block; an overlap of chunker_most() bytes is enough.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CHUNKER_SEED_LEN = 32,
	CHUNKER_WINDOW_LEN = 32,
	CHUNKER_KEYS = 8,
	CHUNKER_CLASSES = 2,
	CHUNKER_MEAN_MIN = 4 * 1024,
	CHUNKER_MEAN_MAX = 64 * 1024,
	CHUNKER_MEAN_DEFAULT = 16 * 1024,
	/* Chunks that start here or later in a stream are of the second class. */
	CHUNKER_SECOND_AT = 64 * 1024 * 1024,
};

/*
 * Where a chunk may end, counted from its start: from `least` on at strict
 * candidates only, from `turn` on at any, and at `most` without one. A hash
 * below `strict` or `loose` makes a candidate of that kind.
 */
struct chunker_class {
	uint32_t least, turn, most;
	uint32_t strict, loose;
};

enum chunker_way {
	CHUNKER_SCALAR, /* the definition; everywhere */
	CHUNKER_AVX2,
	CHUNKER_VNNI,
	CHUNKER_NEON,
	CHUNKER_WAYS,
};

struct chunker;
struct chunker_cell;

typedef size_t chunker_lanes(struct chunker_cell *cells, const struct chunker *chunker,
    const struct chunker_class *class, const uint8_t *data, size_t len, uint64_t at);

/*
 * The store's chunker. Caller's storage; nothing in it changes after
 * chunker_init() (and chunker_with()), so threads may share it. There is
 * nothing to release.
 */
struct chunker {
	int16_t keys[CHUNKER_KEYS];
	uint32_t constant;
	struct chunker_class classes[CHUNKER_CLASSES];
	chunker_lanes *lanes;
};

/*
 * `mean` is that of the first class: a power of two, 4 to 64 KiB. Its least is
 * mean / 4, its most mean * 4; the second class is four times that. The way is
 * the fastest one this machine has; all ways give the same cuts.
 */
void chunker_init(struct chunker *chunker, const uint8_t seed[CHUNKER_SEED_LEN], uint32_t mean);

/* For tests and bench: take this way. False, and nothing changed, if the machine has it not. */
bool chunker_with(struct chunker *chunker, enum chunker_way way);

/* The definition: the hash that the place after these 32 bytes has. */
uint32_t chunker_hash(const struct chunker *chunker, const uint8_t window[CHUNKER_WINDOW_LEN]);

/* No chunk that starts at `start` is longer than this. */
uint32_t chunker_most(const struct chunker *chunker, uint64_t start);

/*
 * Candidates stand in cells: 64 places of the stream side by side, of which at
 * least one is a candidate. Bit i is the cut in front of the byte at stream
 * offset `at` + i; each strict candidate is a loose one too. Cells rather than
 * a list of places, because 64 places need one cell at worst: data made of
 * nothing but candidates cannot overflow the array, and typical data fills a
 * hundredth of it (the rest is never touched).
 */
struct chunker_cell {
	uint64_t at;
	uint64_t loose, strict;
};

/* Cells enough for any `len` bytes. */
#define CHUNKER_CELLS_MAX(len) ((size_t)(len) / 64 + 3)

struct chunker_candidates {
	struct chunker_cell *cells; /* caller's, lent */
	size_t room;                /* at least CHUNKER_CELLS_MAX(len of the block) */
	size_t count;
	size_t next;  /* cells before this are behind the start of the last chunk asked for */
	uint64_t end; /* places up to this stream offset have been looked at */
};

/*
 * Find the candidates among the cuts in front of stream offsets offset + 1 to
 * offset + len; data[0] is the byte at stream offset `offset`, and as many
 * bytes of the stream as `before` says are readable in front of it. Replaces
 * what was in `out`, except that `cells` and `room` are the caller's.
 *
 * A place with less than 32 bytes before it cannot be judged and is no
 * candidate: give 32 (31 do) everywhere but at the start of the stream, where
 * there are none, and where such a place is too close to the start anyway.
 */
void chunker_scan(const struct chunker *chunker, struct chunker_candidates *out,
    const uint8_t *data, size_t len, size_t before, uint64_t offset);

/*
 * The length of the chunk that starts at stream offset `start`; 0 when the
 * candidates end before that can be said. With `final` the stream ends where
 * the candidates end: what is left is then the last chunk, and 0 means that
 * nothing is left.
 *
 * All places of the chunk must have been looked at, here or in earlier
 * candidates with the same `start`. From call to call `start` never falls, as
 * long as the candidates are the same; to begin again, set `next` to 0.
 */
uint32_t chunker_next(const struct chunker *chunker, struct chunker_candidates *candidates,
    uint64_t start, bool final);

/*
 * The same in one call, for bytes in memory: data[0], at `offset` of its
 * stream, starts a chunk. Fills `lengths` with the lengths of chunks in order
 * and returns how many, at most `lengths_max`. Unless `final`, the end of the
 * data is not the end of the stream, and a chunk it might end early is left out.
 */
size_t chunker_cut(const struct chunker *chunker, const uint8_t *data, size_t len, bool final,
    uint64_t offset, uint32_t *lengths, size_t lengths_max);

#endif
