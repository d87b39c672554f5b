/*
 * FLAVOURS: release asan tsan
 *
 * The order of durable steps, and that nothing is acknowledged that could be lost.
 */
#include "cas/commit.h"

#include "tests/harness.h"

#include <pthread.h>

#include "cas/apply.h"
#include "cas/journal.h"
#include "tests/doubles/doubles.h"
#include "tests/unit/t_store.h"

/* ---- the order ---- */

static char steps[8192]; /* what was done to the disk, a letter each and the name it was done to */
static int root_fd;

static void
note(const char *step, int fd)
{
	char link[64], path[512];
	ssize_t got;
	size_t len = strlen(steps);

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	got = readlink(link, path, sizeof path - 1);
	path[got > 0 ? got : 0] = '\0';
	if (strstr(path, "/store/") == NULL)
		return;
	snprintf(steps + len, sizeof steps - len, "%s %s\n", step, strstr(path, "/store/") + 7);
}

static int
fsync_noted(int fd)
{
	note("sync", fd);
	return fsync(fd);
}

static int
fdatasync_noted(int fd)
{
	note("sync", fd);
	return fdatasync(fd);
}

static ssize_t
write_noted(int fd, const struct iovec *iov, int count, off_t at)
{
	note("write", fd);
	return pwritev(fd, iov, count, at);
}

static int
rename_noted(int from_dir, const char *from, int to_dir, const char *to)
{
	size_t len = strlen(steps);

	snprintf(steps + len, sizeof steps - len, "rename %s\n", to);
	return renameat(from_dir, from, to_dir, to);
}

/* Where the step that begins with `step` stands, behind `after`; the case fails if there is none.
 */
static const char *
find_step(const char *step, const char *after)
{
	const char *at = strstr(after, step);

	if (at == NULL)
		fail_msg("no step \"%s\" in:\n%s", step, after);
	return at;
}

static void
steps_come_in_their_order(void **state)
{
	static const struct larder_sys sys = {
		.size = sizeof sys,
		.file_fsync = fsync_noted,
		.file_fdatasync = fdatasync_noted,
		.file_pwritev = write_noted,
		.file_renameat = rename_noted,
	};
	struct larder_store *store = test_store_open(state, "store");
	struct pack_writer *packs[2];
	struct buf operations = { 0 };
	struct commit commit = { .packs = packs, .pack_count = 2, .operations = &operations };
	char path[2][PACK_PATH_LEN], folder[32];
	struct larder_err err = { 0 };
	const char *at;

	test_commit(store, 1, 0, 10, "first", 1); /* the segment of the journal is there */
	for (unsigned i = 0; i < 2; i++) {
		packs[i] = test_pack(store->root_fd, 2 + i, 0, 10, &err);
		assert_non_null(packs[i]);
		pack_path(path[i], pack_writer_id(packs[i]));
	}
	assert_int_equal(test_add_version(&operations, "second", 2), 0);
	steps[0] = '\0';
	root_fd = store->root_fd;
	larder_sys_set(&sys);
	assert_ok(commit_run(store, &commit, &err), &err);
	larder_sys_set(NULL);
	pack_writer_close(packs[0]);
	pack_writer_close(packs[1]);
	buf_release(&operations);

	at = steps;
	for (int i = 0; i < 2; i++) {
		at = find_step("sync tmp/pack-", at);
		at = find_step("rename packs/", at);
		assert_memory_equal(at + 7, path[i], strlen(path[i]));
	}
	for (int i = 0; i < 2; i++) {
		snprintf(folder, sizeof folder, "sync packs/%.2s\n", path[i] + 6);
		assert_non_null(strstr(at, folder));
	}
	at = find_step("sync packs/", at);
	assert_null(strstr(find_step("write journal/", at), "sync packs/"));
	at = find_step("write journal/", at);
	at = find_step("sync journal/", at);
	assert_null(strstr(at, "write journal/x")); /* only the lock is written behind it */
	assert_true(commit.journal_bytes > 0);
	larder_store_close(store);
}

/* ---- what it does ---- */

static void
what_is_committed_is_there_for_this_handle_and_the_next(void **state)
{
	struct larder_store *store = test_store_open(state, "store");

	for (int again = 0; again < 2; again++) {
		if (again == 0)
			test_commit(store, 1, 0, 100, "name", 7);
		assert_true(test_knows_chunk(store, 1, 0));
		assert_true(test_knows_chunk(store, 1, 99));
		assert_false(test_knows_chunk(store, 1, 100));
		assert_int_equal(test_find_name(store, "name"), 7);
		larder_store_close(store);
		store = test_store_open(state, "store");
	}
	test_forget(store, "name", 7);
	assert_int_equal(test_find_name(store, "name"), 0);
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
	assert_string_equal(test_notices, "");
}

static int
write_seen(void *context, struct index_write *write, struct larder_err *err)
{
	static const uint8_t key[16] = { 1 };

	return index_seen_put(write, key, context, strlen(context), err);
}

static void
check_seen(struct larder_store *store, const char *want)
{
	static const uint8_t key[16] = { 1 };
	struct buf data = { 0 };
	struct index_read *read;

	assert_ok(index_read_begin(&read, store->index, NULL), NULL);
	assert_ok(index_seen_get(&data, read, key, NULL), NULL);
	index_read_end(read);
	assert_int_equal(data.len, strlen(want));
	assert_memory_equal(data.data, want, data.len);
	buf_release(&data);
}

static void
hints_go_with_the_entry_or_alone(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct buf operations = { 0 }, nothing = { 0 };
	char first[] = "first", second[] = "second", third[] = "third";
	struct commit commit = { .operations = &operations, .hints = write_seen, .context = first };
	struct larder_err err = { 0 };
	uint64_t before, after;

	assert_int_equal(test_add_version(&operations, "n", 1), 0);
	assert_ok(commit_run(store, &commit, &err), &err);
	assert_true(commit.journal_bytes > operations.len);
	check_seen(store, "first");
	assert_ok(journal_bytes(&before, store->root_fd, &err), &err);

	commit = (struct commit) { .hints = write_seen, .context = second };
	assert_ok(commit_hints(store, &commit, &err), &err);
	check_seen(store, "second");
	commit = (struct commit) { .hints = write_seen, .context = third, .operations = &nothing };
	assert_ok(commit_run(store, &commit, &err), &err);
	check_seen(store, "third");
	commit = (struct commit) { .operations = &nothing };
	assert_ok(commit_run(store, &commit, &err), &err);
	assert_ok(journal_bytes(&after, store->root_fd, &err), &err);
	assert_int_equal(before, after); /* nothing to commit: nothing is written */
	buf_release(&operations);
	larder_store_close(store);
}

static void
more_operations_than_an_entry_holds_are_refused_before_anything_is_written(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct buf operations = { 0 };
	struct commit commit = { .operations = &operations };
	struct larder_err err = { 0 };
	uint64_t bytes;

	for (unsigned i = 0; operations.len <= ENTRY_LEN_MAX; i++)
		assert_int_equal(test_add_end(&operations, "a/name/of/some/length", i), 0);
	assert_status(LARDER_ERR_LIMIT, commit_run(store, &commit, &err), &err);
	assert_message(&err, "ENTRY_LEN_MAX");
	assert_ok(journal_bytes(&bytes, store->root_fd, &err), &err);
	assert_int_equal(bytes, 0);
	buf_release(&operations);
	test_commit(store, 1, 0, 1, "n", 1);
	larder_store_close(store);
}

static void
space_is_looked_at(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_err err = { 0 };

	assert_ok(commit_space(store, 0, &err), &err);
	assert_ok(commit_space(store, 1000, &err), &err);
	assert_status(LARDER_ERR_NO_SPACE, commit_space(store, UINT64_MAX, &err), &err);
	assert_message(&err, "are free");
	larder_store_close(store);
}

/* ---- who writes ---- */

static void
copy_store(void **state, const char *from, const char *to)
{
	char command[10000];

	snprintf(command, sizeof command, "cp -r '%s' '%s'", test_path(state, from),
	    test_path(state, to));
	assert_int_equal(system(command), 0);
}

static void
a_copied_store_goes_on_as_another_writer_and_says_so(void **state)
{
	struct larder_store *a = test_store_open(state, "store"), *b;
	struct larder_store_info before = LARDER_STORE_INFO_INIT, after = LARDER_STORE_INFO_INIT;

	larder_store_info(&before, a);
	assert_string_equal(before.writer, "");
	assert_int_equal(test_entries(state, "store/journal"), 0);
	test_commit(a, 1, 0, 10, "old", 1);
	larder_store_info(&before, a);
	assert_int_equal(strlen(before.writer), 32);
	larder_store_close(a);
	copy_store(state, "store", "copy");

	b = test_store_open(state, "copy");
	test_notices[0] = '\0';
	test_commit(b, 2, 0, 10, "new", 2);
	assert_non_null(strstr(test_notices, "copied"));
	larder_store_info(&after, b);
	assert_string_not_equal(before.writer, after.writer);
	assert_string_equal(before.id, after.id);
	assert_int_equal(test_entries(state, "copy/journal"), 2);
	assert_int_equal(test_find_name(b, "old"), 1);
	assert_int_equal(test_find_name(b, "new"), 2);
	test_notices[0] = '\0';
	test_commit(b, 3, 0, 10, "new", 3);
	larder_store_close(b);

	/* the original stays what it is, and says nothing */
	a = test_store_open(state, "store");
	test_commit(a, 4, 0, 10, "own", 4);
	larder_store_info(&after, a);
	assert_string_equal(before.writer, after.writer);
	larder_store_close(a);
	assert_string_equal(test_notices, "");
	test_same_when_rebuilt(state, "copy", false);
	test_same_when_rebuilt(state, "store", true);
}

enum { WORKERS = 4, EACH = 12 };

struct worker {
	pthread_t thread;
	struct larder_store *store;
	unsigned number;
	int rc;
};

static void *
commit_some(void *context)
{
	struct worker *w = context;

	for (unsigned i = 0; i < EACH && w->rc == 0; i++) {
		char name[32];

		snprintf(name, sizeof name, "%u", w->number);
		w->rc = test_commit_try(w->store, 0, 0, 0, name, w->number * 100 + i, NULL);
	}
	return NULL;
}

static void
threads_commit_through_one_handle(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct worker workers[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker) { .store = store, .number = i + 1 };
		assert_int_equal(
		    pthread_create(&workers[i].thread, NULL, commit_some, &workers[i]), 0);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		char name[32];

		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].rc, 0);
		snprintf(name, sizeof name, "%u", i + 1);
		assert_int_equal(test_find_name(store, name), (i + 1) * 100 + EACH - 1);
	}
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

static void
commit_in_process(void **state, int report)
{
	struct larder_store *store;

	(void)report;
	if (test_store_try(&store, state, "store", NULL) < 0)
		_exit(1);
	for (unsigned i = 0; i < EACH; i++) {
		char name[32];

		snprintf(name, sizeof name, "%d", (int)getpid());
		if (test_commit_try(
			store, (unsigned)getpid(), i * 10, i * 10 + 20, name, i + 1, NULL) < 0)
			_exit(1);
		if (test_find_name(store, name) != i + 1)
			_exit(2);
	}
	larder_store_close(store);
}

static void
processes_commit_to_one_store(void **state)
{
	pid_t pids[WORKERS];
	struct larder_store *store;
	int status;

	for (int i = 0; i < WORKERS; i++) { /* which also make it, all at once */
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			commit_in_process(state, -1);
			_exit(0);
		}
	}
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(test_entries(state, "store/journal"), 1); /* one writer */
	store = test_store_open(state, "store");
	for (int i = 0; i < WORKERS; i++) {
		char name[32];

		snprintf(name, sizeof name, "%d", (int)pids[i]);
		assert_int_equal(test_find_name(store, name), EACH);
		assert_true(test_knows_chunk(store, (unsigned)pids[i], 0));
		assert_true(test_knows_chunk(store, (unsigned)pids[i], EACH * 10 + 9));
	}
	larder_store_close(store);
	test_same_when_rebuilt(state, "store", true);
}

static void
a_forked_child_is_told_to_open_its_own(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_err err = { 0 };
	int status;
	pid_t pid;

	assert_ok(store_enter(store, &err), &err);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int rc = store_enter(store, &err);

		larder_store_close(store);
		_exit(rc == LARDER_ERR_USAGE && strstr(err.message, "fork") != NULL ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	test_commit(store, 1, 0, 1, "n", 1);
	larder_store_close(store);
}

/* ---- failures ---- */

static void
a_failed_sync_ends_writing_through_this_handle(void **state)
{
	for (long n = 1;; n++) {
		struct file_faulty_plan plan = { .ops = FILE_FAULTY_SYNC, .nth = n };
		struct larder_store *store = test_store_open(state, "store");
		struct larder_err err = { 0 };
		unsigned gid;
		bool failed;
		int rc;

		test_commit(store, 1, 0, 5, "base", 1);
		file_faulty_set(&plan);
		rc = test_commit_try(store, 2, 0, 5, "name", (unsigned)n + 10, &err);
		failed = file_faulty_failed();
		larder_sys_set(NULL);
		if (!failed) {
			assert_ok(rc, &err);
			assert_true(n > 3);
			larder_store_close(store);
			break;
		}
		assert_status(LARDER_ERR_IO, rc, &err);
		assert_status(
		    LARDER_ERR_IO, test_commit_try(store, 3, 0, 5, "other", 2, &err), &err);
		assert_message(&err, "writing stopped");
		assert_message(&err, "open the store again");
		larder_store_close(store);

		/* it was not acknowledged: there as a whole, or not at all */
		store = test_store_open(state, "store");
		assert_int_equal(test_find_name(store, "base"), 1);
		assert_int_equal(test_find_name(store, "other"), 0);
		gid = test_find_name(store, "name");
		if (gid == (unsigned)n + 10)
			assert_true(test_knows_chunk(store, 2, 4));
		test_commit(store, 3, 0, 5, "after", 2);
		larder_store_close(store);
	}
	test_same_when_rebuilt(state, "store", true);
}

/* Opens, commits two versions; *told is how many were acknowledged. */
static int
open_and_commit(void **state, unsigned first, unsigned *told, struct larder_err *err)
{
	struct larder_store *store;
	int rc;

	*told = 0;
	rc = test_store_try(&store, state, "store", err);
	for (unsigned i = 0; rc == 0 && i < 2; i++) {
		rc = test_commit_try(store, first + i, 0, 5, "name", first + i, err);
		*told += rc == 0;
	}
	larder_store_close(store);
	return rc;
}

static void
check_told(void **state, unsigned first, unsigned told)
{
	struct larder_store *store = test_store_open(state, "store");
	unsigned gid = test_find_name(store, "name");

	if (told > 0)
		assert_in_range(gid, first + told - 1, first + told);
	for (unsigned i = 0; i < told; i++)
		assert_true(test_knows_chunk(store, first + i, 4));
	larder_store_close(store);
}

static void
every_call_that_fails_is_told_and_costs_nothing_acknowledged(void **state)
{
	static const struct {
		unsigned ops;
		int code;
		bool shorten;
	} rows[] = {
		{ FILE_FAULTY_ALL, EIO, false },
		{ FILE_FAULTY_WRITE | FILE_FAULTY_MKDIR | FILE_FAULTY_OPEN, ENOSPC, false },
		{ FILE_FAULTY_READ | FILE_FAULTY_WRITE, 0, true },
	};
	unsigned first = 1;

	for (size_t row = 0; row < test_count(rows); row++)
		for (int for_ever = 0; for_ever < 2; for_ever++)
			for (long n = 1;; n += for_ever ? 7 : 1, first += 2) {
				struct file_faulty_plan plan = {
					.ops = rows[row].ops,
					.code = rows[row].code,
					.shorten = rows[row].shorten,
					.nth = n,
					.for_ever = for_ever,
				};
				struct larder_err err = { 0 };
				unsigned told;
				bool failed;
				int rc;

				file_faulty_set(&plan);
				rc = open_and_commit(state, first, &told, &err);
				failed = file_faulty_failed();
				assert_int_equal(file_faulty_open(), 0);
				larder_sys_set(NULL);
				if (rc != 0)
					assert_true(err.message[0] != '\0');
				check_told(state, first, told);
				if (!failed) {
					assert_ok(rc, &err);
					break;
				}
			}
	assert_null(strstr(test_notices, "damaged"));
	test_same_when_rebuilt(state, "store", true);
}

static void
a_disk_that_fills_up_at_any_byte_is_a_clean_end(void **state)
{
	unsigned first = 1;

	for (uint64_t space = 0;; space += 211, first += 2) {
		struct file_faulty_plan plan = {
			.ops = FILE_FAULTY_WRITE,
			.has_space = true,
			.space = space,
		};
		struct larder_err err = { 0 };
		unsigned told;
		int rc;

		file_faulty_set(&plan);
		rc = open_and_commit(state, first, &told, &err);
		larder_sys_set(NULL);
		check_told(state, first, told);
		if (rc == 0)
			break;
		assert_status(LARDER_ERR_NO_SPACE, rc, &err);
	}
	test_same_when_rebuilt(state, "store", true);
}

static void
memory_that_is_missing_is_told_and_costs_nothing_acknowledged(void **state)
{
	unsigned first = 1;

	for (long n = 1;; n++, first += 2) {
		struct larder_err err = { 0 };
		unsigned told;
		bool failed;
		long live;
		int rc;

		mem_faulty_set(n, false);
		rc = open_and_commit(state, first, &told, &err);
		failed = mem_faulty_failed();
		live = mem_faulty_live();
		larder_sys_set(NULL);
		assert_int_equal(live, 0);
		check_told(state, first, told);
		if (!failed) {
			assert_ok(rc, &err);
			break;
		}
		if (rc != 0)
			assert_status(LARDER_ERR_NOMEM, rc, &err);
	}
	test_same_when_rebuilt(state, "store", true);
}

static void
report_commits(void **state, int report)
{
	struct larder_store *store;

	if (test_store_try(&store, state, "store", NULL) < 0)
		_exit(1);
	for (unsigned i = 0; i < 2; i++) {
		if (test_commit_try(store, i + 1, 0, 5, "name", i + 1, NULL) < 0 ||
		    write(report, "x", 1) != 1)
			_exit(1);
	}
	larder_store_close(store);
}

static void
death_at_any_change_of_the_disk_costs_nothing_acknowledged(void **state)
{
	char told[10], name[32];

	for (long live = 0;; live += live < 270 ? 37 : 1) { /* init makes 256 folders */
		struct larder_store *store;
		bool killed;

		test_set_mortal();
		test_calls_to_live = live;
		killed = test_in_child(state, report_commits, told, sizeof told);
		test_calls_to_live = -1;
		larder_sys_set(NULL);
		check_told(state, 1, (unsigned)strlen(told));
		store = test_store_open(state, "store");
		test_commit(store, 9, 0, 5, "after", 9);
		assert_int_equal(test_entries(state, "store/tmp"), 0);
		larder_store_close(store);
		test_same_when_rebuilt(state, "store", true);
		snprintf(name, sizeof name, "old%ld", live); /* the next one begins with nothing */
		assert_int_equal(rename(test_path(state, "store"), test_path(state, name)), 0);
		if (!killed) {
			assert_string_equal(told, "xx");
			break;
		}
	}
	assert_string_equal(test_notices, "");
}

static int
setup(void **state)
{
	test_notices[0] = '\0';
	return test_setup(state);
}

#define commit_case(fn) cmocka_unit_test_setup_teardown(fn, setup, test_teardown)

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		commit_case(steps_come_in_their_order),
		commit_case(what_is_committed_is_there_for_this_handle_and_the_next),
		commit_case(hints_go_with_the_entry_or_alone),
		commit_case(
		    more_operations_than_an_entry_holds_are_refused_before_anything_is_written),
		commit_case(space_is_looked_at),
		commit_case(a_copied_store_goes_on_as_another_writer_and_says_so),
		commit_case(threads_commit_through_one_handle),
		commit_case(processes_commit_to_one_store),
		commit_case(a_forked_child_is_told_to_open_its_own),
		commit_case(a_failed_sync_ends_writing_through_this_handle),
		commit_case(every_call_that_fails_is_told_and_costs_nothing_acknowledged),
		commit_case(a_disk_that_fills_up_at_any_byte_is_a_clean_end),
		commit_case(memory_that_is_missing_is_told_and_costs_nothing_acknowledged),
		commit_case(death_at_any_change_of_the_disk_costs_nothing_acknowledged),
	};

	return test_run(cases);
}
