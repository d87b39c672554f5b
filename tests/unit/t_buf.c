/* cas/base/buf.c */
#include "tests/harness.h"

#include "cas/base/buf.h"
#include "tests/doubles/doubles.h"

static void
an_empty_struct_is_an_empty_buffer(void **state)
{
	struct buf b = { 0 };

	(void)state;
	buf_release(&b);
	assert_ok(buf_append(&b, NULL, 0), NULL);
	assert_int_equal(b.len, 0);
	assert_ok(buf_append(&b, "abc", 3), NULL);
	assert_ok(buf_append(&b, NULL, 0), NULL);
	assert_int_equal(b.len, 3);
	assert_memory_equal(b.data, "abc", 3);
	buf_release(&b);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	buf_release(&b);
}

static void
numbers_are_little_endian_and_varints_short(void **state)
{
	static const uint8_t want[] = { 0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d,
		0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x7f, 0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0x01, 0x02, 'h', 'i', 0x00 };
	struct buf b = { 0 };

	(void)state;
	assert_ok(buf_append_u8(&b, 1), NULL);
	assert_ok(buf_append_le16(&b, 0x0203), NULL);
	assert_ok(buf_append_le32(&b, 0x04050607), NULL);
	assert_ok(buf_append_le64(&b, 0x08090a0b0c0d0e0f), NULL);
	assert_ok(buf_append_varint(&b, 127), NULL);
	assert_ok(buf_append_varint(&b, 128), NULL);
	assert_ok(buf_append_varint(&b, UINT64_MAX), NULL);
	assert_ok(buf_append_lenstr(&b, "hi", 2), NULL);
	assert_ok(buf_append_lenstr(&b, NULL, 0), NULL);
	assert_int_equal(b.len, sizeof want);
	assert_memory_equal(b.data, want, sizeof want);
	buf_release(&b);
}

static void
growing_keeps_the_content(void **state)
{
	struct buf b = { 0 };

	(void)state;
	for (unsigned i = 0; i < 100000; i++)
		assert_ok(buf_append_u8(&b, (uint8_t)(i * 7)), NULL);
	assert_int_equal(b.len, 100000);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(b.data[i], (uint8_t)(i * 7));
	buf_release(&b);
}

static void
exactly_the_maximum_fits_and_one_more_does_not(void **state)
{
	struct larder_err err = { 0 };
	uint8_t bytes[1001] = { 0 };

	(void)state;
	for (size_t max = 1; max <= 1000; max += 37) {
		struct buf b;

		buf_init(&b, max);
		assert_ok(buf_append(&b, bytes, max), NULL);
		assert_int_equal(b.len, max);
		assert_true(b.room <= max);
		assert_status(LARDER_ERR_LIMIT, buf_append_u8(&b, 1), NULL);
		assert_status(LARDER_ERR_LIMIT, buf_reserve(&b, 1), NULL);
		assert_status(LARDER_ERR_LIMIT, buf_resize(&b, max + 1), NULL);
		assert_int_equal(b.len, max);
		buf_clear(&b);
		assert_status(LARDER_ERR_LIMIT, buf_append(&b, bytes, max + 1), NULL);
		assert_status(LARDER_ERR_LIMIT, buf_reserve(&b, SIZE_MAX), NULL);
		assert_int_equal(b.len, 0);
		assert_status(LARDER_ERR_LIMIT, buf_err(&b, LARDER_ERR_LIMIT, &err), &err);
		assert_message(&err, "more than");
		buf_release(&b);
		assert_int_equal(b.max, max);
	}
}

static void
a_string_goes_in_with_its_length_or_not_at_all(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4);
	assert_status(LARDER_ERR_LIMIT, buf_append_lenstr(&b, "abcd", 4), NULL);
	assert_int_equal(b.len, 0);
	assert_ok(buf_append_lenstr(&b, "abc", 3), NULL);
	assert_memory_equal(b.data, "\3abc", 4);
	assert_status(LARDER_ERR_LIMIT, buf_append_lenstr(&b, "", 0), NULL);
	assert_status(LARDER_ERR_LIMIT, buf_append_lenstr(&b, "x", SIZE_MAX), NULL);
	buf_release(&b);
}

static void
the_default_maximum_holds(void **state)
{
	struct buf b = { 0 };

	(void)state;
	assert_ok(buf_resize(&b, BUF_MAX_DEFAULT), NULL);
	assert_status(LARDER_ERR_LIMIT, buf_append_u8(&b, 0), NULL);
	buf_release(&b);
}

static void
out_of_memory_changes_nothing(void **state)
{
	struct larder_err err = { 0 };
	struct buf b = { 0 };
	uint8_t *data;
	size_t room;

	(void)state;
	mem_faulty_set(2, false);
	assert_ok(buf_append(&b, "abc", 3), NULL);
	data = b.data;
	room = b.room;
	assert_status(LARDER_ERR_NOMEM, buf_resize(&b, 1000), NULL);
	assert_status(LARDER_ERR_NOMEM, buf_err(&b, LARDER_ERR_NOMEM, &err), &err);
	assert_message(&err, "memory");
	assert_ptr_equal(b.data, data);
	assert_int_equal(b.room, room);
	assert_int_equal(b.len, 3);
	assert_ok(buf_resize(&b, 1000), NULL);
	assert_memory_equal(b.data, "abc", 3);
	buf_release(&b);
	assert_int_equal(mem_faulty_live(), 0);
}

static void
moving_hands_over(void **state)
{
	struct buf a, b;

	(void)state;
	mem_faulty_set(0, false);
	buf_init(&a, 100);
	buf_init(&b, 200);
	assert_ok(buf_append(&a, "old", 3), NULL);
	assert_ok(buf_append(&b, "new", 3), NULL);
	buf_move(&a, &b);
	assert_memory_equal(a.data, "new", 3);
	assert_int_equal(a.max, 200);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_ok(buf_append(&b, "x", 1), NULL);
	buf_release(&b);
	buf_release(&a);
	assert_int_equal(mem_faulty_live(), 0);
}

static void
resizing_down_keeps_the_front(void **state)
{
	struct buf b = { 0 };

	(void)state;
	assert_ok(buf_append(&b, "abcdef", 6), NULL);
	assert_ok(buf_resize(&b, 2), NULL);
	assert_ok(buf_append(&b, "z", 1), NULL);
	assert_memory_equal(b.data, "abz", 3);
	assert_int_equal(b.len, 3);
	buf_release(&b);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(an_empty_struct_is_an_empty_buffer),
		test_case(numbers_are_little_endian_and_varints_short),
		test_case(growing_keeps_the_content),
		test_case(exactly_the_maximum_fits_and_one_more_does_not),
		test_case(a_string_goes_in_with_its_length_or_not_at_all),
		test_case(the_default_maximum_holds),
		test_case(out_of_memory_changes_nothing),
		test_case(moving_hands_over),
		test_case(resizing_down_keeps_the_front),
	};

	return test_run(cases);
}
