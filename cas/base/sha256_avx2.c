/* SHA-256 of 8 messages, one in each 32-bit lane of AVX2 registers. */
#include "cas/base/sha256_lanes.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define VEC __m256i
#define ADD(x, y) _mm256_add_epi32(x, y)
#define AND(x, y) _mm256_and_si256(x, y)
#define XOR(x, y) _mm256_xor_si256(x, y)
#define XOR3(x, y, z) XOR(XOR(x, y), z)
#define ROR(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define SHR(x, n) _mm256_srli_epi32(x, n)
#define ALL(p) _mm256_set1_epi32((int)*(p))
#define CH(x, y, z) XOR(z, AND(x, XOR(y, z)))
/* Written so that x ^ y of one round is y ^ z of the next and the compiler sees it. */
#define MAJ(x, y, z) XOR(y, AND(XOR(x, y), XOR(y, z)))

/* Rows of 8 words of four lanes: half q of row i becomes word 4q + i of all four. */
static inline void
turn_halves(__m256i *r)
{
	__m256i ab_low = _mm256_unpacklo_epi32(r[0], r[1]);
	__m256i ab_high = _mm256_unpackhi_epi32(r[0], r[1]);
	__m256i cd_low = _mm256_unpacklo_epi32(r[2], r[3]);
	__m256i cd_high = _mm256_unpackhi_epi32(r[2], r[3]);

	r[0] = _mm256_unpacklo_epi64(ab_low, cd_low);
	r[1] = _mm256_unpackhi_epi64(ab_low, cd_low);
	r[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
	r[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
}

/* w[0..7] = the eight words at `at` of every message, its bytes swapped. */
static inline void
load_half_block(__m256i w[8], const uint8_t *const *data, size_t at)
{
	const __m256i swap = _mm256_broadcastsi128_si256(
	    _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
	__m256i r[8];

#define ROW(l)                                                                                     \
	r[l] = _mm256_shuffle_epi8(                                                                \
	    _mm256_loadu_si256((const __m256i *)(const void *)(data[l] + at)), swap)
	ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7);
#undef ROW
	turn_halves(r);
	turn_halves(r + 4);
	/* Lanes 0..3 are in r[0..3], 4..7 in r[4..7]: put them side by side. */
#define JOIN(i)                                                                                    \
	w[i] = _mm256_permute2x128_si256(r[i], r[(i) + 4], 0x20);                                  \
	w[(i) + 4] = _mm256_permute2x128_si256(r[i], r[(i) + 4], 0x31)
	JOIN(0);
	JOIN(1);
	JOIN(2);
	JOIN(3);
#undef JOIN
}

void
sha256_blocks_avx2(uint32_t *state, const uint8_t *const *data, size_t blocks)
{
	__m256i *aligned = (__m256i *)(void *)state;
	__m256i s[8], w[16];

	for (int i = 0; i < 8; i++)
		s[i] = _mm256_load_si256(aligned + i);
	for (size_t at = 0; at < 64 * blocks; at += 64) {
		load_half_block(w, data, at);
		load_half_block(w + 8, data, at + 32);
		SHA256_BLOCK(s, w);
	}
	for (int i = 0; i < 8; i++)
		_mm256_store_si256(aligned + i, s[i]);
}

#endif
