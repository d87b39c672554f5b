/*
 * FLAVOURS: release asan
 *
 * A rebuilt index says what the old one said, whatever happened to that one, and
 * takes its place without anybody losing anything.
 */
#include "cas/reindex.h"

#include "tests/harness.h"

#include <dirent.h>

#include "cas/base/clock.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "tests/doubles/doubles.h"
#include "tests/unit/t_store.h"

static int
setup(void **state)
{
	test_notices[0] = '\0';
	return test_setup(state);
}

#define reindex_case(fn) cmocka_unit_test_setup_teardown(fn, setup, test_teardown)

static void
clear(void **state, const char *name)
{
	char command[10000];

	snprintf(command, sizeof command, "rm -rf '%s'", test_path(state, name));
	assert_int_equal(system(command), 0);
}

/* A history: versions come and go, chunks come again in later packs. */
static void
make_history(struct larder_store *store, unsigned seed, unsigned steps)
{
	for (unsigned i = 1; i <= steps; i++) {
		uint8_t choice[3];
		char name[20];

		test_fill(choice, sizeof choice, seed * 1000 + i);
		snprintf(name, sizeof name, "name%d", choice[0] % 5);
		if (choice[1] % 4 == 0)
			test_forget(store, name, seed * 256 + choice[2] % i);
		else
			test_commit(
			    store, seed, i * 7, i * 7 + choice[2] % 40, name, seed * 256 + i);
	}
}

/* ---- equal ---- */

static void
a_rebuilt_index_equals_the_one_it_replaces(void **state)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		char name[20];
		struct larder_store *store;

		snprintf(name, sizeof name, "store%u", seed);
		store = test_store_open(state, name);
		make_history(store, seed, 15);
		larder_store_close(store);
		test_same_when_rebuilt(state, name, true);
		test_same_when_rebuilt(state, name, true); /* and again, from the rebuilt one */
	}
	assert_string_equal(test_notices, "");
}

static void
an_absent_index_comes_back_with_a_notice(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	char *before, *after;

	make_history(store, 3, 20);
	before = test_dump(store, true);
	larder_store_close(store);
	assert_string_equal(test_notices, ""); /* the first one is nothing to speak of */
	clear(state, "store/index");
	store = test_store_open(state, "store");
	assert_non_null(strstr(test_notices, "index: absent; rebuilt from packs and journal ("));
	after = test_dump(store, true);
	assert_string_equal(before, after);
	larder_store_close(store);
	free(before);
	free(after);
}

/* The store in the place where it is, as another writer: a copy that takes its place. */
static void
become_another_writer(void **state)
{
	char command[10000];

	snprintf(command, sizeof command, "cp -r '%s' '%s' && rm -rf '%s' && mv '%s' '%s'",
	    test_path(state, "store"), test_path(state, "copy"), test_path(state, "store"),
	    test_path(state, "copy"), test_path(state, "store"));
	assert_int_equal(system(command), 0);
}

static void
writers_that_were_merged_by_copying_stay_merged(void **state)
{
	struct larder_store *store = test_store_open(state, "store");

	make_history(store, 1, 10);
	larder_store_close(store);
	for (unsigned i = 2; i < 5; i++) {
		become_another_writer(state);
		store = test_store_open(state, "store");
		make_history(store, i, 10);
		larder_store_close(store);
	}
	assert_int_equal(test_entries(state, "store/journal"), 4);
	test_same_when_rebuilt(state, "store", false);
}

static void
what_another_writer_forgot_stays_forgotten(void **state)
{
	/* ids are random: in some of the rounds who forgets comes before who made */
	for (unsigned round = 0; round < 12; round++) {
		struct larder_store *store = test_store_open(state, "store");
		unsigned gid = 0;

		test_commit(store, 1, 0, 20, "a", ++gid);
		test_commit(store, 1, 0, 20, "b", ++gid);
		larder_store_close(store);
		for (int writer = 0; writer < 3; writer++) {
			become_another_writer(state);
			store = test_store_open(state, "store");
			test_forget(store, "a", gid - 1);
			test_commit(store, 1, 0, 20, "a", ++gid);
			test_commit(store, 1, 0, 20, "b", ++gid);
			test_forget(store, "b", gid);
			assert_int_equal(test_find_name(store, "a"), gid - 1);
			larder_store_close(store);
		}
		test_same_when_rebuilt(state, "store", false);
		store = test_store_open(state, "store");
		assert_int_equal(test_find_name(store, "a"), gid - 1);
		assert_int_equal(test_find_name(store, "b"), 2);
		larder_store_close(store);
		clear(state, "store");
	}
}

static void
packs_that_no_entry_names_are_not_taken_in(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct pack_writer *writer;

	test_commit(store, 1, 0, 20, "a", 1);
	writer = test_pack(store->root_fd, 2, 0, 20, NULL);
	assert_non_null(writer);
	assert_ok(pack_writer_sync(writer, NULL), NULL);
	pack_writer_close(writer);
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
	store = test_store_open(state, "store");
	assert_false(test_knows_chunk(store, 2, 0));
	larder_store_close(store);
}

static void
hints_begin_anew(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct index_counts counts;
	struct index_read *read;

	test_commit(store, 1, 0, 20, "a", 1);
	assert_ok(larder_reindex(store, NULL, NULL, NULL), NULL);
	assert_ok(index_read_begin(&read, store->index, NULL), NULL);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	index_read_end(read);
	assert_int_equal(counts.chunks, 20);
	assert_int_equal(counts.seen, 0);
	assert_int_equal(counts.sketches, 0);
	test_commit(store, 2, 0, 20, "b", 2); /* the handle goes on with the new one */
	assert_true(test_knows_chunk(store, 2, 19));
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

static void
what_it_did_is_counted(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_reindex_result result;
	struct larder_err err = { 0 };

	test_commit(store, 1, 0, 20, "a", 1);
	test_commit(store, 1, 10, 30, "a", 2);
	test_forget(store, "a", 1);
	assert_ok(larder_reindex(store, NULL, &result, &err), &err);
	assert_int_equal(result.packs, 2);
	assert_int_equal(result.chunks, 30);
	assert_int_equal(result.entries, 3);
	assert_int_equal(result.versions, 2);
	assert_int_equal(result.damages, 0);
	assert_int_equal(test_entries(state, "store/tmp"), 0);
	assert_false(test_exists(state, "store/index.new"));
	assert_false(test_exists(state, "store/index.old"));
	larder_store_close(store);
}

static void
an_index_elsewhere_is_kept_there_per_store(void **state)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_store *a, *b;
	struct larder_err err = { 0 };
	char dir[4096];

	snprintf(dir, sizeof dir, "%s", test_path(state, "elsewhere"));
	options.create = true;
	options.index_dir = dir;
	options.on_notice = test_notice;
	for (int again = 0; again < 2; again++) {
		assert_ok(larder_store_open(&a, test_path(state, "a"), &options, &err), &err);
		assert_ok(larder_store_open(&b, test_path(state, "b"), &options, &err), &err);
		if (again == 0) {
			test_commit(a, 1, 0, 20, "n", 1);
			test_commit(b, 2, 0, 20, "n", 2);
		}
		assert_int_equal(test_find_name(a, "n"), 1);
		assert_int_equal(test_find_name(b, "n"), 2);
		assert_ok(larder_reindex(a, NULL, NULL, &err), &err);
		assert_int_equal(test_find_name(a, "n"), 1);
		larder_store_close(a);
		larder_store_close(b);
	}
	assert_false(test_exists(state, "a/index"));
	assert_int_equal(test_entries(state, "elsewhere"), 2);
	assert_string_equal(test_notices, "");
}

/* ---- an index that is damaged ---- */

static void
a_damaged_index_is_rebuilt_wherever_it_is_damaged(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	char *before, *bytes;
	size_t len;

	make_history(store, 5, 20);
	before = test_dump(store, true);
	larder_store_close(store);
	bytes = test_read(state, "store/index/data.mdb", &len);
	for (size_t at = 0; at < len; at += 509) {
		uint8_t was = (uint8_t)bytes[at];
		char *after;

		bytes[at] = (char)(was ^ 0x41);
		test_write(state, "store/index/data.mdb", bytes, len);
		bytes[at] = (char)was;
		test_notices[0] = '\0';
		store = test_store_open(state, "store");
		after = test_dump(store, true); /* reads every row: a bad one would fail it */
		assert_string_equal(before, after);
		free(after);
		larder_store_close(store);
	}
	free(bytes);

	/* cut short, empty, not a database */
	for (int kind = 0; kind < 3; kind++) {
		char *after;

		test_write(
		    state, "store/index/data.mdb", kind == 2 ? "rubbish" : "", kind == 2 ? 7 : 0);
		if (kind == 1)
			assert_int_equal(
			    truncate(test_path(state, "store/index/data.mdb"), 10000), 0);
		test_notices[0] = '\0';
		store = test_store_open(state, "store");
		assert_non_null(strstr(test_notices, "rebuilt"));
		after = test_dump(store, true);
		assert_string_equal(before, after);
		free(after);
		larder_store_close(store);
	}
	free(before);
}

static void
a_doubtful_index_is_rebuilt_by_the_next_open(void **state)
{
	struct larder_store *store = test_store_open(state, "store");

	make_history(store, 5, 5);
	index_mark_doubtful(store->index);
	larder_store_close(store);
	store = test_store_open(state, "store");
	assert_non_null(strstr(test_notices, "rebuilt"));
	larder_store_close(store);
	test_notices[0] = '\0';
	store = test_store_open(state, "store");
	larder_store_close(store);
	assert_string_equal(test_notices, "");
}

static void
an_index_of_another_store_is_rebuilt(void **state)
{
	struct larder_store *a = test_store_open(state, "a"), *b = test_store_open(state, "b");
	char command[10000];

	test_commit(a, 1, 0, 20, "a", 1);
	test_commit(b, 2, 0, 20, "b", 2);
	larder_store_close(a);
	larder_store_close(b);
	snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'",
	    test_path(state, "b/index"), test_path(state, "a/index"), test_path(state, "b/index"));
	assert_int_equal(system(command), 0);
	b = test_store_open(state, "b");
	assert_non_null(strstr(test_notices, "rebuilt"));
	assert_int_equal(test_find_name(b, "a"), 0);
	assert_int_equal(test_find_name(b, "b"), 2);
	larder_store_close(b);
}

static void
rubbish_of_a_killed_rebuild_is_removed(void **state)
{
	struct larder_store *store = test_store_open(state, "store");

	test_commit(store, 1, 0, 20, "a", 1);
	larder_store_close(store);
	assert_int_equal(mkdirat(test_dir(state), "store/index.new", 0700), 0);
	test_write(state, "store/index.new/data.mdb", "x", 1);
	assert_int_equal(mkdirat(test_dir(state), "store/index.old", 0700), 0);
	test_write(state, "store/index.old/data.mdb", "x", 1);
	test_same_when_rebuilt(state, "store", true);
	assert_false(test_exists(state, "store/index.new"));
	assert_false(test_exists(state, "store/index.old"));
}

/* ---- others at the same time ---- */

static int64_t hurried_ns;

static int64_t
hurry(void)
{
	return hurried_ns += 1000000000; /* a second for every look */
}

static void
a_new_index_waits_for_others_and_then_says_so(void **state)
{
	static const struct larder_sys sys = { .size = sizeof sys, .clock_mono_ns = hurry };
	struct larder_store *store = test_store_open(state, "store"), *other;
	struct larder_err err = { 0 };

	test_commit(store, 1, 0, 20, "a", 1);
	other = test_store_open(state, "store");
	larder_sys_set(&sys);
	assert_status(LARDER_ERR_BUSY, larder_reindex(store, NULL, NULL, &err), &err);
	assert_message(&err, "another process");
	larder_sys_set(NULL);
	assert_false(test_exists(state, "store/index.new"));
	test_commit(store, 2, 0, 20, "b", 2); /* both go on with the old one */
	test_commit(other, 3, 0, 20, "c", 3);
	assert_int_equal(test_find_name(store, "c"), 3);
	larder_store_close(other);
	assert_ok(larder_reindex(store, NULL, NULL, &err), &err);
	assert_int_equal(test_find_name(store, "c"), 3);
	other = test_store_open(state, "store"); /* and others come in again */
	assert_int_equal(test_find_name(other, "c"), 3);
	larder_store_close(other);
	larder_store_close(store);
}

static void
hold_for_a_while(void **state, int report)
{
	struct larder_store *store;

	if (test_store_try(&store, state, "store", NULL) < 0 || write(report, "x", 1) != 1)
		_exit(1);
	for (unsigned i = 1; i <= 20; i++) {
		usleep(10000);
		if (test_commit_try(store, 100 + i, 0, 5, "late", i, NULL) < 0)
			_exit(1);
	}
	larder_store_close(store);
}

static void
what_others_commit_while_it_is_built_is_in_it(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_err err = { 0 };
	int ends[2], status;
	char byte;
	pid_t pid;

	test_commit(store, 1, 0, 20, "a", 1);
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		hold_for_a_while(state, ends[1]);
		_exit(0);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1); /* it has the store open */
	assert_ok(larder_reindex(store, NULL, NULL, &err), &err);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(test_find_name(store, "late"), 20);
	assert_true(test_knows_chunk(store, 120, 4));
	close(ends[0]);
	close(ends[1]);
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

static void
open_and_report(void **state, int report)
{
	struct larder_store *store;

	if (test_store_try(&store, state, "store", NULL) < 0)
		_exit(1);
	if (test_find_name(store, "a") == 1 && write(report, "x", 1) != 1)
		_exit(1);
	larder_store_close(store);
}

static void
many_who_find_no_index_build_one(void **state)
{
	enum { MANY = 8 };
	struct larder_store *store = test_store_open(state, "store");
	pid_t pids[MANY];
	int ends[2], status;
	char bytes[MANY + 1];

	test_commit(store, 1, 0, 20, "a", 1);
	larder_store_close(store);
	clear(state, "store/index");
	assert_int_equal(pipe(ends), 0);
	for (int i = 0; i < MANY; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			open_and_report(state, ends[1]);
			_exit(0);
		}
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
		assert_int_equal(read(ends[0], bytes, 1), 1);
	}
	close(ends[0]);
	close(ends[1]);
	test_same_when_rebuilt(state, "store", true);
}

/* ---- death and failure ---- */

static void
rebuild_in_child(void **state, int report)
{
	struct larder_store *store;

	(void)report;
	if (test_store_try(&store, state, "store", NULL) < 0 ||
	    larder_reindex(store, NULL, NULL, NULL) < 0)
		_exit(1);
	larder_store_close(store);
}

static void
death_at_any_change_of_the_disk_leaves_an_index_or_none(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	char *before, *after, told[10];
	bool killed = true;

	make_history(store, 7, 10);
	before = test_dump(store, true);
	larder_store_close(store);
	for (int absent = 0; absent < 2; absent++, killed = true)
		for (long live = 0; killed; live++) {
			if (absent)
				clear(state, "store/index");
			test_set_mortal();
			test_calls_to_live = live;
			killed = test_in_child(state, rebuild_in_child, told, sizeof told);
			test_calls_to_live = -1;
			larder_sys_set(NULL);
			store = test_store_open(state, "store");
			after = test_dump(store, true);
			assert_string_equal(before, after);
			larder_store_close(store);
			free(after);
		}
	free(before);
}

static void
every_failure_is_told_and_leaves_an_index_or_none(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	char *before, *after;

	make_history(store, 7, 10);
	before = test_dump(store, true);
	larder_store_close(store);
	for (int kind = 0; kind < 3; kind++)
		for (long n = 1;; n++) {
			struct file_faulty_plan plan = {
				.ops = FILE_FAULTY_ALL,
				.nth = n,
				.code = kind == 0 ? EIO : ENOSPC,
			};
			struct larder_err err = { 0 };
			bool failed;
			int rc;

			if (kind < 2)
				file_faulty_set(&plan);
			else
				mem_faulty_set(n, false);
			rc = test_store_try(&store, state, "store", &err);
			if (rc == 0)
				rc = larder_reindex(store, NULL, NULL, &err);
			larder_store_close(store);
			failed = kind < 2 ? file_faulty_failed() : mem_faulty_failed();
			if (kind < 2)
				assert_int_equal(file_faulty_open(), 0);
			else
				assert_int_equal(mem_faulty_live(), 0);
			larder_sys_set(NULL);
			if (rc != 0)
				assert_true(err.message[0] != '\0');
			store = test_store_open(state, "store");
			after = test_dump(store, true);
			assert_string_equal(before, after);
			larder_store_close(store);
			free(after);
			if (!failed) {
				assert_ok(rc, &err);
				break;
			}
		}
	free(before);
}

static void
tell_progress(void *context, const struct larder_progress *progress)
{
	struct larder_progress *last = context;

	assert_true(progress->files_done <= progress->files_total);
	*last = *progress;
}

static void
it_can_be_watched_and_stopped(void **state)
{
	static const struct larder_sys sys = { .size = sizeof sys, .clock_mono_ns = hurry };
	struct larder_store *store = test_store_open(state, "store");
	struct larder_progress last = { 0 };
	int stop = 0;
	struct larder_watch watch = {
		.on_progress = tell_progress,
		.context = &last,
		.cancel = &stop,
	};
	struct larder_err err = { 0 };

	for (unsigned i = 0; i < 5; i++)
		test_commit(store, i, 0, 20, "a", 1 + i);
	larder_sys_set(&sys);
	assert_ok(larder_reindex(store, &watch, NULL, &err), &err);
	assert_int_equal(last.files_total, 5);
	assert_true(last.bytes_total > 0);
	stop = 1;
	assert_status(LARDER_ERR_CANCELLED, larder_reindex(store, &watch, NULL, &err), &err);
	larder_sys_set(NULL);
	assert_false(test_exists(state, "store/index.new"));
	assert_int_equal(test_find_name(store, "a"), 5);
	larder_store_close(store);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		reindex_case(a_rebuilt_index_equals_the_one_it_replaces),
		reindex_case(an_absent_index_comes_back_with_a_notice),
		reindex_case(writers_that_were_merged_by_copying_stay_merged),
		reindex_case(what_another_writer_forgot_stays_forgotten),
		reindex_case(packs_that_no_entry_names_are_not_taken_in),
		reindex_case(hints_begin_anew),
		reindex_case(what_it_did_is_counted),
		reindex_case(an_index_elsewhere_is_kept_there_per_store),
		reindex_case(a_damaged_index_is_rebuilt_wherever_it_is_damaged),
		reindex_case(a_doubtful_index_is_rebuilt_by_the_next_open),
		reindex_case(an_index_of_another_store_is_rebuilt),
		reindex_case(rubbish_of_a_killed_rebuild_is_removed),
		reindex_case(a_new_index_waits_for_others_and_then_says_so),
		reindex_case(what_others_commit_while_it_is_built_is_in_it),
		reindex_case(many_who_find_no_index_build_one),
		reindex_case(death_at_any_change_of_the_disk_leaves_an_index_or_none),
		reindex_case(every_failure_is_told_and_leaves_an_index_or_none),
		reindex_case(it_can_be_watched_and_stopped),
	};

	return test_run(cases);
}
