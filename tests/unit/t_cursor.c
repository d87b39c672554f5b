/* cas/base/cursor.h and cas/base/bytes.h */
#include "tests/harness.h"

#include "cas/base/cursor.h"

static void
numbers_are_read_as_they_were_put(void **state)
{
	static const uint8_t bytes[] = { 1, 3, 2, 7, 6, 5, 4, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a,
		0x09, 0x08, 0x80, 0x01 };
	struct cursor c = cursor_of(bytes, sizeof bytes);

	(void)state;
	assert_int_equal(cursor_u8(&c), 1);
	assert_int_equal(cursor_le16(&c), 0x0203);
	assert_int_equal(cursor_le32(&c), 0x04050607);
	assert_int_equal(cursor_le64(&c), 0x08090a0b0c0d0e0f);
	assert_int_equal(cursor_offset(&c), 15);
	assert_int_equal(cursor_left(&c), 2);
	assert_false(cursor_done(&c));
	assert_int_equal(cursor_varint(&c), 128);
	assert_true(cursor_done(&c));
}

static void
the_highest_bits_survive(void **state)
{
	uint8_t bytes[8];

	(void)state;
	put_le16(bytes, 0xfffe);
	assert_int_equal(get_le16(bytes), 0xfffe);
	put_le32(bytes, 0xfffefdfc);
	assert_int_equal(get_le32(bytes), 0xfffefdfc);
	put_le64(bytes, 0xfffefdfcfbfaf9f8);
	assert_int_equal(get_le64(bytes), 0xfffefdfcfbfaf9f8);
	put_be64(bytes, 0x0102030405060708);
	assert_memory_equal(bytes, "\1\2\3\4\5\6\7\10", 8);
	assert_int_equal(get_be64(bytes), 0x0102030405060708);
}

static void
reading_past_the_end_is_bad_for_good(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 3 };
	struct cursor c = cursor_of(bytes, sizeof bytes);
	struct larder_id id;

	(void)state;
	assert_int_equal(cursor_le32(&c), 0);
	assert_true(c.bad);
	assert_int_equal(cursor_u8(&c), 0); /* though there is one */
	assert_int_equal(cursor_le16(&c), 0);
	assert_int_equal(cursor_le64(&c), 0);
	assert_int_equal(cursor_varint(&c), 0);
	assert_null(cursor_bytes(&c, 1));
	assert_null(cursor_bytes(&c, 0));
	memset(&id, 1, sizeof id);
	cursor_id(&c, &id);
	for (size_t i = 0; i < LARDER_ID_LEN; i++)
		assert_int_equal(id.bytes[i], 0);
	assert_int_equal(cursor_offset(&c), 0);
	assert_false(cursor_done(&c));
}

static void
lengths_that_overflow_are_past_the_end(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 3 };
	struct cursor c = cursor_of(bytes, sizeof bytes);

	(void)state;
	assert_null(cursor_bytes(&c, SIZE_MAX));
	assert_true(c.bad);
	c = cursor_of(bytes, sizeof bytes);
	assert_null(cursor_bytes(&c, 4));
	assert_true(c.bad);
	c = cursor_of(NULL, 0);
	assert_true(cursor_done(&c));
	assert_int_equal(cursor_u8(&c), 0);
	assert_true(c.bad);
}

static void
bytes_are_lent_and_counted(void **state)
{
	static const uint8_t bytes[40] = { 9, 8 };
	struct cursor c = cursor_of(bytes, sizeof bytes);
	struct larder_id id;

	(void)state;
	assert_ptr_equal(cursor_bytes(&c, 2), bytes);
	assert_ptr_equal(cursor_bytes(&c, 0), bytes + 2);
	assert_ptr_equal(cursor_bytes(&c, 6), bytes + 2);
	cursor_id(&c, &id);
	assert_memory_equal(id.bytes, bytes + 8, 32);
	assert_true(cursor_done(&c));
	assert_non_null(cursor_bytes(&c, 0)); /* nothing more is not past the end */
	assert_true(cursor_done(&c));
}

static void
varints_go_there_and_back(void **state)
{
	(void)state;
	for (unsigned shift = 0; shift < 64; shift++)
		for (int64_t delta = -1; delta <= 1; delta++) {
			uint64_t v = ((uint64_t)1 << shift) + (uint64_t)delta;
			uint8_t bytes[VARINT_LEN_MAX];
			size_t n = put_varint(bytes, v);
			struct cursor c = cursor_of(bytes, n);

			assert_int_equal(n, varint_len(v));
			assert_true(n >= 1 && n <= VARINT_LEN_MAX);
			assert_true(cursor_varint(&c) == v);
			assert_true(cursor_done(&c));
			for (size_t cut = 0; cut < n; cut++) {
				c = cursor_of(bytes, cut);
				assert_int_equal(cursor_varint(&c), 0);
				assert_true(c.bad);
			}
		}
}

static void
only_the_shortest_varint_is_valid(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} wrong[] = {
		{ "\x80\x00", 2 }, /* zero in two bytes */
		{ "\xff\x00", 2 }, /* 127 in two */
		{ "\x80\x80\x80\x00", 4 },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10 }, /* bit 65 */
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10 },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11 }, /* eleven bytes */
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10 },
		{ "\x80", 1 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < test_count(wrong); i++) {
		struct cursor c = cursor_of(wrong[i].bytes, wrong[i].len);

		assert_int_equal(cursor_varint(&c), 0);
		assert_true(c.bad);
	}
}

static void
zigzag_keeps_small_numbers_small(void **state)
{
	static const int64_t rows[] = { 0, -1, 1, -2, 2, 63, -64, INT64_MAX, INT64_MIN,
		INT64_MIN + 1 };

	(void)state;
	assert_int_equal(zigzag(0), 0);
	assert_int_equal(zigzag(-1), 1);
	assert_int_equal(zigzag(1), 2);
	assert_int_equal(zigzag(-2), 3);
	assert_true(zigzag(INT64_MIN) == UINT64_MAX);
	for (size_t i = 0; i < test_count(rows); i++)
		assert_true(unzigzag(zigzag(rows[i])) == rows[i]);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(numbers_are_read_as_they_were_put),
		test_case(the_highest_bits_survive),
		test_case(reading_past_the_end_is_bad_for_good),
		test_case(lengths_that_overflow_are_past_the_end),
		test_case(bytes_are_lent_and_counted),
		test_case(varints_go_there_and_back),
		test_case(only_the_shortest_varint_is_valid),
		test_case(zigzag_keeps_small_numbers_small),
	};

	return test_run(cases);
}
