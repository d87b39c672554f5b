/*
 * Journal -> index: what others committed, large packs, packs that are damaged,
 * an index that is behind, ahead or of another history.
 */
#include "cas/apply.h"

#include "tests/harness.h"

#include "cas/base/clock.h"
#include "cas/journal.h"
#include "cas/journal_scan.h"
#include "tests/doubles/doubles.h"
#include "tests/unit/t_store.h"

static int
setup(void **state)
{
	test_notices[0] = '\0';
	return test_setup(state);
}

#define apply_case(fn) cmocka_unit_test_setup_teardown(fn, setup, test_teardown)

/* An entry in the journal that nobody has applied, as of a process that died right behind its sync.
 */
static struct journal_place
journal_only(struct larder_store *store, const struct buf *body)
{
	const struct id16 no_intent = { { 0 } };
	struct journal *journal;
	struct journal_place place;
	struct larder_err err = { 0 };

	assert_ok(journal_open(
		      &journal, store->root_fd, &store->config.id, &store->identity.writer, &err),
	    &err);
	assert_ok(journal_append(
		      journal, &place, body->data, body->len, clock_now_ns(), &no_intent, &err),
	    &err);
	assert_ok(journal_sync(journal, &place, &err), &err);
	journal_close(journal);
	return place;
}

static void
journal_version(struct larder_store *store, const char *name, unsigned gid)
{
	struct buf body = { 0 };

	assert_int_equal(test_add_version(&body, name, gid), 0);
	journal_only(store, &body);
	buf_release(&body);
}

static void
journal_end(struct larder_store *store, const char *name, unsigned gid)
{
	struct buf body = { 0 };

	assert_int_equal(test_add_end(&body, name, gid), 0);
	journal_only(store, &body);
	buf_release(&body);
}

/* A sealed pack and the operation that names it. */
static struct id16
add_pack(struct buf *body, struct larder_store *store, unsigned seed, unsigned count)
{
	struct pack_writer *writer = test_pack(store->root_fd, seed, 0, count, NULL);
	struct entry_pack op = { .chunk_count = count };

	assert_non_null(writer);
	assert_ok(pack_writer_sync(writer, NULL), NULL);
	op.id = *pack_writer_id(writer);
	op.file_len = pack_writer_directory(writer)->file_len;
	assert_int_equal(entry_op_pack(body, &op), 0);
	pack_writer_close(writer);
	return op.id;
}

static uint64_t
segment_of(struct larder_store *store)
{
	struct index_position position;
	struct index_read *read;

	assert_ok(index_read_begin(&read, store->index, NULL), NULL);
	assert_ok(index_position_get(&position, read, &store->identity.writer, NULL), NULL);
	index_read_end(read);
	return position.segment;
}

static uint64_t
position_of(struct larder_store *store)
{
	struct index_position position;
	struct index_read *read;

	assert_ok(index_read_begin(&read, store->index, NULL), NULL);
	assert_ok(index_position_get(&position, read, &store->identity.writer, NULL), NULL);
	index_read_end(read);
	return position.sequence;
}

static void
what_others_committed_is_applied_by_the_next_who_looks(void **state)
{
	struct larder_store *store = test_store_open(state, "store"), *other;
	struct buf body = { 0 };
	struct larder_err err = { 0 };

	assert_int_equal(apply_needed(store, &err), 0);
	test_commit(store, 1, 0, 10, "a", 1);
	assert_int_equal(apply_needed(store, &err), 0);
	add_pack(&body, store, 2, 30);
	assert_int_equal(test_add_version(&body, "b", 2), 0);
	journal_only(store, &body);
	buf_release(&body);

	assert_int_equal(apply_needed(store, &err), 1);
	assert_int_equal(test_find_name(store, "b"), 0);
	other = test_store_open(state, "store"); /* opening applies */
	assert_int_equal(test_find_name(other, "b"), 2);
	assert_true(test_knows_chunk(other, 2, 29));
	assert_int_equal(apply_needed(store, &err), 0);
	larder_store_close(other);

	journal_version(store, "c", 3);
	test_commit(store, 3, 0, 5, "d", 4); /* so does committing */
	assert_int_equal(test_find_name(store, "c"), 3);
	journal_version(store, "e", 5);
	assert_ok(apply_pending(store, NULL, 0, &err), &err);
	assert_ok(apply_pending(store, NULL, 0, &err), &err);
	assert_int_equal(test_find_name(store, "e"), 5);
	assert_int_equal(position_of(store), 5);
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

static void
an_entry_that_is_not_durable_is_not_applied(void **state)
{
	const struct id16 no_intent = { { 0 } };
	struct larder_store *store = test_store_open(state, "store");
	struct buf body = { 0 };
	struct journal *journal;
	struct journal_place place;
	struct larder_err err = { 0 };

	test_commit(store, 1, 0, 10, "a", 1);
	assert_int_equal(test_add_version(&body, "b", 2), 0);
	assert_ok(journal_open(
		      &journal, store->root_fd, &store->config.id, &store->identity.writer, &err),
	    &err);
	assert_ok(journal_append(journal, &place, body.data, body.len, 0, &no_intent, &err), &err);
	assert_int_equal(apply_needed(store, &err), 0);
	assert_ok(apply_pending(store, NULL, 0, &err), &err);
	assert_int_equal(test_find_name(store, "b"), 0);
	assert_ok(journal_sync(journal, &place, &err), &err);
	assert_int_equal(apply_needed(store, &err), 1);
	assert_ok(apply_pending(store, NULL, 0, &err), &err);
	assert_int_equal(test_find_name(store, "b"), 2);
	journal_close(journal);
	buf_release(&body);
	larder_store_close(store);
}

static void
a_pack_of_many_chunks_takes_many_transactions(void **state)
{
	enum { MANY = 60001 };
	struct larder_store *store = test_store_open(state, "store"), *other;
	struct buf body = { 0 };

	test_commit(store, 1, 0, MANY, "fresh", 1); /* from the directory at hand */
	assert_true(test_knows_chunk(store, 1, 0));
	assert_true(test_knows_chunk(store, 1, MANY - 1));
	assert_int_equal(test_find_name(store, "fresh"), 1);

	journal_version(store, "before", 2);
	add_pack(&body, store, 2, MANY); /* read from the pack */
	add_pack(&body, store, 3, 100);
	assert_int_equal(test_add_version(&body, "read", 3), 0);
	journal_only(store, &body);
	journal_version(store, "after", 4);
	buf_release(&body);
	other = test_store_open(state, "store");
	assert_true(test_knows_chunk(other, 2, 0));
	assert_true(test_knows_chunk(other, 2, 30000));
	assert_true(test_knows_chunk(other, 2, MANY - 1));
	assert_true(test_knows_chunk(other, 3, 99));
	assert_int_equal(test_find_name(other, "before"), 2);
	assert_int_equal(test_find_name(other, "read"), 3);
	assert_int_equal(test_find_name(other, "after"), 4);
	larder_store_close(other);
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

static void
many_entries_take_many_transactions(void **state)
{
	enum { MANY = 9000 };
	const struct id16 no_intent = { { 0 } };
	struct larder_store *store = test_store_open(state, "store"), *other;
	struct journal *journal;
	struct journal_place place;
	struct larder_err err = { 0 };

	test_commit(store, 1, 0, 10, "a", 1);
	assert_ok(journal_open(
		      &journal, store->root_fd, &store->config.id, &store->identity.writer, &err),
	    &err);
	for (unsigned i = 0; i < MANY; i++) {
		struct buf body = { 0 };
		char name[20];

		snprintf(name, sizeof name, "n%u", i % 1000);
		assert_int_equal(test_add_numbered(&body, name, i, 1 + i / 1000), 0);
		assert_ok(journal_append(journal, &place, body.data, body.len, 0, &no_intent, &err),
		    &err);
		buf_release(&body);
	}
	assert_ok(journal_sync(journal, &place, &err), &err);
	journal_close(journal);
	other = test_store_open(state, "store");
	assert_int_equal(position_of(other), 1 + MANY);
	assert_int_equal(test_find_name(other, "n999"), MANY - 1);
	assert_int_equal(test_find_name(other, "n0"), MANY - 1000);
	larder_store_close(other);
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

static void
a_chunk_stays_where_it_was_first(void **state)
{
	struct larder_store *store = test_store_open(state, "store");

	test_commit(store, 1, 0, 100, "a", 1);
	test_commit(store, 1, 50, 150, "b", 2);
	test_commit(store, 1, 0, 150, "c", 3);
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

/* ---- somebody is faster ---- */

static struct larder_store *slow, *fast; /* fast applies while slow reads a pack */
static bool raced;

static ssize_t
read_raced(int fd, void *buf, size_t len, off_t at)
{
	char link[64], path[512];
	ssize_t got;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	got = readlink(link, path, sizeof path - 1);
	path[got > 0 ? got : 0] = '\0';
	if (!raced && strstr(path, "/packs/") != NULL) {
		raced = true;
		journal_end(fast, "n", 1);
		assert_ok(apply_pending(fast, NULL, 0, NULL), NULL);
	}
	return pread(fd, buf, len, at);
}

static void
who_comes_too_late_does_not_take_anything_back(void **state)
{
	static const struct larder_sys sys = { .size = sizeof sys, .file_pread = read_raced };
	struct buf body = { 0 };
	struct larder_err err = { 0 };

	slow = test_store_open(state, "store");
	test_commit(slow, 1, 0, 10, "a", 9);
	fast = test_store_open(state, "store");
	add_pack(&body, slow, 2, 30);
	assert_int_equal(test_add_version(&body, "n", 1), 0);
	journal_only(slow, &body);
	buf_release(&body);

	raced = false;
	larder_sys_set(&sys);
	assert_ok(apply_pending(slow, NULL, 0, &err), &err);
	larder_sys_set(NULL);
	assert_true(raced);
	assert_int_equal(test_find_name(slow, "n"), 0); /* forgotten, and not come back */
	assert_int_equal(position_of(slow), 3);
	larder_store_close(slow);
	larder_store_close(fast);
	test_same_when_rebuilt(state, "store", true);
}

static bool synced, overtaken;

static int
datasync_noted(int fd)
{
	synced = true;
	return fdatasync(fd);
}

static int
open_raced(int dirfd, const char *path, int flags, mode_t mode)
{
	if (synced && !overtaken && strcmp(path, "journal") == 0) {
		overtaken = true;
		assert_ok(apply_pending(fast, NULL, 0, NULL), NULL);
	}
	return openat(dirfd, path, flags, mode);
}

static int
write_seen(void *context, struct index_write *write, struct larder_err *err)
{
	static const uint8_t key[16] = { 1 };

	return index_seen_put(write, key, context, strlen(context), err);
}

static void
hints_are_written_though_another_one_applied_the_entry(void **state)
{
	static const struct larder_sys sys = {
		.size = sizeof sys,
		.file_fdatasync = datasync_noted,
		.file_openat = open_raced,
	};
	struct buf operations = { 0 };
	char hint[] = "hint";
	struct commit commit = { .operations = &operations, .hints = write_seen, .context = hint };
	struct index_counts counts;
	struct index_read *read;
	struct larder_err err = { 0 };

	slow = test_store_open(state, "store");
	test_commit(slow, 1, 0, 10, "a", 9);
	fast = test_store_open(state, "store");
	assert_int_equal(test_add_version(&operations, "n", 1), 0);
	synced = overtaken = false;
	larder_sys_set(&sys);
	assert_ok(commit_run(slow, &commit, &err), &err);
	larder_sys_set(NULL);
	assert_true(overtaken);
	assert_int_equal(test_find_name(slow, "n"), 1);
	assert_ok(index_read_begin(&read, slow->index, &err), &err);
	assert_ok(index_counts_get(&counts, read, &err), &err);
	index_read_end(read);
	assert_int_equal(counts.seen, 1);
	buf_release(&operations);
	larder_store_close(slow);
	larder_store_close(fast);
}

/* ---- damage ---- */

static void
a_damaged_or_missing_pack_is_told_and_holds_nobody_up(void **state)
{
	struct larder_store *store = test_store_open(state, "store"), *other;
	char path[2][PACK_PATH_LEN + 8];
	struct buf body = { 0 };
	struct id16 id;
	size_t len;
	char *bytes;

	test_commit(store, 1, 0, 10, "a", 1);
	for (int i = 0; i < 2; i++) {
		char relative[PACK_PATH_LEN];

		id = add_pack(&body, store, 2 + (unsigned)i, 30);
		pack_path(relative, &id);
		snprintf(path[i], sizeof path[i], "store/%s", relative);
	}
	add_pack(&body, store, 4, 30);
	assert_int_equal(test_add_version(&body, "b", 2), 0);
	journal_only(store, &body);
	buf_release(&body);
	larder_store_close(store);
	bytes = test_read(state, path[0], &len);
	bytes[len - 10] ^= 1;
	assert_int_equal(remove(test_path(state, path[0])), 0);
	test_write(state, path[0], bytes, len);
	free(bytes);
	assert_int_equal(remove(test_path(state, path[1])), 0);

	other = test_store_open(state, "store");
	assert_non_null(strstr(test_notices, path[0] + strlen("store/packs/xx/")));
	assert_non_null(strstr(test_notices, path[1] + strlen("store/packs/xx/")));
	assert_non_null(strstr(test_notices, "larder check"));
	assert_int_equal(test_find_name(other, "b"), 2);
	assert_false(test_knows_chunk(other, 2, 0));
	assert_false(test_knows_chunk(other, 3, 0));
	assert_true(test_knows_chunk(other, 4, 0));
	test_commit(other, 2, 0, 30, "c", 3); /* the next put stores them again */
	assert_true(test_knows_chunk(other, 2, 0));
	larder_store_close(other);
	test_same_when_rebuilt(state, "store", true);
}

static void
a_pack_that_is_not_the_one_that_was_committed_is_damage(void **state)
{
	struct larder_store *store = test_store_open(state, "store"), *other;
	struct pack_writer *writer = test_pack(store->root_fd, 2, 0, 30, NULL);
	struct entry_pack op = { .chunk_count = 31 };
	struct buf body = { 0 };

	test_commit(store, 1, 0, 10, "a", 1);
	assert_non_null(writer);
	assert_ok(pack_writer_sync(writer, NULL), NULL);
	op.id = *pack_writer_id(writer);
	op.file_len = pack_writer_directory(writer)->file_len;
	pack_writer_close(writer);
	assert_int_equal(entry_op_pack(&body, &op), 0);
	journal_only(store, &body);
	buf_release(&body);
	other = test_store_open(state, "store");
	assert_non_null(strstr(test_notices, "30 chunks, but"));
	assert_false(test_knows_chunk(other, 2, 0));
	larder_store_close(other);
	larder_store_close(store);
}

static void
forgetting_what_is_not_there_is_no_failure(void **state)
{
	struct larder_store *store = test_store_open(state, "store");

	test_commit(store, 1, 0, 10, "a", 1);
	journal_end(store, "a", 77);
	journal_end(store, "never", 1);
	test_commit(store, 1, 0, 0, "b", 2);
	assert_int_equal(test_find_name(store, "a"), 1);
	assert_int_equal(test_find_name(store, "b"), 2);
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

static int
open_status(void **state, const char *name, struct larder_err *err)
{
	struct larder_store *store;
	int rc = test_store_try(&store, state, name, err);

	larder_store_close(store);
	return rc;
}

/* After the user's word that a damaged journal may be as it is: a store like any other. */
static void
check_goes_on(void **state, const char *name)
{
	struct larder_store *store;
	char path[100];

	test_notices[0] = '\0';
	for (unsigned i = 0; i < 2; i++) {
		store = test_store_open(state, name);
		test_commit(store, 77, i, i + 1, "afterwards", 100 + i);
		assert_int_equal(test_find_name(store, "afterwards"), 100 + i);
		larder_store_close(store);
	}
	assert_string_equal(test_notices, "");
	snprintf(path, sizeof path, "%s/journal", name);
	assert_int_equal(test_entries(state, path), 2); /* a new one is appended to */
}

static void
operations_that_are_unknown_or_damaged_are_told(void **state)
{
	static const struct {
		uint8_t body[40];
		size_t len;
		int status;
		const char *says;
	} rows[] = {
		{ { 31, 0 }, 2, LARDER_ERR_VERSION, "unknown" },
		{ { ENTRY_OP_BODY, 32 }, 34, LARDER_ERR_VERSION, "newer larder" },
		{ { ENTRY_OP_PACK, 3, 1, 2, 3 }, 5, LARDER_ERR_CORRUPT, "journal entry 2" },
		{ { ENTRY_OP_VERSION }, 1, LARDER_ERR_CORRUPT, "cut short" },
	};

	for (size_t i = 0; i < test_count(rows); i++) {
		struct larder_store *store;
		struct buf body = { 0 };
		struct larder_err err = { 0 };
		char name[20];

		snprintf(name, sizeof name, "store%zu", i);
		store = test_store_open(state, name);
		test_commit(store, 1, 0, 10, "a", 1);
		assert_int_equal(buf_append(&body, rows[i].body, rows[i].len), 0);
		journal_only(store, &body);
		buf_release(&body);
		larder_store_close(store);
		assert_status(rows[i].status, open_status(state, name, &err), &err);
		assert_message(&err, rows[i].says);
		if (rows[i].status == LARDER_ERR_CORRUPT) { /* the user may leave it out */
			struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
			struct larder_reindex_result result;

			options.no_index = true;
			options.on_notice = test_notice;
			assert_ok(larder_store_open(&store, test_path(state, name), &options, &err),
			    &err);
			assert_ok(larder_reindex(store, NULL, &result, &err), &err);
			assert_int_equal(result.damages, 1);
			assert_non_null(strstr(test_notices, "left out"));
			assert_int_equal(test_find_name(store, "a"), 1);
			larder_store_close(store);
			check_goes_on(state, name);
		}
	}
}

/* ---- an index and a journal that do not belong together ---- */

static void
copy(void **state, const char *from, const char *to)
{
	char command[10000];

	snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", test_path(state, to),
	    test_path(state, from), test_path(state, to));
	assert_int_equal(system(command), 0);
}

/* The folder and all that is in it. */
static void
clear(void **state, const char *name)
{
	char command[10000];

	snprintf(command, sizeof command, "rm -rf '%s'", test_path(state, name));
	assert_int_equal(system(command), 0);
}

static void
an_index_of_another_history_is_rebuilt(void **state)
{
	struct larder_store *store = test_store_open(state, "store");

	test_commit(store, 1, 0, 10, "a", 1);
	larder_store_close(store);
	copy(state, "store/journal", "journal");
	store = test_store_open(state, "store");
	test_commit(store, 2, 0, 10, "b", 2);
	larder_store_close(store);

	/* back to the journal as it was, and another entry in the place of the one in the index */
	copy(state, "journal", "store/journal");
	copy(state, "store/index", "index");
	clear(state, "store/index");
	store = test_store_open(state, "store");
	test_commit(store, 3, 0, 20, "c", 3);
	test_commit(store, 4, 0, 20, "d", 4);
	larder_store_close(store);
	copy(state, "index", "store/index");
	test_notices[0] = '\0';
	store = test_store_open(state, "store");
	assert_non_null(strstr(test_notices, "rebuilt"));
	assert_non_null(strstr(test_notices, "another entry 2"));
	assert_int_equal(test_find_name(store, "a"), 1);
	assert_int_equal(test_find_name(store, "b"), 0);
	assert_int_equal(test_find_name(store, "d"), 4);
	assert_false(test_knows_chunk(store, 2, 0)); /* a pack that no entry names */
	larder_store_close(store);
}

static void
a_journal_that_ends_before_the_index_has_lost_entries(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_reindex_result result;
	struct larder_err err = { 0 };
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;

	test_commit(store, 1, 0, 10, "a", 1);
	larder_store_close(store);
	copy(state, "store/journal", "journal");
	store = test_store_open(state, "store");
	test_commit(store, 2, 0, 10, "b", 2);
	larder_store_close(store);
	copy(state, "journal", "store/journal");

	for (int i = 0; i < 2; i++) { /* nothing is done behind the user's back, however often */
		assert_status(LARDER_ERR_CORRUPT, open_status(state, "store", &err), &err);
		assert_message(&err, "ends before entry 2");
		assert_message(&err, "larder reindex");
	}
	options.no_index = true;
	options.on_notice = test_notice;
	assert_ok(larder_store_open(&store, test_path(state, "store"), &options, &err), &err);
	assert_ok(larder_reindex(store, NULL, &result, &err), &err);
	assert_int_equal(result.damages, 1);
	assert_int_equal(result.entries, 1);
	assert_non_null(strstr(test_notices, "but 2 had been committed"));
	larder_store_close(store);
	check_goes_on(state, "store");
	store = test_store_open(state, "store");
	assert_int_equal(test_find_name(store, "a"), 1);
	larder_store_close(store);
}

/* Segments with the entries 1, 2 and 3. */
static void
make_three_segments(void **state, char path[3][200])
{
	for (unsigned i = 1; i <= 3; i++) {
		struct larder_store *store = test_store_open(state, "store");
		struct buf body = { 0 };
		char folder[JOURNAL_FOLDER_LEN], name[20];

		snprintf(name, sizeof name, "name%u", i);
		test_commit(store, i, 0, 10, name, i);
		journal_folder(folder, &store->identity.writer);
		snprintf(path[i - 1], 200, "store/%s/%016llx", folder,
		    (unsigned long long)segment_of(store));
		for (unsigned n = 0; n < 5 && i < 3; n++) { /* so much that the next one begins */
			while (body.len < 3900 * 1000)
				assert_int_equal(test_add_end(&body, "never/there", n), 0);
			journal_only(store, &body);
		}
		buf_release(&body);
		larder_store_close(store);
	}
}

static void
whatever_happened_to_a_journal_reindex_takes_what_there_is(void **state)
{
	for (int damage = 0; damage < 6; damage++) {
		struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
		struct larder_reindex_result result;
		struct larder_store *store;
		struct larder_err err = { 0 };
		char path[3][200], *bytes;
		size_t len;

		make_three_segments(state, path);
		assert_string_not_equal(path[0], path[1]);
		assert_string_not_equal(path[1], path[2]);
		bytes = test_read(state, path[damage % 3], &len);
		if (damage < 3) {
			bytes[20] ^= 1; /* its header */
			test_write(state, path[damage], bytes, len);
		} else {
			assert_int_equal(remove(test_path(state, path[damage % 3])), 0);
		}
		free(bytes);
		clear(state, "store/index");
		assert_status(LARDER_ERR_CORRUPT, open_status(state, "store", &err), &err);

		options.no_index = true;
		options.on_notice = test_notice;
		assert_ok(
		    larder_store_open(&store, test_path(state, "store"), &options, &err), &err);
		assert_ok(larder_reindex(store, NULL, &result, &err), &err);
		assert_true(result.damages >= 1);
		for (int i = 0; i < 3; i++) {
			char name[20];

			snprintf(name, sizeof name, "name%d", i + 1);
			if (damage < 3 || damage % 3 != i)
				assert_int_equal(test_find_name(store, name), i + 1);
			else
				assert_int_equal(test_find_name(store, name), 0);
		}
		larder_store_close(store);
		check_goes_on(state, "store");
		clear(state, "store");
	}
}

static void
a_journal_cut_short_goes_on_after_reindex(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_reindex_result result;
	struct larder_err err = { 0 };
	char path[200], folder[JOURNAL_FOLDER_LEN];
	struct stat st;

	test_commit(store, 1, 0, 10, "a", 1);
	test_commit(store, 2, 0, 10, "b", 2);
	journal_folder(folder, &store->identity.writer);
	larder_store_close(store);
	snprintf(path, sizeof path, "store/%s/0000000000000001", folder);
	assert_int_equal(fstatat(test_dir(state), path, &st, 0), 0);
	assert_int_equal(truncate(test_path(state, path), st.st_size - 3), 0);
	assert_status(LARDER_ERR_CORRUPT, open_status(state, "store", &err), &err);
	assert_message(&err, "ends before entry 2");
	options.no_index = true;
	options.on_notice = test_notice;
	assert_ok(larder_store_open(&store, test_path(state, "store"), &options, &err), &err);
	assert_ok(larder_reindex(store, NULL, &result, &err), &err);
	assert_true(result.damages >= 1);
	test_commit(store, 3, 0, 10, "c", 3); /* the same handle goes on too */
	larder_store_close(store);
	check_goes_on(state, "store");
	test_same_when_rebuilt(state, "store", false);
	clear(state, "store/index"); /* and nothing is called damage any more */
	store = test_store_open(state, "store");
	assert_int_equal(test_find_name(store, "a"), 1);
	assert_int_equal(test_find_name(store, "b"), 0);
	assert_int_equal(test_find_name(store, "c"), 3);
	larder_store_close(store);
}

static void
a_journal_that_is_gone_is_damage_too(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_err err = { 0 };

	test_commit(store, 1, 0, 10, "a", 1);
	larder_store_close(store);
	clear(state, "store/journal");
	assert_int_equal(mkdirat(test_dir(state), "store/journal", 0700), 0);
	assert_status(LARDER_ERR_CORRUPT, open_status(state, "store", &err), &err);
	assert_message(&err, "ends before entry 1");
	clear(state, "store/journal");
	assert_status(LARDER_ERR_CORRUPT, open_status(state, "store", &err), &err);
}

static void
a_damaged_journal_is_not_passed_over_silently(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_reindex_result result;
	struct larder_err err = { 0 };
	char path[200], folder[JOURNAL_FOLDER_LEN], *bytes;
	size_t len;

	test_commit(store, 1, 0, 10, "a", 1);
	test_commit(store, 2, 0, 10, "b", 2);
	test_commit(store, 3, 0, 10, "c", 3);
	journal_folder(folder, &store->identity.writer);
	larder_store_close(store);
	snprintf(path, sizeof path, "store/%s/0000000000000001", folder);
	bytes = test_read(state, path, &len);
	bytes[JOURNAL_SEGMENT_HEADER_LEN + 60] ^= 1;
	test_write(state, path, bytes, len);
	free(bytes);

	/* the index has what is there: opening need not look back */
	store = test_store_open(state, "store");
	assert_int_equal(test_find_name(store, "a"), 1);
	larder_store_close(store);
	assert_string_equal(test_notices, "");

	/* without it the hole would be in the answers */
	clear(state, "store/index");
	assert_status(LARDER_ERR_CORRUPT, open_status(state, "store", &err), &err);
	assert_message(&err, folder);
	assert_message(&err, "at 128");

	/* reindex is the user's word that it may be */
	options.no_index = true;
	options.on_notice = test_notice;
	assert_ok(larder_store_open(&store, test_path(state, "store"), &options, &err), &err);
	assert_status(LARDER_ERR_USAGE, store_enter(store, &err), &err);
	assert_ok(larder_reindex(store, NULL, &result, &err), &err);
	assert_int_equal(result.damages, 1);
	assert_int_equal(result.entries, 2);
	assert_ok(store_enter(store, &err), &err);
	assert_int_equal(test_find_name(store, "a"), 0);
	assert_int_equal(test_find_name(store, "b"), 2);
	assert_int_equal(test_find_name(store, "c"), 3);
	larder_store_close(store);
	check_goes_on(state, "store");
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		apply_case(what_others_committed_is_applied_by_the_next_who_looks),
		apply_case(an_entry_that_is_not_durable_is_not_applied),
		apply_case(a_pack_of_many_chunks_takes_many_transactions),
		apply_case(many_entries_take_many_transactions),
		apply_case(a_chunk_stays_where_it_was_first),
		apply_case(who_comes_too_late_does_not_take_anything_back),
		apply_case(hints_are_written_though_another_one_applied_the_entry),
		apply_case(a_damaged_or_missing_pack_is_told_and_holds_nobody_up),
		apply_case(a_pack_that_is_not_the_one_that_was_committed_is_damage),
		apply_case(forgetting_what_is_not_there_is_no_failure),
		apply_case(operations_that_are_unknown_or_damaged_are_told),
		apply_case(an_index_of_another_history_is_rebuilt),
		apply_case(a_journal_that_ends_before_the_index_has_lost_entries),
		apply_case(whatever_happened_to_a_journal_reindex_takes_what_there_is),
		apply_case(a_journal_cut_short_goes_on_after_reindex),
		apply_case(a_journal_that_is_gone_is_damage_too),
		apply_case(a_damaged_journal_is_not_passed_over_silently),
	};

	return test_run(cases);
}
