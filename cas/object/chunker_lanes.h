#ifndef LARDER_OBJECT_CHUNKER_LANES_H
#define LARDER_OBJECT_CHUNKER_LANES_H

/*
 * What chunker.c and its lane files share. Nobody else includes this.
 *
 * Every way to search is one function of this type. It looks at the `len`
 * places in front of data[0] to data[len - 1], `len` a multiple of 64, and
 * writes a cell for each 64 of them among which there is a candidate of the
 * class; data[0] is at stream offset `at`. It reads data[-32] to data[len - 2].
 *
 * How lanes find it. With words of 16 bits, h16 of a place is a sum of eight
 * products, and one multiply-and-add instruction makes two of them per lane of
 * 32 bits, that is, per four bytes. So one load serves every fourth place, and
 * the 16 bytes before it need four loads, four bytes apart. Places fall into
 * four rows by their offset modulo four, and four rows make a cell. The h16 of
 * 16 bytes earlier stands four lanes to the left in the same row.
 */
#include "cas/object/chunker.h"

enum {
	CHUNKER_HASH_MASK = (1 << 26) - 1,
	CHUNKER_CELL_PLACES = 64,
	CHUNKER_ROWS = 4,
};

#if defined(__x86_64__)
chunker_lanes chunker_lanes_avx2, chunker_lanes_vnni;
#endif
#if defined(__aarch64__) && defined(__AARCH64EL__)
chunker_lanes chunker_lanes_neon;
#endif

/* The hash of the 16 bytes at `p`; every way begins with 16 of these, having no lanes to the left.
 */
uint32_t chunker_h16(const struct chunker *chunker, const uint8_t *p);

/*
 * Ask memory for what the search needs in a while. The machine's own guess is
 * thrown off by sixteen loads that overlap: without this the search runs at
 * 2 GB/s from memory instead of 6. (An address, not a pointer, as it may lie
 * behind the data; it is never read.)
 */
static inline void
chunker_read_ahead(const uint8_t *p)
{
	__builtin_prefetch((const void *)((uintptr_t)p + 2048));
}

/* Two keys side by side, as a lane multiplies them. */
static inline uint32_t
chunker_key_pair(const struct chunker *chunker, int i)
{
	return (uint32_t)(uint16_t)chunker->keys[2 * i] |
	       (uint32_t)(uint16_t)chunker->keys[2 * i + 1] << 16;
}

/* Bit i of a row becomes bit 4 * i of its cell. */
static inline uint64_t
chunker_spread(uint32_t row)
{
	uint64_t x = row & 0xffff;

	x = (x | x << 24) & 0x000000ff000000ff;
	x = (x | x << 12) & 0x000f000f000f000f;
	x = (x | x << 6) & 0x0303030303030303;
	x = (x | x << 3) & 0x1111111111111111;
	return x;
}

/* Four rows of sixteen places to one cell. */
static inline uint64_t
chunker_weave(const uint32_t rows[CHUNKER_ROWS])
{
	return chunker_spread(rows[0]) | chunker_spread(rows[1]) << 1 |
	       chunker_spread(rows[2]) << 2 | chunker_spread(rows[3]) << 3;
}

#endif
