/*
 * Looking and checking while memory runs out or files cannot be read: an answer
 * or an error, nothing lost, nothing left open.
 *
 * TIMEOUT: 600
 */
#include <larder.h>
#include <larder/sys.h>

#include <stdio.h>
#include <sys/stat.h>

#include "tests/doubles/doubles.h"
#include "tests/harness.h"

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

static struct larder_sys
quiet_sys(void)
{
	struct larder_sys sys = { .size = sizeof sys };

	sys.file_fsync = sys.file_fdatasync = no_sync;
	return sys;
}

/* ---- a store with two versions of a directory, deltas among them, and a large file ---- */

static void
write_lines(void **state, const char *name, unsigned count)
{
	char *text = malloc(count * 40 + 1);
	size_t len = 0;

	assert_non_null(text);
	for (unsigned i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, 40, "line %u of %s\n", i * 7 % 1000, name);
	test_write(state, name, text, len);
	free(text);
}

static void
put(void **state, struct larder_store *store, const char *name)
{
	struct larder_put_result result;
	struct larder_err err = { 0 };

	assert_ok(larder_put(store, name, test_path(state, "d"), NULL, &result, &err), &err);
}

static const char *
make_store(void **state)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_sys sys = quiet_sys();
	struct larder_store *store;
	struct larder_err err = { 0 };

	larder_sys_set(&sys);
	options.create = true;
	options.threads = 1;
	assert_ok(larder_store_open(&store, test_path(state, "store"), &options, &err), &err);
	assert_int_equal(mkdir(test_path(state, "d"), 0755), 0);
	assert_int_equal(mkdir(test_path(state, "d/e"), 0755), 0);
	write_lines(state, "d/a", 500);
	write_lines(state, "d/e/b", 600);
	write_lines(state, "d/large", 20000);
	put(state, store, "one");
	put(state, store, "two");
	write_lines(state, "d/e/b", 601);
	put(state, store, "one");
	larder_store_close(store);
	return test_path(state, "store");
}

/* ---- the calls ---- */

static int
see_version(void *context, const struct larder_version_info *v)
{
	(void)context;
	return v->version == 0;
}

static int
see_entry(void *context, const struct larder_entry *e)
{
	(void)context;
	return e->path[0] == '\0';
}

static int
see_diff(void *context, const struct larder_diff *d)
{
	(void)context;
	return d->path[0] == '\0';
}

static int
see_found(void *context, const struct larder_found *f)
{
	(void)context;
	return f->name[0] == '\0';
}

static int
see_similar(void *context, const struct larder_similar *s)
{
	(void)context;
	return s->percent <= 0;
}

static void
see_damage(void *context, const struct larder_damage *d)
{
	(void)context;
	assert_true(d->what[0] != '\0');
}

static int
call_names(struct larder_store *store, struct larder_err *err)
{
	return larder_names(store, "", 0, see_version, NULL, err);
}

static int
call_log(struct larder_store *store, struct larder_err *err)
{
	return larder_log(store, "one", 0, see_version, NULL, err);
}

static int
call_entries(struct larder_store *store, struct larder_err *err)
{
	return larder_entries(store, "one//", 0, true, see_entry, NULL, err);
}

static int
call_diff(struct larder_store *store, struct larder_err *err)
{
	return larder_diff(store, "one", "two", 0, see_diff, NULL, err);
}

static int
call_find(struct larder_store *store, struct larder_err *err)
{
	static const struct larder_id id = { { 7 } };
	int rc = larder_find(store, "b", "", NULL, 0, see_found, NULL, err);

	return rc < 0 ? rc : larder_find(store, "*", "", &id, 0, see_found, NULL, err);
}

static int
call_similar(struct larder_store *store, struct larder_err *err)
{
	return larder_similar(store, "one", 3, 0, see_similar, NULL, err);
}

static int
call_status(struct larder_store *store, struct larder_err *err)
{
	struct larder_status_info info = LARDER_STATUS_INFO_INIT;

	return larder_status(&info, store, err);
}

static int
call_check(struct larder_store *store, struct larder_err *err)
{
	struct larder_check_options options = LARDER_CHECK_OPTIONS_INIT;
	struct larder_check_result result;

	options.read = true;
	return larder_check(store, &options, see_damage, NULL, &result, err);
}

static int
call_rm(struct larder_store *store, struct larder_err *err)
{
	uint64_t count;

	return larder_rm(store, "two", true, &count, err);
}

static const struct {
	const char *what;
	int (*call)(struct larder_store *store, struct larder_err *err);
} all[] = {
	{ "names", call_names },
	{ "log", call_log },
	{ "entries", call_entries },
	{ "diff", call_diff },
	{ "find", call_find },
	{ "similar", call_similar },
	{ "status", call_status },
	{ "rm", call_rm },
	{ "check", call_check },
};

static struct larder_store *
open_again(const char *path)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_store *store;
	struct larder_err err = { 0 };

	options.threads = 1;
	assert_ok(larder_store_open(&store, path, &options, &err), &err);
	return store;
}

static void
without_memory_every_call_says_so(void **state)
{
	const char *path = make_store(state);
	struct larder_store *whole;

	for (size_t i = 0; i < test_count(all); i++) {
		for (long nth = 1;; nth++) {
			struct larder_sys sys = quiet_sys();
			struct larder_err err = { 0 };
			struct larder_store *store;
			bool failed;
			int rc;

			larder_sys_set(&sys);
			store = open_again(path);
			mem_faulty_into(&sys, nth, nth % 2 == 0);
			larder_sys_set(&sys);
			rc = all[i].call(store, &err);
			failed = mem_faulty_failed();
			sys = quiet_sys();
			larder_sys_set(&sys);
			larder_store_close(store);
			if (rc != LARDER_OK && (!failed || rc != LARDER_ERR_NOMEM)) {
				print_message("%s, allocation %ld: %d %s\n", all[i].what, nth, rc,
				    err.message);
				fail();
			}
			if (!failed)
				break;
			assert_true(nth < 5000);
		}
	}
	whole = open_again(path);
	assert_int_equal(call_check(whole, NULL), LARDER_OK);
	larder_store_close(whole);
}

static void
what_cannot_be_read_is_an_error_and_leaves_nothing_open(void **state)
{
	const char *path = make_store(state);

	for (size_t i = 0; i < test_count(all); i++) {
		for (long nth = 1;; nth++) {
			struct file_faulty_plan plan = {
				.ops = FILE_FAULTY_READ | FILE_FAULTY_OPEN,
				.nth = nth,
			};
			struct larder_sys sys = quiet_sys();
			struct larder_err err = { 0 };
			struct larder_store *store;
			bool failed;
			int rc;

			larder_sys_set(&sys);
			store = open_again(path);
			file_faulty_into(&sys, &plan);
			sys.file_fsync = sys.file_fdatasync = no_sync;
			larder_sys_set(&sys);
			rc = all[i].call(store, &err);
			failed = file_faulty_failed();
			larder_store_close(store);
			assert_true(file_faulty_open() <= 0);
			if (rc != LARDER_OK &&
			    (!failed || (rc != LARDER_ERR_IO && rc != LARDER_ERR_CORRUPT))) {
				print_message(
				    "%s, file call %ld: %d %s\n", all[i].what, nth, rc, err.message);
				fail();
			}
			if (!failed)
				break;
			assert_true(nth < 5000);
		}
	}
}

static void
nothing_is_asked_of_nothing(void **state)
{
	struct larder_check_options options = { 0 };
	struct larder_err err = { 0 };
	struct larder_store *store;
	uint64_t count;

	store = open_again(make_store(state));
	assert_status(
	    LARDER_ERR_USAGE, larder_names(NULL, "", 0, see_version, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE, larder_names(store, "", 0, NULL, NULL, &err), &err);
	assert_status(
	    LARDER_ERR_USAGE, larder_log(store, NULL, 0, see_version, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE,
	    larder_entries(store, NULL, 0, true, see_entry, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE,
	    larder_diff(store, "one", NULL, 0, see_diff, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE,
	    larder_find(NULL, "*", "", NULL, 0, see_found, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE,
	    larder_similar(store, NULL, 1, 0, see_similar, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE, larder_rm(store, NULL, true, &count, &err), &err);
	assert_status(LARDER_ERR_USAGE, larder_status(NULL, store, &err), &err);
	assert_status(
	    LARDER_ERR_USAGE, larder_check(store, &options, NULL, NULL, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE, larder_bench(true, NULL, NULL, &err), &err);
	larder_store_close(store);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(nothing_is_asked_of_nothing),
		test_case(without_memory_every_call_says_so),
		test_case(what_cannot_be_read_is_an_error_and_leaves_nothing_open),
	};

	return test_run(cases);
}
