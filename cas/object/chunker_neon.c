/*
 * The search of chunker_lanes.h with NEON: a row of sixteen places is four
 * registers of four lanes, so the older half of the window is simply what the
 * row had before.
 *
 * NEON has no multiply that adds neighbours. The products of the low and of the
 * high words are summed apart, and one pairwise addition at the end does what
 * would be four. Needs no flags on arm64; empty elsewhere.
 */
#include "cas/object/chunker_lanes.h"

#if defined(__aarch64__) && defined(__AARCH64EL__)

#include <arm_neon.h>

static inline int16x8_t
load(const uint8_t *p)
{
	return vreinterpretq_s16_u8(vld1q_u8(p));
}

static inline uint32x4_t
rotate_16(uint32x4_t x)
{
	return vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(x)));
}

static inline uint32x4_t
h16_of_four(const uint8_t *p, const int16x8_t keys[4], uint32x4_t constant)
{
	int32x4_t low, high;
	int16x8_t words = load(p);

	low = vmull_s16(vget_low_s16(words), vget_low_s16(keys[0]));
	high = vmull_high_s16(words, keys[0]);
#pragma GCC unroll 3
	for (int i = 1; i < 4; i++) {
		words = load(p + 4 * i);
		low = vmlal_s16(low, vget_low_s16(words), vget_low_s16(keys[i]));
		high = vmlal_high_s16(high, words, keys[i]);
	}
	return vaddq_u32(constant, vreinterpretq_u32_s32(vpaddq_s32(low, high)));
}

/* Bit i of the answer: lane i of `hash` is below that of `rate`. */
static inline uint32_t
below(uint32x4_t hash, uint32x4_t rate)
{
	static const uint32_t weights[4] = { 1, 2, 4, 8 };

	return vaddvq_u32(vandq_u32(vcltq_u32(hash, rate), vld1q_u32(weights)));
}

size_t
chunker_lanes_neon(struct chunker_cell *cells, const struct chunker *chunker,
    const struct chunker_class *class, const uint8_t *data, size_t len, uint64_t at)
{
	const uint32x4_t constant = vdupq_n_u32(chunker->constant);
	const uint32x4_t mask = vdupq_n_u32(CHUNKER_HASH_MASK);
	const uint32x4_t loose = vdupq_n_u32(class->loose), strict = vdupq_n_u32(class->strict);
	int16x8_t keys[4];
	uint32x4_t older[CHUNKER_ROWS];
	size_t count = 0;

	for (int i = 0; i < 4; i++)
		keys[i] = vreinterpretq_s16_u32(vdupq_n_u32(chunker_key_pair(chunker, i)));
	for (int row = 0; row < CHUNKER_ROWS; row++)
		older[row] = h16_of_four(data - 32 + row, keys, constant);

	for (size_t i = 0; i < len; i += CHUNKER_CELL_PLACES) {
		struct chunker_cell cell = { .at = at + i };

		chunker_read_ahead(data + i);
		for (int quarter = 0; quarter < 4; quarter++) {
			uint32x4_t hash[CHUNKER_ROWS], least = mask;

#pragma GCC unroll 4
			for (int row = 0; row < CHUNKER_ROWS; row++) {
				uint32x4_t h16 =
				    h16_of_four(data + i + 16 * quarter + row - 16, keys, constant);

				hash[row] = vandq_u32(mask, vaddq_u32(h16, rotate_16(older[row])));
				older[row] = h16;
				least = vminq_u32(least, hash[row]);
			}
			if (vminvq_u32(least) >= class->loose)
				continue;
			for (int row = 0; row < CHUNKER_ROWS; row++) {
				cell.loose |= chunker_spread(below(hash[row], loose))
					      << (16 * quarter + row);
				cell.strict |= chunker_spread(below(hash[row], strict))
					       << (16 * quarter + row);
			}
		}
		if (cell.loose != 0)
			cells[count++] = cell;
	}
	return count;
}

#else
extern int chunker_neon_is_empty;
#endif
