/* cas/base/crc32c.c and crc32c_instr.c: published vectors, and the same answers by all ways. */
#include "cas/base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cas/base/cpu.h"

enum { TEXT_LEN = 4096 };
static uint8_t text[TEXT_LEN + 16];

static uint64_t
next_random(uint64_t *seed)
{
	*seed += 0x9e3779b97f4a7c15u;
	uint64_t z = *seed;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static int
make_text(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (uint8_t)next_random(&seed);
	return 0;
}

/* The definition in the header, bit by bit. */
static uint32_t
slow_byte(uint32_t r, uint8_t byte)
{
	r ^= byte;
	for (int bit = 0; bit < 8; bit++)
		r = r & 1 ? r >> 1 ^ 0x82f63b78u : r >> 1;
	return r;
}

static uint64_t
slow_pair(uint64_t seed, const uint8_t *data, size_t len)
{
	uint32_t a = ~(uint32_t)seed, b = ~(uint32_t)(seed >> 32) ^ 0x6c617264u;

	for (size_t i = 0; i < len; i++) {
		if (i / 8 % 2 == 0)
			a = slow_byte(a, data[i]);
		else
			b = slow_byte(b, data[i]);
	}
	return (uint64_t)(~(b ^ 0x6c617264u)) << 32 | (uint32_t)~a;
}

static const struct {
	uint32_t mask; /* given to cpu_narrow() */
	const char *name;
} machines[] = { { CPU_ALL, "this machine" }, { 0, "tables" } };

/* RFC 3720, B.4, and the check value of the catalogues. */
static void
published_vectors_hold(void **state)
{
	uint8_t bytes[32];

	(void)state;
	for (size_t m = 0; m < 2; m++) {
		cpu_narrow(machines[m].mask);
		assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
		assert_int_equal(crc32c(0, NULL, 0), 0);
		memset(bytes, 0, sizeof bytes);
		assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
		memset(bytes, 0xff, sizeof bytes);
		assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
		for (uint8_t i = 0; i < 32; i++)
			bytes[i] = i;
		assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
		for (uint8_t i = 0; i < 32; i++)
			bytes[i] = (uint8_t)(31 - i);
		assert_int_equal(crc32c(0, bytes, 32), 0x113fdb5c);
	}
	cpu_narrow(CPU_ALL);
}

static void
instruction_and_tables_agree_at_every_length_and_offset(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 300; len++)
		for (size_t at = 0; at < 8; at++) {
			uint64_t want = slow_pair(7 * len, text + at, len);
			uint32_t crc = ~(uint32_t)len;

			for (size_t i = 0; i < len; i++)
				crc = slow_byte(crc, text[at + i]);
			for (size_t m = 0; m < 2; m++) {
				cpu_narrow(machines[m].mask);
				assert_int_equal(
				    crc32c((uint32_t)len, text + at, len), (uint32_t)~crc);
				assert_true(crc32c_pair(7 * len, text + at, len) == want);
			}
			cpu_narrow(CPU_ALL);
		}
	for (size_t len = 300; len <= TEXT_LEN; len += 61) {
		assert_int_equal(crc32c(5, text, len), crc32c_by_table(5, text, len));
		assert_true(crc32c_pair(5, text, len) == crc32c_pair_by_table(5, text, len));
	}
}

static void
a_crc_goes_on_over_pieces_of_any_length(void **state)
{
	uint32_t whole = crc32c(0, text, 1000);

	(void)state;
	for (size_t cut = 0; cut <= 1000; cut++)
		assert_int_equal(crc32c(crc32c(0, text, cut), text + cut, 1000 - cut), whole);
}

static void
a_pair_goes_on_and_shows_cuts_that_are_no_multiple_of_sixteen(void **state)
{
	uint64_t whole = crc32c_pair(99, text, 256);

	(void)state;
	for (size_t cut = 0; cut <= 256; cut++) {
		uint64_t pieces = crc32c_pair(crc32c_pair(99, text, cut), text + cut, 256 - cut);

		assert_int_equal(pieces == whole, cut % 16 == 0 || cut == 256);
	}
}

/* Pinned: worked out from the definition by a second program: it stands in index values on disk. */
static void
a_pair_is_the_one_in_the_header(void **state)
{
	(void)state;
	assert_true(crc32c_pair(0, NULL, 0) == 0);
	assert_int_equal((uint32_t)crc32c_pair(0, "12345678", 8), crc32c(0, "12345678", 8));
	assert_true(crc32c_pair(0, "12345678", 8) >> 32 == 0);
	assert_true(crc32c_pair(0, "123456789", 9) == 0xd07dd6476087809a);
	assert_true(
	    crc32c_pair(0x0123456789abcdef, "the quick brown fox jumps", 25) == 0x2e98c2b103ed89e7);
}

static void
every_flipped_bit_and_every_added_zero_is_noticed(void **state)
{
	uint8_t copy[100];
	uint64_t good = crc32c_pair(3, text, sizeof copy);

	(void)state;
	memcpy(copy, text, sizeof copy);
	for (size_t bit = 0; bit < 8 * sizeof copy; bit++) {
		copy[bit / 8] = (uint8_t)(copy[bit / 8] ^ 1 << bit % 8);
		assert_true(crc32c_pair(3, copy, sizeof copy) != good);
		copy[bit / 8] = (uint8_t)(copy[bit / 8] ^ 1 << bit % 8);
	}
	memset(copy, 0, sizeof copy);
	for (size_t len = 1; len < sizeof copy; len++) {
		assert_true(crc32c_pair(3, copy, len) != crc32c_pair(3, copy, len - 1));
		assert_true(crc32c_pair(3, copy, len) != crc32c_pair(4, copy, len));
	}
}

static void
equal_words_in_both_registers_give_different_halves(void **state)
{
	uint64_t pair = crc32c_pair(0, "samewordsameword", 16);

	(void)state;
	assert_true((uint32_t)pair != (uint32_t)(pair >> 32));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors_hold),
		cmocka_unit_test(instruction_and_tables_agree_at_every_length_and_offset),
		cmocka_unit_test(a_crc_goes_on_over_pieces_of_any_length),
		cmocka_unit_test(a_pair_goes_on_and_shows_cuts_that_are_no_multiple_of_sixteen),
		cmocka_unit_test(a_pair_is_the_one_in_the_header),
		cmocka_unit_test(every_flipped_bit_and_every_added_zero_is_noticed),
		cmocka_unit_test(equal_words_in_both_registers_give_different_halves),
	};

	return cmocka_run_group_tests_name("crc32c", tests, make_text, NULL);
}
