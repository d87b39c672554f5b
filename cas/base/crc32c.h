#ifndef LARDER_CRC32C_H
#define LARDER_CRC32C_H

/*
 * CRC-32C (Castagnoli), and a check of 64 bits made of two of them.
 *
 * Both notice rot; neither resists anyone who means to deceive. By the
 * instruction of SSE4.2 or arm64 where the machine has it, else by tables,
 * with equal results.
 */
#include <stddef.h>
#include <stdint.h>

/*
 * CRC-32C as RFC 3720 and others publish it: polynomial 0x1EDC6F41, bits
 * reflected, register starts as all ones and is inverted at the end.
 *
 * `crc` is 0 for a fresh start, or the result for the bytes before:
 * crc32c(crc32c(0, a), b) is that of a and b in a row.
 * crc32c(0, "123456789", 9) = 0xe3069283.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/*
 * A check of 64 bits in the time of one CRC: the data are dealt out in words
 * of 8 bytes to two CRC-32C registers. Exactly:
 *
 *   a = low 32 bits of `seed`, inverted
 *   b = high 32 bits of `seed`, inverted, xor 0x6c617264
 *   byte i of data goes, in order of i, into register a if (i / 8) is even,
 *   into register b if it is odd (the last word may be short)
 *   result = (b xor 0x6c617264, inverted) << 32 | (a, inverted)
 *
 * So for up to 8 bytes, and seed 0, the low half is crc32c(0, data).
 *
 * Over several buffers: the result of one is the seed of the next. The deal
 * begins anew with each call, so where the buffers end is part of the check,
 * except that a cut at a multiple of 16 bytes cannot be seen. Who checks
 * fields of variable length includes their lengths.
 *
 * Damage within one word is seen by one register, damage to more by both. Any
 * burst of up to 32 bits is always noticed, anything else is missed with
 * 2^-32 if it leaves one of the registers' data alone, else with 2^-64.
 */
uint64_t crc32c_pair(uint64_t seed, const void *data, size_t len);

/* The table versions, for tests and for machines without the instruction. */
uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t len);
uint64_t crc32c_pair_by_table(uint64_t seed, const void *data, size_t len);

/* crc32c_instr.c; only after cpu_has(CPU_CRC32C). */
uint32_t crc32c_by_instr(uint32_t crc, const void *data, size_t len);
uint64_t crc32c_pair_by_instr(uint64_t seed, const void *data, size_t len);

/* What the second register of the pair is crossed with, so that the two start differently. */
#define CRC32C_PAIR_SECOND 0x6c617264u

#endif
