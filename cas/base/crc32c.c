/*
 * crc32c.c chooses between instruction and tables; the tables are here.
 *
 * A byte in the register's lowest place affects the remainder through 8 steps
 * of the polynomial: that is table[0]. table[n] is the same byte with n zero
 * bytes behind it. Eight bytes at a time are eight look-ups that do not wait
 * for each other. The tables are made on first use: few machines ever need them.
 */
#include "cas/base/crc32c.h"

#include <pthread.h>

#include "cas/base/bytes.h"
#include "cas/base/cpu.h"

#define POLYNOMIAL_REFLECTED 0x82f63b78u

static uint32_t table[8][256];
static pthread_once_t table_made = PTHREAD_ONCE_INIT;

static void
make_table(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t r = byte;

		for (int bit = 0; bit < 8; bit++)
			r = r >> 1 ^ (r & 1 ? POLYNOMIAL_REFLECTED : 0);
		table[0][byte] = r;
	}
	for (int zeros = 1; zeros < 8; zeros++)
		for (int byte = 0; byte < 256; byte++) {
			uint32_t r = table[zeros - 1][byte];

			table[zeros][byte] = r >> 8 ^ table[0][r & 0xff];
		}
}

/* The register after `p`'s 8 bytes, or after one. No inversion here. */
static uint32_t
add_word(uint32_t r, const uint8_t *p)
{
	uint64_t word = get_le64(p) ^ r;
	uint32_t sum = 0;

	for (int i = 0; i < 8; i++)
		sum ^= table[7 - i][word >> (8 * i) & 0xff];
	return sum;
}

static uint32_t
add_bytes(uint32_t r, const uint8_t *p, size_t len)
{
	for (; len > 0; len--, p++)
		r = r >> 8 ^ table[0][(r ^ *p) & 0xff];
	return r;
}

uint32_t
crc32c_by_table(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t r = ~crc;

	pthread_once(&table_made, make_table);
	for (; len >= 8; len -= 8, p += 8)
		r = add_word(r, p);
	return ~add_bytes(r, p, len);
}

uint64_t
crc32c_pair_by_table(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t a = ~(uint32_t)seed;
	uint32_t b = ~(uint32_t)(seed >> 32) ^ CRC32C_PAIR_SECOND;

	pthread_once(&table_made, make_table);
	for (; len >= 16; len -= 16, p += 16) {
		a = add_word(a, p);
		b = add_word(b, p + 8);
	}
	if (len >= 8) {
		a = add_word(a, p);
		b = add_bytes(b, p + 8, len - 8);
	} else {
		a = add_bytes(a, p, len);
	}
	return (uint64_t)(~(b ^ CRC32C_PAIR_SECOND)) << 32 | (uint32_t)~a;
}

#if defined(__x86_64__) || defined(__aarch64__)

uint32_t
crc32c(uint32_t crc, const void *data, size_t len)
{
	return cpu_has(CPU_CRC32C) ? crc32c_by_instr(crc, data, len)
				   : crc32c_by_table(crc, data, len);
}

uint64_t
crc32c_pair(uint64_t seed, const void *data, size_t len)
{
	return cpu_has(CPU_CRC32C) ? crc32c_pair_by_instr(seed, data, len)
				   : crc32c_pair_by_table(seed, data, len);
}

#else

uint32_t
crc32c(uint32_t crc, const void *data, size_t len)
{
	return crc32c_by_table(crc, data, len);
}

uint64_t
crc32c_pair(uint64_t seed, const void *data, size_t len)
{
	return crc32c_pair_by_table(seed, data, len);
}

#endif
