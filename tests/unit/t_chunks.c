/* Chunks: what was put is found, in order too, and nothing else is. */
#include "tests/unit/t_index.h"

#include "cas/base/bytes.h"

static void
what_was_put_is_there_also_after_reopening(void **state)
{
	struct index *index = test_index_open(state);
	struct index_read *read;
	struct index_counts counts;

	for (uint64_t n = 0; n < 5000; n += 1000)
		test_add_chunks(index, n, 1000);
	index_close(index);
	index = test_index_open(state);
	read = test_begin(index);
	for (uint64_t n = 0; n < 5000; n++)
		assert_chunk(read, n);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.chunks, 5000);
	index_read_end(read);
	assert_sound(index);
	index_close(index);
}

static void
a_chunk_that_is_not_there_is_no_event(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_err err = { .status = LARDER_OK };
	struct larder_id id = test_id(7);
	struct index_place place = { .pack = 42 };
	struct index_read *read;

	test_add_chunks(index, 0, 7);
	read = test_begin(index);
	assert_int_equal(index_chunk_get(&place, read, &id, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(err.status, LARDER_OK);
	assert_string_equal(err.message, "");
	assert_int_equal(place.pack, 42);
	index_read_end(read);
	index_close(index);
}

/* Another place for chunk 1. */
static int
put_again(void *context, struct index_write *write, struct larder_err *err)
{
	struct larder_id id = test_id(1);
	struct index_place place = test_place(2);

	(void)context;
	return index_chunk_put(write, &id, &place, err) == 0 ? 0 : LARDER_ERR_USAGE;
}

static void
the_first_place_stays(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_err err = { 0 };
	struct index_read *read;

	test_add_chunks(index, 0, 3);
	assert_ok(index_update(index, put_again, NULL, &err), &err);
	read = test_begin(index);
	assert_chunk(read, 1);
	index_read_end(read);
	assert_sound(index);
	index_close(index);
}

/* ---- dropping ---- */

struct drop {
	uint64_t n;
	uint32_t pack;
};

static int
drop_chunk(void *context, struct index_write *write, struct larder_err *err)
{
	const struct drop *drop = context;
	struct larder_id id = test_id(drop->n);

	return index_chunk_drop(write, &id, drop->pack, err);
}

static void
a_chunk_is_dropped_only_from_its_pack(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_id id = test_id(5);
	struct index_counts counts;
	struct index_place place;
	struct index_read *read;
	struct drop drop = { 5, 7 };

	test_add_chunks(index, 0, 10);
	assert_status(LARDER_ERR_NOT_FOUND, index_update(index, drop_chunk, &drop, NULL), NULL);
	drop.n = 99;
	assert_status(LARDER_ERR_NOT_FOUND, index_update(index, drop_chunk, &drop, NULL), NULL);
	drop = (struct drop){ 5, 6 };
	assert_ok(index_update(index, drop_chunk, &drop, NULL), NULL);
	assert_status(LARDER_ERR_NOT_FOUND, index_update(index, drop_chunk, &drop, NULL), NULL);
	read = test_begin(index);
	assert_int_equal(index_chunk_get(&place, read, &id, NULL), LARDER_ERR_NOT_FOUND);
	assert_chunk(read, 4);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.chunks, 9);
	index_read_end(read);
	assert_sound(index);
	index_close(index);
}

/* ---- appending ---- */

static int
by_id(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct larder_id));
}

struct append {
	struct larder_id *ids;
	size_t count;
	int last;
};

static int
append_all(void *context, struct index_write *write, struct larder_err *err)
{
	struct append *append = context;

	append->last = 1;
	for (size_t i = 0; i < append->count && append->last >= 0; i++) {
		struct index_place place = test_place(i);

		append->last = index_chunk_append(write, &append->ids[i], &place, err);
	}
	return append->last;
}

static void
chunks_can_be_appended_in_order(void **state)
{
	enum { COUNT = 3000 };
	struct index *index = test_index_open(state);
	struct larder_id *ids = calloc(COUNT, sizeof *ids);
	struct append append = { ids, COUNT, 0 };
	struct index_read *read;
	struct larder_err err = { 0 };

	assert_non_null(ids);
	for (size_t i = 0; i < COUNT; i++)
		ids[i] = test_id(i);
	qsort(ids, COUNT, sizeof *ids, by_id);
	assert_ok(index_update(index, append_all, &append, &err), &err);
	assert_int_equal(append.last, 1);

	read = test_begin(index);
	for (size_t i = 0; i < COUNT; i++) {
		struct index_place place;

		assert_ok(index_chunk_get(&place, read, &ids[i], &err), &err);
		assert_true(is_place(&place, i));
	}
	index_read_end(read);
	assert_sound(index);

	/* the last one again: the first stays; one before it: out of order */
	append = (struct append){ ids + COUNT - 1, 1, 7 };
	assert_ok(index_update(index, append_all, &append, &err), &err);
	assert_int_equal(append.last, 0);
	ids[0].bytes[31] ^= 1;
	append = (struct append){ ids, 1, 7 };
	assert_status(LARDER_ERR_USAGE, index_update(index, append_all, &append, &err), &err);
	assert_message(&err, "out of order");
	assert_sound(index);
	free(ids);
	index_close(index);
}

/* ---- ranges ---- */

struct walk {
	struct larder_id last;
	uint64_t count, stop_after;
	bool rose;
};

static int
count_chunk(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	struct walk *walk = context;

	(void)place, (void)err;
	walk->rose = walk->rose && (walk->count == 0 || id_compare(id, &walk->last) > 0);
	walk->last = *id;
	return ++walk->count == walk->stop_after ? 77 : 0;
}

static void
chunks_come_in_order_within_both_bounds(void **state)
{
	enum { COUNT = 500 };
	struct index *index = test_index_open(state);
	struct larder_id ids[COUNT], none = { { 0 } }, all;
	struct walk walk = { .rose = true };
	struct index_read *read;

	memset(all.bytes, 0xff, sizeof all.bytes);
	test_add_chunks(index, 0, COUNT);
	for (size_t i = 0; i < COUNT; i++)
		ids[i] = test_id(i);
	qsort(ids, COUNT, sizeof ids[0], by_id);
	read = test_begin(index);

	assert_ok(index_chunk_each(read, &none, &all, count_chunk, &walk, NULL), NULL);
	assert_true(walk.rose);
	assert_int_equal(walk.count, COUNT);

	walk = (struct walk){ .rose = true };
	assert_ok(index_chunk_each(read, &ids[10], &ids[19], count_chunk, &walk, NULL), NULL);
	assert_int_equal(walk.count, 10);
	assert_true(id_equal(&walk.last, &ids[19]));

	walk = (struct walk){ .rose = true };
	assert_ok(index_chunk_each(read, &ids[19], &ids[10], count_chunk, &walk, NULL), NULL);
	assert_int_equal(walk.count, 0);

	walk = (struct walk){ .rose = true, .stop_after = 3 };
	assert_int_equal(index_chunk_each(read, &none, &all, count_chunk, &walk, NULL), 77);
	assert_int_equal(walk.count, 3);
	index_read_end(read);
	index_close(index);
}

/* A walk inside a walk of the same handle. */
static int
look_up_inside(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	struct larder_id found;
	struct index_place same;
	int rc = index_chunk_by_prefix(&found, &same, context, get_be64(id->bytes), err);

	if (rc == 0 && (!id_equal(&found, id) || same.pack != place->pack))
		rc = LARDER_ERR_USAGE;
	return rc;
}

static void
a_chunk_is_found_by_the_start_of_its_id(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_id none = { { 0 } }, all, id;
	struct larder_err err = { 0 };
	struct index_place place;
	struct index_read *read;

	read = test_begin(index);
	assert_status(
	    LARDER_ERR_NOT_FOUND, index_chunk_by_prefix(&id, &place, read, 0, NULL), NULL);
	index_read_end(read);

	memset(all.bytes, 0xff, sizeof all.bytes);
	test_add_chunks(index, 0, 300);
	read = test_begin(index);
	assert_ok(index_chunk_each(read, &none, &all, look_up_inside, read, &err), &err);
	assert_status(
	    LARDER_ERR_NOT_FOUND, index_chunk_by_prefix(&id, &place, read, 0, NULL), NULL);
	assert_status(
	    LARDER_ERR_NOT_FOUND, index_chunk_by_prefix(&id, &place, read, UINT64_MAX, NULL), NULL);
	index_read_end(read);
	index_close(index);
}

/* ---- transactions ---- */

static int
put_and_fail(void *context, struct index_write *write, struct larder_err *err)
{
	int rc = test_put_chunks(context, write, err);

	return rc < 0 ? rc : err_set(err, LARDER_ERR_CANCELLED, "enough");
}

static void
an_update_that_fails_leaves_nothing(void **state)
{
	struct index *index = test_index_open(state);
	struct test_chunks chunks = { 100, 50 };
	struct larder_err err = { 0 };
	struct larder_id id = test_id(100);
	struct index_counts counts;
	struct index_place place;
	struct index_read *read;

	test_add_chunks(index, 0, 100);
	assert_status(LARDER_ERR_CANCELLED, index_update(index, put_and_fail, &chunks, &err), &err);
	assert_message(&err, "enough");
	read = test_begin(index);
	assert_int_equal(index_chunk_get(&place, read, &id, NULL), LARDER_ERR_NOT_FOUND);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.chunks, 100);
	index_read_end(read);
	test_add_chunks(index, 100, 50);
	assert_sound(index);
	index_close(index);
}

static int
look_inside(void *context, struct index_write *write, struct larder_err *err)
{
	struct index_read *view = index_write_view(write);
	struct larder_id all, none = { { 0 } };
	struct test_chunks chunks = { 0, 20 };
	struct walk walk = { .rose = true };
	struct index_counts counts;
	struct drop drop = { 3, 4 };
	int rc;

	(void)context;
	memset(all.bytes, 0xff, sizeof all.bytes);
	rc = test_put_chunks(&chunks, write, err);
	if (rc == 0)
		rc = drop_chunk(&drop, write, err);
	if (rc == 0)
		rc = index_counts_get(&counts, view, err);
	if (rc == 0)
		rc = index_chunk_each(view, &none, &all, count_chunk, &walk, err);
	if (rc == 0 && (counts.chunks != 19 || walk.count != 19 || !walk.rose))
		rc = LARDER_ERR_USAGE;
	return rc;
}

static void
an_update_sees_its_own_changes(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_err err = { 0 };

	assert_ok(index_update(index, look_inside, NULL, &err), &err);
	assert_sound(index);
	index_close(index);
}

static void
a_reader_sees_its_snapshot_until_it_is_renewed(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_id id = test_id(1);
	struct index_read *read;
	struct index_place place;

	test_add_chunks(index, 0, 1);
	read = test_begin(index);
	test_add_chunks(index, 1, 1);
	assert_int_equal(index_chunk_get(&place, read, &id, NULL), LARDER_ERR_NOT_FOUND);
	assert_ok(index_read_renew(read, NULL), NULL);
	assert_chunk(read, 1);
	index_read_end(read);
	index_close(index);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(what_was_put_is_there_also_after_reopening),
		test_case(a_chunk_that_is_not_there_is_no_event),
		test_case(the_first_place_stays),
		test_case(a_chunk_is_dropped_only_from_its_pack),
		test_case(chunks_can_be_appended_in_order),
		test_case(chunks_come_in_order_within_both_bounds),
		test_case(a_chunk_is_found_by_the_start_of_its_id),
		test_case(an_update_that_fails_leaves_nothing),
		test_case(an_update_sees_its_own_changes),
		test_case(a_reader_sees_its_snapshot_until_it_is_renewed),
	};

	return test_run(cases);
}
