/* Positions in journals: one per writer, the last one put. */
#include "tests/unit/t_index.h"

static struct index_position
a_position(uint64_t writer, uint64_t n)
{
	return (struct index_position){
		.writer = test_id16(writer),
		.segment = n,
		.offset = n * 1000,
		.sequence = n + 5,
		.chain = test_id(n),
	};
}

static int
put_position(void *context, struct index_write *write, struct larder_err *err)
{
	return index_position_put(write, context, err);
}

static void
assert_position(const struct index_position *got, uint64_t writer, uint64_t n)
{
	struct index_position want = a_position(writer, n);

	assert_memory_equal(&got->writer, &want.writer, sizeof want.writer);
	assert_true(got->segment == want.segment && got->offset == want.offset &&
		    got->sequence == want.sequence);
	assert_memory_equal(&got->chain, &want.chain, sizeof want.chain);
}

static void
the_last_position_of_each_writer_is_kept(void **state)
{
	struct index *index = test_index_open(state);
	struct index_position position;
	struct index_read *read;

	for (uint64_t n = 0; n < 5; n++)
		for (uint64_t writer = 0; writer < 3; writer++) {
			position = a_position(writer, n * 1000000);
			assert_ok(index_update(index, put_position, &position, NULL), NULL);
		}
	index_close(index);
	index = test_index_open(state);
	read = test_begin(index);
	for (uint64_t writer = 0; writer < 3; writer++) {
		struct id16 id = test_id16(writer);

		assert_ok(index_position_get(&position, read, &id, NULL), NULL);
		assert_position(&position, writer, 4000000);
	}
	index_read_end(read);
	assert_sound(index);
	index_close(index);
}

static void
a_writer_of_whom_nothing_was_applied_is_not_found(void **state)
{
	struct index *index = test_index_open(state);
	struct index_position position = a_position(1, 1);
	struct id16 other = test_id16(2), zero = { { 0 } };
	struct larder_err err = { 0 };
	struct index_read *read = test_begin(index);

	assert_int_equal(index_position_get(&position, read, &other, &err), LARDER_ERR_NOT_FOUND);
	assert_ok(index_update(index, put_position, &position, NULL), NULL);
	assert_ok(index_read_renew(read, NULL), NULL);
	assert_int_equal(index_position_get(&position, read, &other, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(index_position_get(&position, read, &zero, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(err.status, LARDER_OK);
	index_read_end(read);
	index_close(index);
}

struct walk {
	int count, stop_after;
	struct id16 last;
};

static int
visit(void *context, const struct index_position *position, struct larder_err *err)
{
	struct walk *walk = context;

	(void)err;
	if (walk->count > 0 && memcmp(&position->writer, &walk->last, sizeof walk->last) <= 0)
		return LARDER_ERR_USAGE;
	walk->last = position->writer;
	return ++walk->count == walk->stop_after ? 9 : 0;
}

static void
every_writer_is_visited_once(void **state)
{
	struct index *index = test_index_open(state);
	struct index_read *read = test_begin(index);
	struct index_position position;
	struct walk walk = { 0 };

	assert_ok(index_position_each(read, visit, &walk, NULL), NULL);
	assert_int_equal(walk.count, 0);
	for (uint64_t writer = 0; writer < 100; writer++) {
		position = a_position(writer, writer);
		assert_ok(index_update(index, put_position, &position, NULL), NULL);
	}
	assert_ok(index_read_renew(read, NULL), NULL);
	assert_ok(index_position_each(read, visit, &walk, NULL), NULL);
	assert_int_equal(walk.count, 100);
	walk = (struct walk){ .stop_after = 4 };
	assert_int_equal(index_position_each(read, visit, &walk, NULL), 9);
	index_read_end(read);
	index_close(index);
}

/* Position and what was applied go together. */
static int
apply_and_fail(void *context, struct index_write *write, struct larder_err *err)
{
	struct test_chunks chunks = { 0, 10 };
	int rc = test_put_chunks(&chunks, write, err);

	if (rc == 0)
		rc = index_position_put(write, context, err);
	return rc < 0 ? rc : LARDER_ERR_IO;
}

static void
a_position_is_only_there_with_what_was_applied(void **state)
{
	struct index *index = test_index_open(state);
	struct index_position position = a_position(1, 1), got;
	struct index_counts counts;
	struct index_read *read;

	assert_status(LARDER_ERR_IO, index_update(index, apply_and_fail, &position, NULL), NULL);
	read = test_begin(index);
	assert_status(
	    LARDER_ERR_NOT_FOUND, index_position_get(&got, read, &position.writer, NULL), NULL);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.chunks, 0);
	index_read_end(read);
	index_close(index);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(the_last_position_of_each_writer_is_kept),
		test_case(a_writer_of_whom_nothing_was_applied_is_not_found),
		test_case(every_writer_is_visited_once),
		test_case(a_position_is_only_there_with_what_was_applied),
	};

	return test_run(cases);
}
