/* filelist.c: lists have one encoding, end by their ids, and a change makes few of them new. */
#include "tests/harness.h"

#include <stdio.h>

#include "cas/base/id.h"
#include "cas/base/sha256.h"
#include "cas/object/filelist.h"
#include "tests/doubles/doubles.h"

#define BYTES(s) (s), sizeof(s) - 1
#define ID "0123456789abcdef0123456789ABCDEF"

static int
read_all(const void *data, size_t len, struct larder_err *err)
{
	struct filelist_reader reader;
	struct filelist_item item;
	int rc = filelist_open(&reader, data, len, err);

	while (rc >= 0 && (rc = filelist_next(&reader, &item, err)) == 1)
		;
	return rc;
}

static void
bytes_are_the_ones_in_the_document(void **state)
{
	static const char want[] = "F\1\1\2\xac\2" ID "\1fedcba9876543210FEDCBA9876543210";
	struct filelist_item items[2] = { { .len = 300 }, { .len = 1 } };
	struct buf out = { 0 };
	struct filelist_reader reader;
	struct filelist_item got;

	(void)state;
	memcpy(items[0].id.bytes, want + 6, 32);
	memcpy(items[1].id.bytes, want + 39, 32);
	assert_ok(filelist_encode(&out, 1, items, 2), NULL);
	assert_int_equal(out.len, sizeof want - 1);
	assert_memory_equal(out.data, want, out.len);

	assert_ok(filelist_open(&reader, out.data, out.len, NULL), NULL);
	assert_int_equal(reader.level, 1);
	assert_int_equal(reader.left, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(filelist_next(&reader, &got, NULL), 1);
		assert_int_equal(got.len, items[i].len);
		assert_true(id_equal(&got.id, &items[i].id));
	}
	assert_int_equal(reader.size, 301);
	assert_int_equal(filelist_next(&reader, &got, NULL), 0);
	assert_int_equal(filelist_next(&reader, &got, NULL), 0);
	buf_release(&out);
}

static void
a_list_ends_by_its_last_id(void **state)
{
	struct filelist_item ends = { .len = 1, .id = { { 1, [31] = 0x40 } } };
	struct filelist_item goes_on = { .len = 1, .id = { { [31] = 0x41 } } };

	(void)state;
	assert_false(filelist_ends(FILELIST_ITEMS_MIN - 1, &ends));
	assert_true(filelist_ends(FILELIST_ITEMS_MIN, &ends));
	assert_false(filelist_ends(FILELIST_ITEMS_MIN, &goes_on));
	assert_false(filelist_ends(FILELIST_ITEMS_MAX - 1, &goes_on));
	assert_true(filelist_ends(FILELIST_ITEMS_MAX, &goes_on));
}

static void
what_is_no_list_is_refused_and_says_why(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int status;
		const char *says;
	} cases[] = {
		{ BYTES(""), LARDER_ERR_CORRUPT, "no head" },
		{ BYTES("F\1"), LARDER_ERR_CORRUPT, "no head" },
		{ BYTES("X\1\0\1\1" ID), LARDER_ERR_CORRUPT, "not a file list" },
		{ BYTES("F\2\0\1\1" ID), LARDER_ERR_VERSION, "format 2" },
		{ BYTES("F\0\0\1\1" ID), LARDER_ERR_VERSION, "format 0" },
		{ BYTES("F\1\6\1\1" ID), LARDER_ERR_CORRUPT, "level out of range" },
		{ BYTES("F\1\0"), LARDER_ERR_CORRUPT, "number of items" },
		{ BYTES("F\1\0\0"), LARDER_ERR_CORRUPT, "number of items" },
		{ BYTES("F\1\0\x81\0\1" ID), LARDER_ERR_CORRUPT, "number of items" },
		{ BYTES("F\1\0\2\1" ID), LARDER_ERR_CORRUPT, "number of items" },
		{ BYTES("F\1\0\1\0" ID), LARDER_ERR_CORRUPT, "at 4: item of no bytes" },
		{ BYTES("F\1\0\1\x81\0" ID), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("F\1\0\1\x81\1" "0123456789abcdef0123456789ABCDE"), LARDER_ERR_CORRUPT,
		    "cut short" },
		{ BYTES("F\1\0\1\x80\x80\x80\x80\x80\x80\x80\x80\x80\1" ID), LARDER_ERR_CORRUPT,
		    "more bytes than a file" },
		{ BYTES("F\1\5\2\xff\xff\xff\xff\xff\xff\xff\xff\x7f" ID "\1" ID),
		    LARDER_ERR_CORRUPT, "at 45: more bytes than a file" },
		{ BYTES("F\1\0\1\1" ID "x"), LARDER_ERR_CORRUPT, "bytes behind" },
	};

	(void)state;
	for (size_t i = 0; i < test_count(cases); i++) {
		struct larder_err err = { 0 };

		assert_status(
		    cases[i].status, read_all(cases[i].bytes, cases[i].len, &err), &err);
		assert_message(&err, cases[i].says);
	}
}

static void
more_items_than_a_list_has_are_refused(void **state)
{
	struct larder_err err = { 0 };
	struct buf out = { 0 };

	(void)state;
	assert_ok(buf_append(&out, "F\1\0\x81\x20", 5), NULL); /* 4097 */
	assert_ok(buf_resize(&out, 5 + 4097 * 33), NULL);
	memset(out.data + 5, 1, out.len - 5);
	assert_status(LARDER_ERR_CORRUPT, read_all(out.data, out.len, &err), &err);
	assert_message(&err, "number of items");
	out.data[3] = 0x80; /* 4096 */
	assert_status(LARDER_ERR_CORRUPT, read_all(out.data, out.len, &err), &err);
	assert_message(&err, "bytes behind");
	assert_ok(read_all(out.data, out.len - 33, NULL), NULL);
	buf_release(&out);
}

/* ---- builder ---- */

/* Lists as they were emitted; a store in memory. */
struct lists {
	struct buf bytes[4096];
	struct larder_id ids[4096];
	size_t count;
	size_t fail_at; /* this one fails; 0 = none */
};

static int
emit(void *context, struct larder_id *id, const void *data, size_t len, struct larder_err *err)
{
	struct lists *lists = context;

	sha256(id, data, len);
	if (lists->fail_at > 0 && lists->count + 1 == lists->fail_at) {
		err->status = LARDER_ERR_NO_SPACE;
		return LARDER_ERR_NO_SPACE;
	}
	for (size_t i = 0; i < lists->count; i++)
		if (id_equal(&lists->ids[i], id))
			return LARDER_OK;
	assert_true(lists->count < test_count(lists->ids));
	lists->ids[lists->count] = *id;
	assert_ok(buf_append(&lists->bytes[lists->count], data, len), NULL);
	lists->count++;
	return LARDER_OK;
}

static void
lists_free(struct lists *lists)
{
	for (size_t i = 0; i < lists->count; i++)
		buf_release(&lists->bytes[i]);
	free(lists);
}

static const struct buf *
lists_find(const struct lists *lists, const struct larder_id *id)
{
	for (size_t i = 0; i < lists->count; i++)
		if (id_equal(&lists->ids[i], id))
			return &lists->bytes[i];
	fail_msg("a list that was never emitted");
	return NULL;
}

static struct filelist_item
chunk_number(size_t n, bool alike)
{
	uint64_t word = alike ? 0 : n;
	struct filelist_item item = { .len = alike ? 65536 : 1 + n % 5000 };

	sha256(&item.id, &word, sizeof word);
	return item;
}

/* Chunks 0 .. count - 1 without those from..to - 1. */
static struct lists *
build(struct larder_id *id, size_t count, size_t from, size_t to, bool alike)
{
	struct lists *lists = calloc(1, sizeof *lists);
	struct filelist_builder builder;

	assert_non_null(lists);
	filelist_builder_init(&builder, emit, lists);
	for (size_t i = 0; i < count; i++) {
		struct filelist_item item = chunk_number(i, alike);

		if (i < from || i >= to)
			assert_ok(filelist_builder_add(&builder, &item.id, item.len, NULL), NULL);
	}
	assert_ok(filelist_builder_end(&builder, id, NULL), NULL);
	filelist_builder_release(&builder);
	filelist_builder_release(&builder);
	return lists;
}

/* Walk down from `id` and compare with the chunks from *next on. Returns plain bytes. */
static uint64_t
walk(const struct lists *lists, const struct larder_id *id, int level, size_t *next, bool alike)
{
	const struct buf *bytes = lists_find(lists, id);
	struct filelist_reader reader;
	struct filelist_item item;
	size_t count = 0;
	int rc;

	assert_ok(filelist_open(&reader, bytes->data, bytes->len, NULL), NULL);
	if (level >= 0)
		assert_int_equal(reader.level, level);
	while ((rc = filelist_next(&reader, &item, NULL)) == 1) {
		count++;
		if (reader.left > 0)
			assert_false(filelist_ends(count, &item));
		if (reader.level > 0) {
			assert_int_equal(
			    walk(lists, &item.id, (int)reader.level - 1, next, alike), item.len);
		} else {
			struct filelist_item want = chunk_number((*next)++, alike);

			assert_true(id_equal(&item.id, &want.id));
			assert_int_equal(item.len, want.len);
		}
	}
	assert_int_equal(rc, 0);
	assert_true(level >= 0 || reader.level == 0 || count > 1); /* no list above one list */
	return reader.size;
}

static void
files_of_every_length_come_back(void **state)
{
	static const size_t counts[] = { 1, 2, 15, 16, 17, 200, 1000, 5000, 20000, 200000 };

	(void)state;
	for (size_t i = 0; i < test_count(counts); i++) {
		struct larder_id id;
		struct lists *lists = build(&id, counts[i], 0, 0, false);
		size_t next = 0;

		walk(lists, &id, -1, &next, false);
		assert_int_equal(next, counts[i]);
		lists_free(lists);
	}
}

/* Every length up to one where lists of level 0 have ended several times: also exactly there. */
static void
a_file_may_end_where_a_list_does(void **state)
{
	(void)state;
	for (size_t count = 1; count < 1500; count += count < 15 ? 7 : 1) {
		struct larder_id id;
		struct lists *lists = build(&id, count, 0, 0, false);
		size_t next = 0;

		walk(lists, &id, -1, &next, false);
		assert_int_equal(next, count);
		lists_free(lists);
	}
}

static void
a_long_run_of_equal_chunks_is_few_lists(void **state)
{
	struct larder_id id;
	struct lists *lists = build(&id, 1000000, 0, 0, true);
	size_t next = 0;

	(void)state;
	assert_int_equal(walk(lists, &id, -1, &next, true), 65536000000);
	assert_int_equal(next, 1000000);
	assert_true(lists->count < 8);
	lists_free(lists);
}

static void
a_change_in_the_middle_changes_few_lists(void **state)
{
	struct larder_id id_before, id_after;
	struct lists *before = build(&id_before, 100000, 0, 0, false);
	struct lists *after = build(&id_after, 100000, 50000, 50003, false);
	size_t fresh = 0;

	(void)state;
	assert_false(id_equal(&id_before, &id_after));
	assert_in_range(before->count, 1000, 1600); /* 80 items on average */
	for (size_t i = 0; i < after->count; i++) {
		size_t j = 0;

		while (j < before->count && !id_equal(&before->ids[j], &after->ids[i]))
			j++;
		fresh += j == before->count;
	}
	assert_in_range(fresh, 3, 8); /* of three levels */
	lists_free(before);
	lists_free(after);
}

static void
a_failing_emit_is_passed_on(void **state)
{
	(void)state;
	for (size_t fail_at = 1; fail_at <= 4; fail_at++) {
		struct lists *lists = calloc(1, sizeof *lists);
		struct filelist_builder builder;
		struct larder_err err = { 0 };
		struct larder_id id;
		int rc = 0;

		assert_non_null(lists);
		lists->fail_at = fail_at;
		filelist_builder_init(&builder, emit, lists);
		for (size_t i = 0; i < 1000 && rc == 0; i++) {
			struct filelist_item item = chunk_number(i, false);

			rc = filelist_builder_add(&builder, &item.id, item.len, &err);
		}
		if (rc == 0)
			rc = filelist_builder_end(&builder, &id, &err);
		assert_status(LARDER_ERR_NO_SPACE, rc, &err);
		filelist_builder_release(&builder);
		lists_free(lists);
	}
}

static void
more_bytes_than_a_file_has_are_a_limit(void **state)
{
	struct lists *lists = calloc(1, sizeof *lists);
	struct filelist_builder builder;
	struct larder_err err = { 0 };
	struct larder_id id = { { 1, [31] = 1 } };

	(void)state;
	assert_non_null(lists);
	filelist_builder_init(&builder, emit, lists);
	assert_ok(filelist_builder_add(&builder, &id, INT64_MAX, &err), &err);
	assert_status(LARDER_ERR_LIMIT, filelist_builder_add(&builder, &id, 1, &err), &err);
	assert_message(&err, "2^63");
	filelist_builder_release(&builder);
	lists_free(lists);
}

/* Ids that always end a list: levels fill until there are no more. */
static int
emit_ending(void *context, struct larder_id *id, const void *data, size_t len,
    struct larder_err *err)
{
	(void)context;
	(void)data;
	(void)len;
	(void)err;
	*id = (struct larder_id) { { 1 } };
	return LARDER_OK;
}

static void
more_levels_than_there_are_is_a_limit(void **state)
{
	struct filelist_builder builder;
	struct larder_err err = { 0 };
	struct larder_id id = { { 1 } };
	int rc = 0;

	(void)state;
	filelist_builder_init(&builder, emit_ending, NULL);
	/* fill the open lists of all levels by hand: 16^6 chunks take too long */
	for (unsigned level = 0; level < FILELIST_LEVEL_MAX; level++) {
		builder.level[level].items = malloc(64 * sizeof(struct filelist_item));
		assert_non_null(builder.level[level].items);
		builder.level[level].count = FILELIST_ITEMS_MIN - 1;
		for (size_t i = 0; i < builder.level[level].count; i++)
			builder.level[level].items[i] =
			    (struct filelist_item) { .id = id, .len = 1 };
		builder.levels = level + 1;
	}
	rc = filelist_builder_add(&builder, &id, 1, &err);
	assert_status(LARDER_ERR_LIMIT, rc, &err);
	assert_message(&err, "6 levels");
	filelist_builder_release(&builder);
}

static int
build_and_forget(struct larder_err *err)
{
	struct filelist_builder builder;
	struct larder_id id;
	int rc = 0;

	filelist_builder_init(&builder, emit_ending, NULL);
	for (size_t i = 0; i < 1000 && rc == 0; i++) {
		struct filelist_item item = chunk_number(i, false);

		rc = filelist_builder_add(&builder, &item.id, item.len, err);
	}
	if (rc == 0)
		rc = filelist_builder_end(&builder, &id, err);
	filelist_builder_release(&builder);
	return rc;
}

static void
without_memory_it_says_so_and_leaks_nothing(void **state)
{
	bool failed = true;

	(void)state;
	for (long n = 1; failed; n++) {
		struct larder_err err = { 0 };
		int rc;

		mem_faulty_set(n, false);
		rc = build_and_forget(&err);
		failed = mem_faulty_failed();
		assert_status(failed ? LARDER_ERR_NOMEM : LARDER_OK, rc, &err);
		assert_int_equal(mem_faulty_live(), 0);
		assert_true(n < 1000);
	}
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(bytes_are_the_ones_in_the_document),
		test_case(a_list_ends_by_its_last_id),
		test_case(what_is_no_list_is_refused_and_says_why),
		test_case(more_items_than_a_list_has_are_refused),
		test_case(files_of_every_length_come_back),
		test_case(a_file_may_end_where_a_list_does),
		test_case(a_long_run_of_equal_chunks_is_few_lists),
		test_case(a_change_in_the_middle_changes_few_lists),
		test_case(a_failing_emit_is_passed_on),
		test_case(more_bytes_than_a_file_has_are_a_limit),
		test_case(more_levels_than_there_are_is_a_limit),
		test_case(without_memory_it_says_so_and_leaks_nothing),
	};

	return test_run(cases);
}
