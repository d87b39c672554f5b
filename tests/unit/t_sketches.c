/* Features: the latest hint wins, and a look-up finds only what was put. */
#include "tests/unit/t_index.h"

#include "cas/base/bytes.h"

struct put {
	uint64_t first, count, add;
};

static uint64_t
feature(uint64_t n)
{
	uint8_t bytes[8];

	test_fill(bytes, sizeof bytes, n);
	return get_le64(bytes);
}

static int
put_sketches(void *context, struct index_write *write, struct larder_err *err)
{
	const struct put *put = context;

	for (uint64_t n = put->first; n < put->first + put->count; n++) {
		int rc = index_sketch_put(write, feature(n), feature(n) + put->add, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static void
assert_sketches(struct index *index, uint64_t count, uint64_t add)
{
	struct index_read *read = test_begin(index);
	uint64_t prefix;

	for (uint64_t n = 0; n < count; n++) {
		assert_ok(index_sketch_get(&prefix, read, feature(n), NULL), NULL);
		assert_true(prefix == feature(n) + add);
	}
	index_read_end(read);
}

static void
a_feature_leads_to_what_was_put_last(void **state)
{
	struct index *index = test_index_open(state);
	struct put put = { 0, 3000, 1 };
	struct index_counts counts;
	struct index_read *read;

	assert_ok(index_update(index, put_sketches, &put, NULL), NULL);
	assert_sketches(index, 3000, 1);
	put.add = UINT64_MAX / 2;
	assert_ok(index_update(index, put_sketches, &put, NULL), NULL);
	index_close(index);
	index = test_index_open(state);
	assert_sketches(index, 3000, put.add);
	read = test_begin(index);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.sketches, 3000);
	index_read_end(read);
	assert_sound(index);
	index_close(index);
}

static void
a_feature_that_nothing_has_is_not_found(void **state)
{
	static const uint64_t others[] = { 0, 1, UINT64_MAX, 1ull << 63 };
	struct index *index = test_index_open(state);
	struct put put = { 0, 100, 0 };
	struct larder_err err = { 0 };
	struct index_read *read;
	uint64_t prefix = 5;

	read = test_begin(index);
	assert_int_equal(index_sketch_get(&prefix, read, 0, &err), LARDER_ERR_NOT_FOUND);
	assert_ok(index_update(index, put_sketches, &put, NULL), NULL);
	assert_ok(index_read_renew(read, NULL), NULL);
	for (size_t i = 0; i < test_count(others); i++)
		assert_int_equal(
		    index_sketch_get(&prefix, read, others[i], &err), LARDER_ERR_NOT_FOUND);
	for (uint64_t n = 100; n < 200; n++)
		assert_int_equal(
		    index_sketch_get(&prefix, read, feature(n), &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(err.status, LARDER_OK);
	assert_int_equal(prefix, 5);
	index_read_end(read);
	index_close(index);
}

static void
a_row_costs_24_bytes(void **state)
{
	struct index *index = test_index_open(state);
	struct put put = { 0, 20000, 0 };
	struct index_counts before, after;
	struct index_read *read = test_begin(index);

	assert_ok(index_counts_get(&before, read, NULL), NULL);
	assert_ok(index_update(index, put_sketches, &put, NULL), NULL);
	assert_ok(index_read_renew(read, NULL), NULL);
	assert_ok(index_counts_get(&after, read, NULL), NULL);
	/* 22 bytes and a pointer of 2; pages of random keys are filled by two thirds */
	assert_true(after.bytes - before.bytes < 20000 * 24 * 8 / 5);
	index_read_end(read);
	index_close(index);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(a_feature_leads_to_what_was_put_last),
		test_case(a_feature_that_nothing_has_is_not_found),
		test_case(a_row_costs_24_bytes),
	};

	return test_run(cases);
}
