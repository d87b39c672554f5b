/*
 * CRC-32C by the instruction of SSE4.2 or arm64: 8 bytes in three cycles, since
 * each waits for the one before; the pair's two registers run in that time too.
 */
#include "cas/base/crc32c.h"

#if defined(__x86_64__) || defined(__aarch64__)

#include "cas/base/bytes.h"

#if defined(__x86_64__)

#include <nmmintrin.h>

static inline uint32_t
add_word(uint32_t r, const uint8_t *p)
{
	return (uint32_t)_mm_crc32_u64(r, get_le64(p));
}

static inline uint32_t
add_byte(uint32_t r, uint8_t byte)
{
	return _mm_crc32_u8(r, byte);
}

static inline uint32_t
add_half_word(uint32_t r, const uint8_t *p)
{
	return _mm_crc32_u32(r, get_le32(p));
}

#else

#include <arm_acle.h>

static inline uint32_t
add_word(uint32_t r, const uint8_t *p)
{
	return __crc32cd(r, get_le64(p));
}

static inline uint32_t
add_half_word(uint32_t r, const uint8_t *p)
{
	return __crc32cw(r, get_le32(p));
}

static inline uint32_t
add_byte(uint32_t r, uint8_t byte)
{
	return __crc32cb(r, byte);
}

#endif

/* Up to seven bytes. */
static inline uint32_t
add_rest(uint32_t r, const uint8_t *p, size_t len)
{
	if (len >= 4) {
		r = add_half_word(r, p);
		p += 4;
		len -= 4;
	}
	for (; len > 0; len--, p++)
		r = add_byte(r, *p);
	return r;
}

uint32_t
crc32c_by_instr(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t r = ~crc;

	for (; len >= 8; len -= 8, p += 8)
		r = add_word(r, p);
	return ~add_rest(r, p, len);
}

uint64_t
crc32c_pair_by_instr(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t a = ~(uint32_t)seed;
	uint32_t b = ~(uint32_t)(seed >> 32) ^ CRC32C_PAIR_SECOND;

	for (; len >= 16; len -= 16, p += 16) {
		a = add_word(a, p);
		b = add_word(b, p + 8);
	}
	if (len >= 8) {
		a = add_word(a, p);
		b = add_rest(b, p + 8, len - 8);
	} else {
		a = add_rest(a, p, len);
	}
	return (uint64_t)(~(b ^ CRC32C_PAIR_SECOND)) << 32 | (uint32_t)~a;
}

#endif
