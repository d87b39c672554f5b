/* Hints about files: bytes in, the same bytes out. */
#include "tests/unit/t_index.h"

struct put {
	uint8_t key[16];
	const void *data;
	size_t len;
};

static int
put_seen(void *context, struct index_write *write, struct larder_err *err)
{
	const struct put *put = context;

	return index_seen_put(write, put->key, put->data, put->len, err);
}

static int
clear_seen(void *context, struct index_write *write, struct larder_err *err)
{
	(void)context;
	return index_seen_clear(write, err);
}

static void
hints_of_every_length_come_back(void **state)
{
	static const size_t lengths[] = { 0, 1, 7, 100, 2000, 4080, 4096, 16000, ROW_SEEN_MAX };
	struct index *index = test_index_open(state);
	uint8_t *data = malloc(ROW_SEEN_MAX);
	struct larder_err err = { 0 };
	struct buf out = { 0 };
	struct index_read *read;

	assert_non_null(data);
	test_fill(data, ROW_SEEN_MAX, 3);
	for (uint8_t i = 0; i < test_count(lengths); i++) {
		struct put put = { { i }, data, lengths[i] };

		assert_ok(index_update(index, put_seen, &put, &err), &err);
	}
	index_close(index);
	index = test_index_open(state);
	read = test_begin(index);
	for (uint8_t i = 0; i < test_count(lengths); i++) {
		uint8_t key[16] = { i };

		assert_ok(index_seen_get(&out, read, key, &err), &err);
		assert_int_equal(out.len, lengths[i]);
		if (out.len > 0)
			assert_memory_equal(out.data, data, out.len);
	}
	index_read_end(read);
	assert_sound(index);
	index_close(index);
	buf_release(&out);
	free(data);
}

static void
a_hint_that_is_not_there_is_no_event(void **state)
{
	struct index *index = test_index_open(state);
	struct put put = { { 1 }, "x", 1 };
	struct larder_err err = { 0 };
	uint8_t key[16] = { 2 };
	struct buf out = { 0 };
	struct index_read *read;

	assert_ok(index_update(index, put_seen, &put, NULL), NULL);
	read = test_begin(index);
	assert_int_equal(index_seen_get(&out, read, key, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(err.status, LARDER_OK);
	index_read_end(read);
	index_close(index);
}

static void
a_hint_is_replaced(void **state)
{
	struct index *index = test_index_open(state);
	struct put put = { { 1 }, "a longer hint than the next", 27 };
	struct index_counts counts;
	struct buf out = { 0 };
	struct index_read *read;

	assert_ok(index_update(index, put_seen, &put, NULL), NULL);
	put.data = "short";
	put.len = 5;
	assert_ok(index_update(index, put_seen, &put, NULL), NULL);
	read = test_begin(index);
	assert_ok(index_seen_get(&out, read, put.key, NULL), NULL);
	assert_int_equal(out.len, 5);
	assert_memory_equal(out.data, "short", 5);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.seen, 1);
	index_read_end(read);
	assert_sound(index);
	index_close(index);
	buf_release(&out);
}

static void
a_hint_beyond_60_kib_is_refused(void **state)
{
	struct index *index = test_index_open(state);
	struct put put = { { 1 }, NULL, ROW_SEEN_MAX + 1 };
	struct larder_err err = { 0 };
	struct index_read *read;
	struct buf out = { 0 };

	put.data = calloc(1, put.len);
	assert_non_null(put.data);
	assert_status(LARDER_ERR_LIMIT, index_update(index, put_seen, &put, &err), &err);
	assert_message(&err, "61441 bytes");
	read = test_begin(index);
	assert_status(LARDER_ERR_NOT_FOUND, index_seen_get(&out, read, put.key, NULL), NULL);
	index_read_end(read);
	free((void *)(uintptr_t)put.data);
	index_close(index);
}

static void
a_buffer_that_is_too_small_is_a_limit(void **state)
{
	struct index *index = test_index_open(state);
	struct put put = { { 1 }, "seventeen bytes..", 17 };
	struct larder_err err = { 0 };
	struct index_read *read;
	struct buf out;

	buf_init(&out, 16);
	assert_ok(index_update(index, put_seen, &put, NULL), NULL);
	read = test_begin(index);
	assert_status(LARDER_ERR_LIMIT, index_seen_get(&out, read, put.key, &err), &err);
	index_read_end(read);
	buf_release(&out);
	index_close(index);
}

static void
clearing_takes_all_hints_and_nothing_else(void **state)
{
	struct index *index = test_index_open(state);
	uint8_t *data = calloc(1, 3000);
	struct index_counts counts;
	struct buf out = { 0 };
	struct index_read *read;

	assert_non_null(data);
	test_add_chunks(index, 0, 100);
	for (int i = 0; i < 200; i++) {
		struct put put = { { (uint8_t)i }, data, (size_t)i * 15 };

		assert_ok(index_update(index, put_seen, &put, NULL), NULL);
	}
	assert_ok(index_update(index, clear_seen, NULL, NULL), NULL);
	assert_sound(index);
	read = test_begin(index);
	for (int i = 0; i < 200; i++) {
		uint8_t key[16] = { (uint8_t)i };

		assert_status(LARDER_ERR_NOT_FOUND, index_seen_get(&out, read, key, NULL), NULL);
	}
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.seen, 0);
	assert_int_equal(counts.chunks, 100);
	index_read_end(read);
	assert_ok(index_update(index, clear_seen, NULL, NULL), NULL);
	assert_sound(index);
	free(data);
	index_close(index);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(hints_of_every_length_come_back),
		test_case(a_hint_that_is_not_there_is_no_event),
		test_case(a_hint_is_replaced),
		test_case(a_hint_beyond_60_kib_is_refused),
		test_case(a_buffer_that_is_too_small_is_a_limit),
		test_case(clearing_takes_all_hints_and_nothing_else),
	};

	return test_run(cases);
}
