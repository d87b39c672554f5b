/*
 * The search of chunker_lanes.h with AVX2: a row of sixteen places is two
 * registers of eight lanes, taken one after the other.
 *
 * Built with -mavx2; empty elsewhere. Nothing here may be called before cpu.c
 * was asked.
 */
#include "cas/object/chunker_lanes.h"

#if defined(__AVX2__)

#include <immintrin.h>

static inline __m256i
load(const uint8_t *p)
{
	return _mm256_loadu_si256((const void *)p);
}

/* One shuffle of bytes is cheaper than two shifts and their sum. */
static inline __m256i
rotate_16(__m256i x)
{
	const __m256i swap = _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
	    2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);

	return _mm256_shuffle_epi8(x, swap);
}

/* Bit i of the answer: lane i of `hash` is below that of `rate`. */
static inline uint32_t
below(__m256i hash, __m256i rate)
{
	return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(rate, hash)));
}

size_t
chunker_lanes_avx2(struct chunker_cell *cells, const struct chunker *chunker,
    const struct chunker_class *class, const uint8_t *data, size_t len, uint64_t at)
{
	const __m256i constant = _mm256_set1_epi32((int)chunker->constant);
	const __m256i mask = _mm256_set1_epi32(CHUNKER_HASH_MASK);
	const __m256i loose = _mm256_set1_epi32((int)class->loose);
	const __m256i strict = _mm256_set1_epi32((int)class->strict);
	__m256i keys[4], older[CHUNKER_ROWS];
	size_t count = 0;

	for (int i = 0; i < 4; i++)
		keys[i] = _mm256_set1_epi32((int)chunker_key_pair(chunker, i));
	for (int row = 0; row < CHUNKER_ROWS; row++) {
		uint32_t h16[8] = { 0 };

		for (int i = 0; i < 4; i++)
			h16[4 + i] = chunker_h16(chunker, data - 32 + row + 4 * i);
		older[row] = _mm256_loadu_si256((const void *)h16);
	}

	for (size_t i = 0; i < len; i += CHUNKER_CELL_PLACES) {
		struct chunker_cell cell = { .at = at + i };

		chunker_read_ahead(data + i);
		for (int half = 0; half < 2; half++) {
			__m256i hash[CHUNKER_ROWS], least = mask;

#pragma GCC unroll 4
			for (int row = 0; row < CHUNKER_ROWS; row++) {
				const uint8_t *p = data + i + 32 * half + row - 16;
				__m256i h16 = constant;

				h16 = _mm256_add_epi32(h16, _mm256_madd_epi16(load(p), keys[0]));
				h16 =
				    _mm256_add_epi32(h16, _mm256_madd_epi16(load(p + 4), keys[1]));
				h16 =
				    _mm256_add_epi32(h16, _mm256_madd_epi16(load(p + 8), keys[2]));
				h16 =
				    _mm256_add_epi32(h16, _mm256_madd_epi16(load(p + 12), keys[3]));
				older[row] = _mm256_permute2x128_si256(older[row], h16, 0x21);
				hash[row] = _mm256_and_si256(
				    mask, _mm256_add_epi32(h16, rotate_16(older[row])));
				older[row] = h16;
				least = _mm256_min_epi32(least, hash[row]);
			}
			if (below(least, loose) == 0)
				continue;
#pragma GCC unroll 4
			for (int row = 0; row < CHUNKER_ROWS; row++) {
				cell.loose |= chunker_spread(below(hash[row], loose))
					      << (32 * half + row);
				cell.strict |= chunker_spread(below(hash[row], strict))
					       << (32 * half + row);
			}
		}
		if (cell.loose != 0)
			cells[count++] = cell;
	}
	return count;
}

#else
extern int chunker_avx2_is_empty;
#endif
