/*
 * The search of chunker_lanes.h with AVX-512: a row is one register of sixteen
 * lanes, and VPDPWSSD multiplies and adds in one instruction.
 *
 * Built with -mavx512f -mavx512bw -mavx512vnni; empty elsewhere. Nothing here
 * may be called before cpu.c was asked.
 */
#include "cas/object/chunker_lanes.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

#include <immintrin.h>

static inline __m512i
load(const uint8_t *p)
{
	return _mm512_loadu_si512((const void *)p);
}

size_t
chunker_lanes_vnni(struct chunker_cell *cells, const struct chunker *chunker,
    const struct chunker_class *class, const uint8_t *data, size_t len, uint64_t at)
{
	const __m512i constant = _mm512_set1_epi32((int)chunker->constant);
	const __m512i mask = _mm512_set1_epi32(CHUNKER_HASH_MASK);
	const __m512i loose = _mm512_set1_epi32((int)class->loose);
	const __m512i strict = _mm512_set1_epi32((int)class->strict);
	__m512i keys[4], older[CHUNKER_ROWS];
	size_t count = 0;

	for (int i = 0; i < 4; i++)
		keys[i] = _mm512_set1_epi32((int)chunker_key_pair(chunker, i));
	for (int row = 0; row < CHUNKER_ROWS; row++) {
		uint32_t h16[16] = { 0 };

		for (int i = 0; i < 4; i++)
			h16[12 + i] = chunker_h16(chunker, data - 32 + row + 4 * i);
		older[row] = _mm512_loadu_si512(h16);
	}

	for (size_t i = 0; i < len; i += CHUNKER_CELL_PLACES) {
		__m512i hash[CHUNKER_ROWS];
		uint32_t found[CHUNKER_ROWS], all = 0;

		chunker_read_ahead(data + i);
#pragma GCC unroll 4
		for (int row = 0; row < CHUNKER_ROWS; row++) {
			const uint8_t *p = data + i + row - 16;
			__m512i h16 = constant;

			h16 = _mm512_dpwssd_epi32(h16, load(p), keys[0]);
			h16 = _mm512_dpwssd_epi32(h16, load(p + 4), keys[1]);
			h16 = _mm512_dpwssd_epi32(h16, load(p + 8), keys[2]);
			h16 = _mm512_dpwssd_epi32(h16, load(p + 12), keys[3]);
			older[row] = _mm512_alignr_epi32(h16, older[row], 12);
			hash[row] = _mm512_and_si512(
			    mask, _mm512_add_epi32(h16, _mm512_rol_epi32(older[row], 16)));
			older[row] = h16;
			found[row] = _mm512_cmplt_epi32_mask(hash[row], loose);
			all |= found[row];
		}
		if (all == 0)
			continue;
		cells[count].at = at + i;
		cells[count].loose = chunker_weave(found);
#pragma GCC unroll 4
		for (int row = 0; row < CHUNKER_ROWS; row++)
			found[row] = _mm512_cmplt_epi32_mask(hash[row], strict);
		cells[count].strict = chunker_weave(found);
		count++;
	}
	return count;
}

#else
extern int chunker_vnni_is_empty;
#endif
