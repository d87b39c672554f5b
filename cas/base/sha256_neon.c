/* SHA-256 of 4 messages, one in each 32-bit lane of NEON registers. */
#include "cas/base/sha256_lanes.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define VEC uint32x4_t
#define ADD(x, y) vaddq_u32(x, y)
#define XOR3(x, y, z) veorq_u32(veorq_u32(x, y), z)
#define ROR(x, n) vsriq_n_u32(vshlq_n_u32(x, 32 - (n)), x, n)
#define SHR(x, n) vshrq_n_u32(x, n)
#define CH(x, y, z) vbslq_u32(x, y, z)
/* Where x and y differ z decides. */
#define MAJ(x, y, z) vbslq_u32(veorq_u32(x, y), z, x)
#define ALL(p) vld1q_dup_u32(p)

/* w[0..3] = the four words at `at` of every message. */
static inline void
load_quarter_block(uint32x4_t w[4], const uint8_t *const *data, size_t at)
{
#define ROW(l) vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data[l] + at)))
	uint32x4x2_t ab = vtrnq_u32(ROW(0), ROW(1));
	uint32x4x2_t cd = vtrnq_u32(ROW(2), ROW(3));
#undef ROW

	w[0] = vcombine_u32(vget_low_u32(ab.val[0]), vget_low_u32(cd.val[0]));
	w[1] = vcombine_u32(vget_low_u32(ab.val[1]), vget_low_u32(cd.val[1]));
	w[2] = vcombine_u32(vget_high_u32(ab.val[0]), vget_high_u32(cd.val[0]));
	w[3] = vcombine_u32(vget_high_u32(ab.val[1]), vget_high_u32(cd.val[1]));
}

void
sha256_blocks_neon(uint32_t *state, const uint8_t *const *data, size_t blocks)
{
	uint32x4_t s[8], w[16];

	for (int i = 0; i < 8; i++)
		s[i] = vld1q_u32(state + 4 * i);
	for (size_t at = 0; at < 64 * blocks; at += 64) {
		load_quarter_block(w, data, at);
		load_quarter_block(w + 4, data, at + 16);
		load_quarter_block(w + 8, data, at + 32);
		load_quarter_block(w + 12, data, at + 48);
		SHA256_BLOCK(s, w);
	}
	for (int i = 0; i < 8; i++)
		vst1q_u32(state + 4 * i, s[i]);
}

#endif
