/*
 * SHA-256 by the SHA instructions of x86-64 and arm64, of one message or of
 * two at a time: each instruction waits for the one before it, so that a
 * second message fills the gaps.
 *
 * Both machines do four rounds with a pair of instructions, on a state split
 * into two registers, and compute four words of the schedule at once. The two
 * halves of this file give the same names to these steps:
 *
 *   struct message  state, and m[4]: the sixteen words that the schedule keeps
 *   take_block      m = the next block
 *   four_rounds     rounds 4i .. 4i+3, with m[i % 4]
 *   four_words      m[i % 4] = the words for sixteen rounds on
 */
#include "cas/base/sha256_lanes.h"

#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)

#include <immintrin.h>

/* The instructions want a, b, e, f in one register and c, d, g, h in the other. */
struct message {
	__m128i abef, cdgh;
	__m128i abef_before, cdgh_before;
	__m128i m[4];
};

INLINE void
take_state(struct message *x, const uint32_t *state, int stride)
{
#define WORD(i) ((int)state[(i)*stride])
	x->abef = _mm_set_epi32(WORD(0), WORD(1), WORD(4), WORD(5));
	x->cdgh = _mm_set_epi32(WORD(2), WORD(3), WORD(6), WORD(7));
#undef WORD
}

INLINE void
give_state(uint32_t *state, const struct message *x, int stride)
{
	state[0 * stride] = (uint32_t)_mm_extract_epi32(x->abef, 3);
	state[1 * stride] = (uint32_t)_mm_extract_epi32(x->abef, 2);
	state[2 * stride] = (uint32_t)_mm_extract_epi32(x->cdgh, 3);
	state[3 * stride] = (uint32_t)_mm_extract_epi32(x->cdgh, 2);
	state[4 * stride] = (uint32_t)_mm_extract_epi32(x->abef, 1);
	state[5 * stride] = (uint32_t)_mm_extract_epi32(x->abef, 0);
	state[6 * stride] = (uint32_t)_mm_extract_epi32(x->cdgh, 1);
	state[7 * stride] = (uint32_t)_mm_extract_epi32(x->cdgh, 0);
}

INLINE __m128i
load_words(const uint8_t *p)
{
	const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);

	return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), swap);
}

INLINE void
take_block(struct message *x, const uint8_t *p)
{
	x->abef_before = x->abef;
	x->cdgh_before = x->cdgh;
	x->m[0] = load_words(p);
	x->m[1] = load_words(p + 16);
	x->m[2] = load_words(p + 32);
	x->m[3] = load_words(p + 48);
}

/* Each instruction does two rounds with the two low words of its last operand. */
INLINE void
four_rounds(struct message *x, int i)
{
	const __m128i *k = (const __m128i *)(const void *)(sha256_k + 4 * i);
	__m128i wk = _mm_add_epi32(x->m[i % 4], _mm_loadu_si128(k));

	x->cdgh = _mm_sha256rnds2_epu32(x->cdgh, x->abef, wk);
	x->abef = _mm_sha256rnds2_epu32(x->abef, x->cdgh, _mm_shuffle_epi32(wk, 0x0e));
}

INLINE void
four_words(struct message *x, int i)
{
	__m128i *m = x->m;
	__m128i seven_back = _mm_alignr_epi8(m[(i + 3) % 4], m[(i + 2) % 4], 4);
	__m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(m[i % 4], m[(i + 1) % 4]), seven_back);

	m[i % 4] = _mm_sha256msg2_epu32(sum, m[(i + 3) % 4]);
}

INLINE void
end_block(struct message *x)
{
	x->abef = _mm_add_epi32(x->abef, x->abef_before);
	x->cdgh = _mm_add_epi32(x->cdgh, x->cdgh_before);
}

#elif defined(__aarch64__)

/* gcc 12 hides these intrinsics behind +crypto, whatever -march=...+sha2 says. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("+crypto")
#endif
#include <arm_neon.h>

struct message {
	uint32x4_t abcd, efgh;
	uint32x4_t abcd_before, efgh_before;
	uint32x4_t m[4];
};

INLINE void
take_state(struct message *x, const uint32_t *state, int stride)
{
	uint32_t words[8];

	for (int i = 0; i < 8; i++)
		words[i] = state[i * stride];
	x->abcd = vld1q_u32(words);
	x->efgh = vld1q_u32(words + 4);
}

INLINE void
give_state(uint32_t *state, const struct message *x, int stride)
{
	uint32_t words[8];

	vst1q_u32(words, x->abcd);
	vst1q_u32(words + 4, x->efgh);
	for (int i = 0; i < 8; i++)
		state[i * stride] = words[i];
}

INLINE uint32x4_t
load_words(const uint8_t *p)
{
	return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p)));
}

INLINE void
take_block(struct message *x, const uint8_t *p)
{
	x->abcd_before = x->abcd;
	x->efgh_before = x->efgh;
	x->m[0] = load_words(p);
	x->m[1] = load_words(p + 16);
	x->m[2] = load_words(p + 32);
	x->m[3] = load_words(p + 48);
}

INLINE void
four_rounds(struct message *x, int i)
{
	uint32x4_t wk = vaddq_u32(x->m[i % 4], vld1q_u32(sha256_k + 4 * i));
	uint32x4_t abcd = x->abcd;

	x->abcd = vsha256hq_u32(abcd, x->efgh, wk);
	x->efgh = vsha256h2q_u32(x->efgh, abcd, wk);
}

INLINE void
four_words(struct message *x, int i)
{
	uint32x4_t *m = x->m;

	m[i % 4] = vsha256su1q_u32(
	    vsha256su0q_u32(m[i % 4], m[(i + 1) % 4]), m[(i + 2) % 4], m[(i + 3) % 4]);
}

INLINE void
end_block(struct message *x)
{
	x->abcd = vaddq_u32(x->abcd, x->abcd_before);
	x->efgh = vaddq_u32(x->efgh, x->efgh_before);
}

#endif

#if defined(__x86_64__) || defined(__aarch64__)

/* GROUP(i) for all sixteen groups of four rounds; with constants, so that m[] stays in registers.
 */
#define SIXTEEN_GROUPS(GROUP)                                                                      \
	FOUR_GROUPS(GROUP, 0);                                                                     \
	FOUR_GROUPS(GROUP, 4);                                                                     \
	FOUR_GROUPS(GROUP, 8);                                                                     \
	FOUR_GROUPS(GROUP, 12)
#define FOUR_GROUPS(GROUP, i)                                                                      \
	GROUP(i);                                                                                  \
	GROUP((i) + 1);                                                                            \
	GROUP((i) + 2);                                                                            \
	GROUP((i) + 3)

#define GROUP_OF_ONE(i)                                                                            \
	do {                                                                                       \
		four_rounds(&x, i);                                                                \
		if ((i) < 12)                                                                      \
			four_words(&x, i);                                                         \
	} while (0)

#define GROUP_OF_TWO(i)                                                                            \
	do {                                                                                       \
		four_rounds(&x, i);                                                                \
		four_rounds(&y, i);                                                                \
		if ((i) < 12) {                                                                    \
			four_words(&x, i);                                                         \
			four_words(&y, i);                                                         \
		}                                                                                  \
	} while (0)

void
sha256_blocks_instr(uint32_t *state, const uint8_t *const *data, size_t blocks)
{
	const uint8_t *p = data[0];
	struct message x;

	take_state(&x, state, 1);
	for (; blocks > 0; blocks--, p += 64) {
		take_block(&x, p);
		SIXTEEN_GROUPS(GROUP_OF_ONE);
		end_block(&x);
	}
	give_state(state, &x, 1);
}

void
sha256_blocks_instr_two(uint32_t *state, const uint8_t *const *data, size_t blocks)
{
	const uint8_t *p = data[0], *q = data[1];
	struct message x, y;

	take_state(&x, state, 2);
	take_state(&y, state + 1, 2);
	for (; blocks > 0; blocks--, p += 64, q += 64) {
		take_block(&x, p);
		take_block(&y, q);
		SIXTEEN_GROUPS(GROUP_OF_TWO);
		end_block(&x);
		end_block(&y);
	}
	give_state(state, &x, 2);
	give_state(state + 1, &y, 2);
}

#endif
