#ifndef LARDER_SHA256_LANES_H
#define LARDER_SHA256_LANES_H

/*
 * What sha256.c and its lane files share. Nobody else includes this.
 *
 * Every way to digest is one function of this type: it takes `blocks` blocks
 * of 64 bytes from each of its W messages through the compression function.
 *
 *   state   8 * W words: word i of lane l is state[i * W + l]; aligned to 64
 *   data    W pointers, each to at least 64 * blocks readable bytes, unaligned
 *
 * There is always a message in each lane. Who has fewer than W points the idle
 * lanes at any other's data and ignores what becomes of their state.
 */
#include <stddef.h>
#include <stdint.h>

typedef void sha256_blocks(uint32_t *state, const uint8_t *const *data, size_t blocks);

enum { SHA256_LANES_MAX = 16 };

#if defined(__x86_64__) || defined(__aarch64__)
sha256_blocks sha256_blocks_instr, sha256_blocks_instr_two;
#endif
#if defined(__x86_64__)
sha256_blocks sha256_blocks_avx2, sha256_blocks_avx512vl, sha256_blocks_avx512;
#endif
#if defined(__aarch64__)
sha256_blocks sha256_blocks_neon;
#endif

/* Use nothing but the scalar way from now on. For the self-check, and the test of what follows it.
 */
void sha256_distrust(void);

/*
 * The 64 round constants: first 32 bits of the fractional parts of the cube
 * roots of the first 64 primes. An array that the lane files cannot see into:
 * given the values, gcc moves each through a general register and a busy port,
 * from memory the broadcast costs nothing.
 */
extern const uint32_t sha256_k[64];

/*
 * The compression function, once for all widths, the scalar one included.
 * A file that uses it defines
 *
 *   VEC                 one 32-bit word of every lane
 *   ADD(x, y) XOR3(x, y, z) ROR(x, n) SHR(x, n)
 *   CH(x, y, z)         x ? y : z, bit by bit
 *   MAJ(x, y, z)        what at least two of three say, bit by bit
 *   ALL(p)              the word at p, in every lane
 *
 * SHA256_BLOCK(s, w) then takes the state `VEC s[8]` through one block, given
 * as `VEC w[16]` in the machine's byte order; w is used up. Rounds come by
 * sixteens, after which a..h are back in their places: the first sixteen take
 * the message as it is, the others the schedule, each of whose words takes the
 * place of the one sixteen rounds before. NEXT(i) is the word for round i.
 */
#define SHA256_BLOCK(s, w)                                                                         \
	do {                                                                                       \
		VEC a = s[0], b = s[1], c = s[2], d = s[3];                                        \
		VEC e = s[4], f = s[5], g = s[6], h = s[7];                                        \
		const uint32_t *k = sha256_k;                                                      \
		SHA256_SIXTEEN(SHA256_FIRST);                                                      \
		for (int more = 0; more < 3; more++) {                                             \
			k += 16;                                                                   \
			SHA256_SIXTEEN(SHA256_LATER);                                              \
		}                                                                                  \
		s[0] = ADD(s[0], a), s[1] = ADD(s[1], b), s[2] = ADD(s[2], c);                     \
		s[3] = ADD(s[3], d), s[4] = ADD(s[4], e), s[5] = ADD(s[5], f);                     \
		s[6] = ADD(s[6], g), s[7] = ADD(s[7], h);                                          \
	} while (0)

#define SHA256_SIXTEEN(NEXT)                                                                       \
	SHA256_EIGHT(0, NEXT);                                                                     \
	SHA256_EIGHT(8, NEXT)

#define SHA256_EIGHT(i, NEXT)                                                                      \
	SHA256_ROUND(a, b, c, d, e, f, g, h, (i) + 0, NEXT);                                       \
	SHA256_ROUND(h, a, b, c, d, e, f, g, (i) + 1, NEXT);                                       \
	SHA256_ROUND(g, h, a, b, c, d, e, f, (i) + 2, NEXT);                                       \
	SHA256_ROUND(f, g, h, a, b, c, d, e, (i) + 3, NEXT);                                       \
	SHA256_ROUND(e, f, g, h, a, b, c, d, (i) + 4, NEXT);                                       \
	SHA256_ROUND(d, e, f, g, h, a, b, c, (i) + 5, NEXT);                                       \
	SHA256_ROUND(c, d, e, f, g, h, a, b, (i) + 6, NEXT);                                       \
	SHA256_ROUND(b, c, d, e, f, g, h, a, (i) + 7, NEXT)

#define SHA256_ROUND(a, b, c, d, e, f, g, h, i, NEXT)                                              \
	do {                                                                                       \
		VEC t = ADD(ADD(h, ALL(k + (i))), NEXT(i));                                        \
		t = ADD(t, ADD(CH(e, f, g), XOR3(ROR(e, 6), ROR(e, 11), ROR(e, 25))));             \
		d = ADD(d, t);                                                                     \
		h = ADD(t, ADD(MAJ(a, b, c), XOR3(ROR(a, 2), ROR(a, 13), ROR(a, 22))));            \
	} while (0)

#define SHA256_FIRST(i) (w[i])
#define SHA256_LATER(i)                                                                            \
	(w[i] = ADD(ADD(w[i], w[((i) + 9) & 15]),                                                  \
	     ADD(SHA256_SMALL_0(w[((i) + 1) & 15]), SHA256_SMALL_1(w[((i) + 14) & 15]))))
#define SHA256_SMALL_0(x) XOR3(ROR(x, 7), ROR(x, 18), SHR(x, 3))
#define SHA256_SMALL_1(x) XOR3(ROR(x, 17), ROR(x, 19), SHR(x, 10))

#endif
