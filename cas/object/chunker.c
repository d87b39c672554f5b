/*
 * chunker.c says where streams are cut; it is the specification.
 *
 *   h16(p)  = constant + the sum over k = 0..7 of word(p + 2k) * keys[k]
 *   hash(i) = (h16(i - 16) + rotate_left_16(h16(i - 32))) modulo 2^26
 *
 * where i is a place between two bytes, word(p) the little-endian 16-bit word
 * at p, words and keys are signed, and sums are unsigned 32-bit numbers that
 * wrap around. A place is a strict candidate if its hash is below
 * class.strict, a loose one if it is below class.loose, of the first class up
 * to 64 MiB of the stream and of the second behind.
 *
 * A chunk that starts at s, with limits of the class of s, ends at the first
 * strict candidate from s + least on; failing that, at the first loose one
 * from s + turn on; failing that, at s + most, or where the stream ends.
 *
 * 1. The same stream is cut the same by every width of lanes, in any blocks.
 * 2. No cut depends on one before it, except through the limits: two streams
 *    that share a stretch agree on its cuts soon after it begins.
 * 3. A run of one byte value has no candidates, whatever the seed. So zeros
 *    become chunks of the greatest length, all of them equal.
 * 4. Only integers decide. The numbers are part of the format of a store:
 *    another expansion of the seed or another rate would store all data again.
 *
 * The low 26 bits are compared, not the high ones, because a small change of a
 * word times a key reaches them whole; of the high ones it would often miss
 * those that decide. A seed per store makes cuts differ from store to store. It
 * is not a secret that cuts keep: the hash is linear, and lengths tell.
 *
 * chunker_lanes.h describes how lanes search; chunker_avx2.c, chunker_vnni.c
 * and chunker_neon.c do it.
 */
#include "cas/object/chunker_lanes.h"

#include <assert.h>

#include "cas/base/bytes.h"
#include "cas/base/cpu.h"

static int32_t
signed_word(const uint8_t *p)
{
	return (int32_t)(get_le16(p) ^ 0x8000u) - 0x8000;
}

uint32_t
chunker_h16(const struct chunker *chunker, const uint8_t *p)
{
	uint32_t sum = chunker->constant;

	for (int k = 0; k < CHUNKER_KEYS; k++)
		sum += (uint32_t)(signed_word(p + 2 * k) * chunker->keys[k]);
	return sum;
}

static uint32_t
join(uint32_t newer, uint32_t older)
{
	return (newer + (older << 16 | older >> 16)) & CHUNKER_HASH_MASK;
}

uint32_t
chunker_hash(const struct chunker *chunker, const uint8_t window[CHUNKER_WINDOW_LEN])
{
	return join(chunker_h16(chunker, window + 16), chunker_h16(chunker, window));
}

/* The definition as lanes of one; `len` need not be a multiple of 64 here. */
static size_t
scan(struct chunker_cell *cells, const struct chunker *chunker, const struct chunker_class *class,
    const uint8_t *data, size_t len, uint64_t at)
{
	uint32_t h16[16]; /* of the last sixteen places: the older half of a window is not hashed
			     again */
	size_t count = 0;

	if (len == 0)
		return 0; /* there may be nothing to read before it either */
	for (int i = 0; i < 16; i++)
		h16[i] = chunker_h16(chunker, data - 32 + i);
	for (size_t i = 0; i < len; i++) {
		uint32_t newer = chunker_h16(chunker, data + i - 16);
		uint32_t hash = join(newer, h16[i % 16]);
		uint64_t bit = (uint64_t)1 << i % CHUNKER_CELL_PLACES;

		h16[i % 16] = newer;
		if (hash >= class->loose)
			continue;
		if (count == 0 || cells[count - 1].at != at + i - i % CHUNKER_CELL_PLACES)
			cells[count++] =
			    (struct chunker_cell){ .at = at + i - i % CHUNKER_CELL_PLACES };
		cells[count - 1].loose |= bit;
		if (hash < class->strict)
			cells[count - 1].strict |= bit;
	}
	return count;
}

/* Which functions search, and what the machine must have for them; the later the better. */
static const struct {
	chunker_lanes *lanes;
	unsigned cpu;
} ways[CHUNKER_WAYS] = {
	[CHUNKER_SCALAR] = { scan, 0 },
#if defined(__x86_64__)
	[CHUNKER_AVX2] = { chunker_lanes_avx2, CPU_AVX2 },
	[CHUNKER_VNNI] = { chunker_lanes_vnni, CPU_AVX512VNNI },
#endif
#if defined(__aarch64__) && defined(__AARCH64EL__)
	[CHUNKER_NEON] = { chunker_lanes_neon, CPU_NEON },
#endif
};

bool
chunker_with(struct chunker *chunker, enum chunker_way way)
{
	assert(way < CHUNKER_WAYS);
	if (ways[way].lanes == NULL || !cpu_has(ways[way].cpu))
		return false;
	chunker->lanes = ways[way].lanes;
	return true;
}

/* A permutation of 64-bit numbers in which every bit matters to every other: the finaliser of
 * splitmix64. */
static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* The n-th number drawn from the seed; each depends on all of it. */
static uint64_t
draw(const uint8_t seed[CHUNKER_SEED_LEN], uint64_t n)
{
	uint64_t x = (n + 1) * 0x9e3779b97f4a7c15;

	for (int i = 0; i < CHUNKER_SEED_LEN; i += 8)
		x = mix(x ^ get_le64(seed + i));
	return x;
}

/*
 * A run of one byte value has the same window at each place. Is none of the
 * 256 windows a candidate, not even a loose one of the class that has most?
 */
static bool
runs_are_quiet(const struct chunker *chunker)
{
	for (int value = 0; value < 256; value++) {
		uint8_t window[CHUNKER_WINDOW_LEN];

		for (int i = 0; i < CHUNKER_WINDOW_LEN; i++)
			window[i] = (uint8_t)value;
		if (chunker_hash(chunker, window) < chunker->classes[0].loose)
			return false;
	}
	return true;
}

/*
 * Draws 0 and 1 are the keys, four each, the lowest 16 bits first; they are
 * made odd, so that no bit of a word is lost. The constant is the low half of
 * draw 2, or of the first one after it with which runs are quiet. One try in
 * five or fewer is lost to that, and at the 200th the last constant stays: the
 * loop must end, and runs cut short would only cost a little space.
 */
static void
expand(struct chunker *chunker, const uint8_t seed[CHUNKER_SEED_LEN])
{
	for (int k = 0; k < CHUNKER_KEYS; k++) {
		uint32_t key = (uint32_t)(draw(seed, (uint64_t)k / 4) >> 16 * (k % 4)) & 0xffff;

		chunker->keys[k] = (int16_t)((int32_t)((key | 1) ^ 0x8000) - 0x8000);
	}
	for (uint64_t n = 2; n < 202; n++) {
		chunker->constant = (uint32_t)draw(seed, n);
		if (runs_are_quiet(chunker))
			break;
	}
}

/*
 * Strict candidates stand 4 means apart, loose ones a quarter of a mean. With
 * the turn at three quarters chunks then come out one mean long on average, and
 * of the rates and turns tried this shares most between versions of real trees
 * at a given average (and as much as a gear hash with the same rules).
 */
void
chunker_init(struct chunker *chunker, const uint8_t seed[CHUNKER_SEED_LEN], uint32_t mean)
{
	assert(mean >= CHUNKER_MEAN_MIN && mean <= CHUNKER_MEAN_MAX && (mean & (mean - 1)) == 0);

	*chunker = (struct chunker){ .lanes = scan };
	for (int i = 0; i < CHUNKER_CLASSES; i++, mean *= 4)
		chunker->classes[i] = (struct chunker_class){
			.least = mean / 4,
			.turn = mean / 4 * 3,
			.most = mean * 4,
			.strict = (CHUNKER_HASH_MASK + 1) / mean / 4,
			.loose = (CHUNKER_HASH_MASK + 1) / mean * 4,
		};
	expand(chunker, seed);
	for (enum chunker_way way = CHUNKER_SCALAR; way < CHUNKER_WAYS; way++)
		chunker_with(chunker, way);
}

static const struct chunker_class *
class_of_start(const struct chunker *chunker, uint64_t start)
{
	return &chunker->classes[start >= CHUNKER_SECOND_AT];
}

uint32_t
chunker_most(const struct chunker *chunker, uint64_t start)
{
	return class_of_start(chunker, start)->most;
}

/* Places of one class: lanes for whole cells, the definition for the rest. */
static void
scan_class(const struct chunker *chunker, struct chunker_candidates *out,
    const struct chunker_class *class, const uint8_t *data, size_t len, uint64_t at)
{
	size_t whole = len - len % CHUNKER_CELL_PLACES;

	assert(out->count + len / CHUNKER_CELL_PLACES + 1 <= out->room);
	if (whole > 0)
		out->count +=
		    chunker->lanes(out->cells + out->count, chunker, class, data, whole, at);
	out->count +=
	    scan(out->cells + out->count, chunker, class, data + whole, len - whole, at + whole);
}

void
chunker_scan(const struct chunker *chunker, struct chunker_candidates *out, const uint8_t *data,
    size_t len, size_t before, uint64_t offset)
{
	size_t from = before < CHUNKER_WINDOW_LEN ? CHUNKER_WINDOW_LEN - before : 1;
	size_t to =
	    len + 1; /* places are counted from offset; the one at offset is the block's before */
	size_t turn =
	    to; /* where the second class begins: the place at the border is the first's */

	assert(out->room >= CHUNKER_CELLS_MAX(len));
	out->count = out->next = 0;
	out->end = offset + len;
	if (from >= to)
		return;
	if (offset + from > CHUNKER_SECOND_AT)
		turn = from;
	else if (offset + to > CHUNKER_SECOND_AT + 1)
		turn = (size_t)(CHUNKER_SECOND_AT + 1 - offset);
	scan_class(chunker, out, &chunker->classes[0], data + from, turn - from, offset + from);
	scan_class(chunker, out, &chunker->classes[1], data + turn, to - turn, offset + turn);
}

/* The bits of the places from <= place < to in a cell at `at`. */
static uint64_t
places(uint64_t at, uint64_t from, uint64_t to)
{
	uint64_t bits = ~(uint64_t)0;

	if (from >= at + CHUNKER_CELL_PLACES || to <= at)
		return 0;
	if (from > at)
		bits &= ~(uint64_t)0 << (from - at);
	if (to < at + CHUNKER_CELL_PLACES)
		bits &= ~(~(uint64_t)0 << (to - at));
	return bits;
}

uint32_t
chunker_next(const struct chunker *chunker, struct chunker_candidates *candidates, uint64_t start,
    bool final)
{
	const struct chunker_class *class = class_of_start(chunker, start);
	uint64_t least = start + class->least, turn = start + class->turn,
		 most = start + class->most;
	const struct chunker_cell *cells = candidates->cells;
	size_t i = candidates->next;

	while (i < candidates->count && cells[i].at + CHUNKER_CELL_PLACES <= least)
		i++;
	candidates->next = i;
	for (; i < candidates->count && cells[i].at < most; i++) {
		uint64_t cuts = (cells[i].strict & places(cells[i].at, least, turn)) |
				(cells[i].loose & places(cells[i].at, turn, most));

		if (cuts != 0)
			return (uint32_t)(cells[i].at + (unsigned)__builtin_ctzll(cuts) - start);
	}
	if (candidates->end >= most)
		return class->most;
	if (final && candidates->end > start)
		return (uint32_t)(candidates->end - start);
	return 0;
}

/* Bytes in memory are searched this much at a time, so that the cells fit the stack and the first
 * cache. */
enum { STRIDE = 64 * 1024 };

size_t
chunker_cut(const struct chunker *chunker, const uint8_t *data, size_t len, bool final,
    uint64_t offset, uint32_t *lengths, size_t lengths_max)
{
	struct chunker_cell cells[CHUNKER_CELLS_MAX(STRIDE)];
	struct chunker_candidates candidates = { .cells = cells,
		.room = CHUNKER_CELLS_MAX(STRIDE) };
	size_t count = 0;
	uint64_t start = offset;

	for (size_t done = 0; done < len && count < lengths_max;) {
		size_t step = len - done < STRIDE ? len - done : STRIDE;
		bool last = final && done + step == len;
		uint32_t length;

		chunker_scan(chunker, &candidates, data + done, step, done, offset + done);
		done += step;
		while (count < lengths_max &&
		       (length = chunker_next(chunker, &candidates, start, last)) > 0) {
			lengths[count++] = length;
			start += length;
		}
	}
	return count;
}
