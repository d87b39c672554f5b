/* cas/base/id.c */
#include "tests/harness.h"

#include "cas/base/id.h"
#include "tests/doubles/doubles.h"

static const char sample_hex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

static void
hex_goes_there_and_back(void **state)
{
	struct larder_id id, again;
	char hex[ID_HEX_LEN + 1];

	(void)state;
	for (uint8_t i = 0; i < LARDER_ID_LEN; i++)
		id.bytes[i] = i;
	id.bytes[31] = 0xff;
	id_to_hex(hex, &id);
	assert_string_equal(hex, sample_hex);
	assert_true(id_from_hex(&again, hex, 64));
	assert_true(id_equal(&id, &again));
	assert_true(id_from_hex(
	    &again, "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1EFF", 64));
	assert_true(id_equal(&id, &again));
}

static void
wrong_hex_is_refused_and_leaves_the_id_alone(void **state)
{
	static const char wrong[] = "ghGHzZ/:@`\0 -\xff";
	struct larder_id id, before;
	char hex[ID_HEX_LEN + 1];

	(void)state;
	memset(&id, 7, sizeof id);
	before = id;
	assert_false(id_from_hex(&id, sample_hex, 63));
	assert_false(id_from_hex(&id, sample_hex, 62));
	assert_false(id_from_hex(&id, sample_hex, 65));
	assert_false(id_from_hex(&id, "", 0));
	assert_false(id_from_hex(&id, sample_hex, SIZE_MAX));
	for (size_t at = 0; at < 64; at += 21)
		for (size_t i = 0; i < sizeof wrong - 1; i++) {
			memcpy(hex, sample_hex, sizeof hex);
			hex[at] = wrong[i];
			assert_false(id_from_hex(&id, hex, 64));
		}
	assert_true(id_equal(&id, &before));
}

static void
short_ids_go_there_and_back(void **state)
{
	struct larder_err err = { 0 };
	struct id16 a, b;
	char hex[ID16_HEX_LEN + 1];

	(void)state;
	assert_ok(id16_random(&a, &err), &err);
	assert_ok(id16_random(&b, &err), &err);
	assert_memory_not_equal(a.bytes, b.bytes, ID16_LEN);
	id16_to_hex(hex, &a);
	assert_int_equal(strlen(hex), 32);
	assert_true(id16_from_hex(&b, hex, 32));
	assert_memory_equal(a.bytes, b.bytes, ID16_LEN);
	assert_false(id16_from_hex(&b, hex, 31));
	assert_false(id16_from_hex(&b, hex, 30));
	assert_false(id16_from_hex(&b, "0123456789abcdef0123456789abcdeg", 32));

	random_seeded_set(1);
	random_seeded_fail_after(0);
	assert_status(LARDER_ERR_IO, id16_random(&a, &err), &err);
}

static void
zero_is_recognised(void **state)
{
	struct larder_id id = { { 0 } };

	(void)state;
	assert_true(id_is_zero(&id));
	for (size_t i = 0; i < LARDER_ID_LEN; i++) {
		id.bytes[i] = 0x80;
		assert_false(id_is_zero(&id));
		id.bytes[i] = 0;
	}
}

static void
ids_are_ordered_by_their_bytes(void **state)
{
	struct larder_id a = { { 0 } }, b = { { 0 } };

	(void)state;
	assert_int_equal(id_compare(&a, &b), 0);
	b.bytes[31] = 1;
	assert_true(id_compare(&a, &b) < 0);
	a.bytes[0] = 0x80; /* unsigned */
	b.bytes[0] = 0x7f;
	assert_true(id_compare(&a, &b) > 0);
}

static void
a_prefix_spans_its_ids(void **state)
{
	static const struct {
		const char *prefix, *lowest, *highest;
	} rows[] = {
		{ "a", "a0", "af" },
		{ "0", "00", "0f" },
		{ "F", "f0", "ff" },
		{ "a7", "a700", "a7ff" },
		{ "a71", "a710", "a71f" },
	};

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct larder_id low, high;
		char low_hex[ID_HEX_LEN + 1], high_hex[ID_HEX_LEN + 1];
		size_t n = strlen(rows[i].lowest);

		assert_true(id_prefix_range(&low, &high, rows[i].prefix, strlen(rows[i].prefix)));
		id_to_hex(low_hex, &low);
		id_to_hex(high_hex, &high);
		assert_memory_equal(low_hex, rows[i].lowest, n);
		assert_memory_equal(high_hex, rows[i].highest, n);
		for (size_t at = n; at < ID_HEX_LEN; at++) {
			assert_int_equal(low_hex[at], '0');
			assert_int_equal(high_hex[at], 'f');
		}
	}
}

static void
a_whole_id_spans_itself(void **state)
{
	struct larder_id low, high;

	(void)state;
	assert_true(id_prefix_range(&low, &high, sample_hex, 64));
	assert_true(id_equal(&low, &high));
}

static void
wrong_prefixes_are_refused(void **state)
{
	struct larder_id low, high;
	char hex[70];

	(void)state;
	memset(hex, 'a', sizeof hex);
	assert_false(id_prefix_range(&low, &high, hex, 0));
	assert_false(id_prefix_range(&low, &high, hex, 65));
	assert_false(id_prefix_range(&low, &high, hex, SIZE_MAX));
	assert_false(id_prefix_range(&low, &high, "g", 1));
	assert_false(id_prefix_range(&low, &high, "abx", 3));
	assert_false(id_prefix_range(&low, &high, "a b", 3));
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(hex_goes_there_and_back),
		test_case(wrong_hex_is_refused_and_leaves_the_id_alone),
		test_case(short_ids_go_there_and_back),
		test_case(zero_is_recognised),
		test_case(ids_are_ordered_by_their_bytes),
		test_case(a_prefix_spans_its_ids),
		test_case(a_whole_id_spans_itself),
		test_case(wrong_prefixes_are_refused),
	};

	return test_run(cases);
}
