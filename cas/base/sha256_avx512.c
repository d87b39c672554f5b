/* SHA-256 of 16 messages, one in each 32-bit lane of AVX-512 registers. Needs F and BW. */
#include "cas/base/sha256_lanes.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define VEC __m512i
#define ADD(x, y) _mm512_add_epi32(x, y)
#define ROR(x, n) _mm512_ror_epi32(x, n)
#define SHR(x, n) _mm512_srli_epi32(x, n)
#define ALL(p) _mm512_set1_epi32((int)*(p))
/* The constant is the truth table: bit 4x + 2y + z is the answer. */
#define XOR3(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define CH(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define MAJ(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe8)

/* Four rows of 16 words: afterwards quarter q of row i holds word 4q + i of all four. */
static inline void
turn_quarters(__m512i *r)
{
	__m512i ab_low = _mm512_unpacklo_epi32(r[0], r[1]);
	__m512i ab_high = _mm512_unpackhi_epi32(r[0], r[1]);
	__m512i cd_low = _mm512_unpacklo_epi32(r[2], r[3]);
	__m512i cd_high = _mm512_unpackhi_epi32(r[2], r[3]);

	r[0] = _mm512_unpacklo_epi64(ab_low, cd_low);
	r[1] = _mm512_unpackhi_epi64(ab_low, cd_low);
	r[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
	r[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
}

/* Rows of four lanes each, as turn_quarters() leaves them: out[4q] gets quarter q of all. */
static inline void
gather_quarters(__m512i *out, __m512i r0, __m512i r1, __m512i r2, __m512i r3)
{
	__m512i even_01 = _mm512_shuffle_i32x4(r0, r1, 0x88);
	__m512i even_23 = _mm512_shuffle_i32x4(r2, r3, 0x88);
	__m512i odd_01 = _mm512_shuffle_i32x4(r0, r1, 0xdd);
	__m512i odd_23 = _mm512_shuffle_i32x4(r2, r3, 0xdd);

	out[0] = _mm512_shuffle_i32x4(even_01, even_23, 0x88);
	out[4] = _mm512_shuffle_i32x4(odd_01, odd_23, 0x88);
	out[8] = _mm512_shuffle_i32x4(even_01, even_23, 0xdd);
	out[12] = _mm512_shuffle_i32x4(odd_01, odd_23, 0xdd);
}

/* w[i] = word i of the block at `at` of every message. */
static inline void
load_block(__m512i w[16], const uint8_t *const *data, size_t at)
{
	const __m512i swap = _mm512_broadcast_i32x4(
	    _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
	__m512i r[16];

#define ROW(l) r[l] = _mm512_loadu_si512(data[l] + at)
	ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7);
	ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15);
#undef ROW
	turn_quarters(r);
	turn_quarters(r + 4);
	turn_quarters(r + 8);
	turn_quarters(r + 12);
	gather_quarters(w + 0, r[0], r[4], r[8], r[12]);
	gather_quarters(w + 1, r[1], r[5], r[9], r[13]);
	gather_quarters(w + 2, r[2], r[6], r[10], r[14]);
	gather_quarters(w + 3, r[3], r[7], r[11], r[15]);

#define SWAP(i) w[i] = _mm512_shuffle_epi8(w[i], swap)
	SWAP(0), SWAP(1), SWAP(2), SWAP(3), SWAP(4), SWAP(5), SWAP(6), SWAP(7);
	SWAP(8), SWAP(9), SWAP(10), SWAP(11), SWAP(12), SWAP(13), SWAP(14), SWAP(15);
#undef SWAP
}

void
sha256_blocks_avx512(uint32_t *state, const uint8_t *const *data, size_t blocks)
{
	__m512i s[8], w[16];

	for (int i = 0; i < 8; i++)
		s[i] = _mm512_load_si512(state + 16 * i);
	for (size_t at = 0; at < 64 * blocks; at += 64) {
		load_block(w, data, at);
		SHA256_BLOCK(s, w);
	}
	for (int i = 0; i < 8; i++)
		_mm512_store_si512(state + 16 * i, s[i]);
}

#endif
