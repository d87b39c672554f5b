/*
 * Opening and making stores: what becomes one, what is refused and why, and
 * that an init which died is ended by the next one.
 */
#include "cas/store.h"

#include "tests/harness.h"

#include "tests/doubles/doubles.h"
#include "tests/unit/t_store.h"

static int
setup(void **state)
{
	test_notices[0] = '\0';
	return test_setup(state);
}

#define store_case(fn) cmocka_unit_test_setup_teardown(fn, setup, test_teardown)

static int
try_open(void **state, const char *name, bool create, bool exclusive, struct larder_err *err)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_store *store;
	int rc;

	options.create = create;
	options.create_exclusive = exclusive;
	options.on_notice = test_notice;
	rc = larder_store_open(&store, test_path(state, name), &options, err);
	assert_true((rc == 0) == (store != NULL));
	larder_store_close(store);
	return rc;
}

static unsigned
mode_of(void **state, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(test_dir(state), name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

static void
a_store_is_made_where_there_is_nothing(void **state)
{
	static const char *const names[] = { "config", "lock", "packs/00", "packs/ff", "journal",
		"tmp", "trash", "index/data.mdb" };
	struct larder_store_info info = LARDER_STORE_INFO_INIT;
	struct larder_store *store;
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_NOT_FOUND, try_open(state, "store", false, false, &err), &err);
	assert_message(&err, "no store");
	assert_message(&err, "/store");
	assert_false(test_exists(state, "store"));

	store = test_store_open(state, "store");
	for (size_t i = 0; i < test_count(names); i++) {
		char path[64];

		snprintf(path, sizeof path, "store/%s", names[i]);
		assert_true(test_exists(state, path));
	}
	assert_int_equal(mode_of(state, "store"), 0700);
	assert_int_equal(mode_of(state, "store/config"), 0600);
	assert_int_equal(mode_of(state, "store/packs"), 0700);
	assert_int_equal(mode_of(state, "store/index/data.mdb") & 077, 0);
	larder_store_info(&info, store);
	assert_int_equal(strlen(info.id), 32);
	assert_string_equal(info.writer, ""); /* nobody has written yet */
	assert_string_equal(info.mode, "plain");
	assert_int_equal(info.format, 1);
	assert_int_equal(info.chunk_size, 16384);
	assert_string_equal(info.path, test_path(state, "store"));
	larder_store_close(store);
	assert_string_equal(test_notices, "");

	assert_ok(try_open(state, "store", false, false, &err), &err);
	assert_status(LARDER_ERR_EXISTS, try_open(state, "store", false, true, &err), &err);
	assert_message(&err, "a store already");
}

static void
an_empty_directory_becomes_a_private_one(void **state)
{
	struct larder_err err = { 0 };

	assert_int_equal(mkdirat(test_dir(state), "store", 0755), 0);
	assert_status(LARDER_ERR_NOT_FOUND, try_open(state, "store", false, false, &err), &err);
	assert_int_equal(test_entries(state, "store"), 0);
	assert_ok(try_open(state, "store", false, true, &err), &err);
	assert_int_equal(mode_of(state, "store"), 0700);
}

static void
only_the_last_component_of_a_path_is_made(void **state)
{
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_NOT_FOUND, try_open(state, "a/b", true, false, &err), &err);
	assert_message(&err, "/a to make it in");
	assert_ok(try_open(state, "a", true, false, &err), &err);
	assert_ok(try_open(state, "c///", true, false, &err), &err);
	assert_true(test_exists(state, "c/config"));
}

static void
what_is_no_store_is_left_as_it_is(void **state)
{
	static const struct {
		const char *name; /* made in the directory; a last slash makes it a folder */
		int status;
	} rows[] = {
		{ "file", LARDER_ERR_USAGE },
		{ "tmp/", LARDER_ERR_USAGE }, /* also the names of a store, without its lock */
		{ "packs/", LARDER_ERR_USAGE },
		{ "index/", LARDER_ERR_USAGE },
		{ "index.html", LARDER_ERR_USAGE },
		{ ".hidden", LARDER_ERR_USAGE },
		{ "lost+found/", LARDER_ERR_USAGE },
	};
	struct larder_err err = { 0 };

	for (size_t i = 0; i < test_count(rows); i++)
		for (int create = 0; create < 2; create++) {
			char dir[20], path[100];
			size_t len;

			snprintf(dir, sizeof dir, "dir%zu.%d", i, create);
			assert_int_equal(mkdirat(test_dir(state), dir, 0755), 0);
			len = (size_t)snprintf(path, sizeof path, "%s/%s", dir, rows[i].name);
			if (path[len - 1] == '/')
				assert_int_equal(mkdirat(test_dir(state), path, 0755), 0);
			else
				test_write(state, path, "x", 1);
			assert_status(
			    rows[i].status, try_open(state, dir, create, false, &err), &err);
			assert_message(&err, "not empty");
			assert_int_equal(test_entries(state, dir), 1);
			assert_int_equal(mode_of(state, dir), 0755);
		}

	test_write(state, "plain", "x", 1);
	assert_status(LARDER_ERR_USAGE, try_open(state, "plain", true, false, &err), &err);
	assert_message(&err, "not a directory");

	/* a user's files in folders that have our names */
	assert_int_equal(mkdirat(test_dir(state), "mine", 0755), 0);
	assert_int_equal(mkdirat(test_dir(state), "mine/tmp", 0755), 0);
	test_write(state, "mine/lock", "", 0);
	test_write(state, "mine/tmp/precious", "x", 1);
	assert_status(LARDER_ERR_USAGE, try_open(state, "mine", true, false, &err), &err);
	assert_true(test_exists(state, "mine/tmp/precious"));
}

static void
a_store_without_its_config_is_not_made_anew(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_err err = { 0 };

	test_commit(store, 1, 0, 10, "a", 1);
	larder_store_close(store);
	assert_int_equal(rename(test_path(state, "store/config"), test_path(state, "config")), 0);
	for (int create = 0; create < 2; create++) {
		assert_status(
		    LARDER_ERR_CORRUPT, try_open(state, "store", create, false, &err), &err);
		assert_message(&err, "config is missing");
		assert_message(&err, "put config back");
	}
	assert_int_equal(rename(test_path(state, "config"), test_path(state, "store/config")), 0);
	store = test_store_open(state, "store");
	assert_int_equal(test_find_name(store, "a"), 1);
	larder_store_close(store);
}

static void
stores_of_another_time_are_refused(void **state)
{
	struct larder_err err = { 0 };
	size_t len;
	char *bytes;

	larder_store_close(test_store_open(state, "store"));
	bytes = test_read(state, "store/config", &len);
	bytes[30] ^= 1;
	test_write(state, "store/config", bytes, len);
	free(bytes);
	assert_status(LARDER_ERR_CORRUPT, try_open(state, "store", true, false, &err), &err);
	assert_message(&err, "config");
}

static void
arguments_that_cannot_be_are_told(void **state)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_store *store;
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_USAGE, larder_store_open(NULL, "x", NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE, larder_store_open(&store, NULL, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE, larder_store_open(&store, "", NULL, &err), &err);
	assert_int_equal(
	    larder_store_open(&store, test_path(state, "x"), NULL, NULL), LARDER_ERR_NOT_FOUND);
	options.chunk_size = 5000;
	options.create = true;
	assert_status(LARDER_ERR_USAGE,
	    larder_store_open(&store, test_path(state, "x"), &options, &err), &err);
	assert_message(&err, "power of two");
	options.size = 0;
	assert_status(LARDER_ERR_USAGE,
	    larder_store_open(&store, test_path(state, "x"), &options, &err), &err);
	assert_false(test_exists(state, "x"));
	assert_status(LARDER_ERR_USAGE, store_enter(NULL, &err), &err);
	larder_store_close(NULL);

	/* a caller of an older library, whose struct ends before chunk_size */
	options.size = offsetof(struct larder_open_options, chunk_size);
	assert_ok(larder_store_open(&store, test_path(state, "x"), &options, &err), &err);
	assert_int_equal(store->config.chunk_size, 16384);
	larder_store_close(store);
}

static void
what_needs_no_store_answers(void **state)
{
	struct larder_store_info info = { .size = offsetof(struct larder_store_info, mode) };
	struct larder_store *store = test_store_open(state, "store");
	int place;

	assert_int_not_equal(strlen(larder_version()), 0);
	assert_string_equal(larder_status_code(0), "ok");
	assert_string_equal(larder_status_code(LARDER_ERR_NOT_FOUND), "not_found");
	assert_non_null(larder_status_code(12345));
	assert_false(larder_fault(&place));
	info.mode = "untouched"; /* a caller of an older library, whose struct ends before it */
	larder_store_info(&info, store);
	assert_string_equal(info.mode, "untouched");
	assert_string_equal(info.path, test_path(state, "store"));
	larder_store_close(store);
}

static void
a_store_of_protocol_prefix_needs_a_newer_larder(void **state)
{
	struct larder_err err = { 0 };
	struct config config;
	struct buf bytes = { 0 };
	struct larder_store *store = test_store_open(state, "store");

	config = store->config;
	larder_store_close(store);
	config.prefix = true;
	assert_int_equal(config_encode(&bytes, &config), 0);
	test_write(state, "store/config", bytes.data, bytes.len);
	buf_release(&bytes);
	assert_status(LARDER_ERR_VERSION, try_open(state, "store", true, false, &err), &err);
	assert_message(&err, "protocol prefix");
}

static void
chunk_sizes_are_kept(void **state)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_store *store;
	struct larder_err err = { 0 };

	options.chunk_size = 65536;
	options.create = true;
	assert_ok(larder_store_open(&store, test_path(state, "x"), &options, &err), &err);
	larder_store_close(store);
	options.chunk_size = 4096; /* for new stores only */
	assert_ok(larder_store_open(&store, test_path(state, "x"), &options, &err), &err);
	assert_int_equal(store->config.chunk_size, 65536);
	larder_store_close(store);
}

static void
stray_files_go_when_nobody_else_is_there(void **state)
{
	struct larder_store *store = test_store_open(state, "store"), *other;

	test_write(state, "store/tmp/pack-of-somebody-who-died", "x", 1);
	test_write(state, "store/writer.tmp-0011", "x", 1);
	other = test_store_open(state, "store"); /* it might be the other one's */
	assert_true(test_exists(state, "store/tmp/pack-of-somebody-who-died"));
	larder_store_close(other);
	larder_store_close(store);
	larder_store_close(test_store_open(state, "store"));
	assert_int_equal(test_entries(state, "store/tmp"), 0);
	assert_false(test_exists(state, "store/writer.tmp-0011"));
}

static void
make_in_child(void **state, int report)
{
	struct larder_store *store;

	(void)report;
	if (test_store_try(&store, state, "store", NULL) < 0)
		_exit(1);
	larder_store_close(store);
}

static void
an_init_that_died_is_ended_by_the_next(void **state)
{
	char text[10];
	bool killed = true;

	for (long live = 0; killed; live += live > 5 && live < 250 ? 41 : 1) {
		struct larder_store *store;
		struct larder_err err = { 0 };
		char name[30];
		int rc;

		test_set_mortal();
		test_calls_to_live = live;
		killed = test_in_child(state, make_in_child, text, sizeof text);
		test_calls_to_live = -1;
		larder_sys_set(NULL);
		rc = try_open(state, "store", false, false, &err);
		if (rc != 0)
			assert_status(LARDER_ERR_NOT_FOUND, rc, &err); /* a store, or none yet */
		store = test_store_open(state, "store");
		test_commit(store, 1, 0, 10, "a", 1);
		larder_store_close(store);
		snprintf(name, sizeof name, "o%ld", live);
		assert_int_equal(rename(test_path(state, "store"), test_path(state, name)), 0);
	}
	assert_string_equal(test_notices, "");
}

static void
every_failure_of_an_init_is_told_and_the_next_one_succeeds(void **state)
{
	for (int kind = 0; kind < 2; kind++)
		for (long n = 1;; n += n > 30 && n < 700 ? 37 : 1) {
			struct file_faulty_plan plan = { .ops = FILE_FAULTY_ALL, .nth = n };
			struct larder_err err = { 0 };
			char name[40];
			bool failed;
			int rc;

			if (kind == 0)
				file_faulty_set(&plan);
			else
				mem_faulty_set(n, false);
			rc = try_open(state, "store", true, false, &err);
			failed = kind == 0 ? file_faulty_failed() : mem_faulty_failed();
			if (kind == 0)
				assert_int_equal(file_faulty_open(), 0);
			else
				assert_int_equal(mem_faulty_live(), 0);
			larder_sys_set(NULL);
			if (rc != 0)
				assert_message(&err, "store");
			assert_ok(try_open(state, "store", true, false, &err), &err);
			snprintf(name, sizeof name, "o%d.%ld", kind, n);
			assert_int_equal(
			    rename(test_path(state, "store"), test_path(state, name)), 0);
			if (!failed) {
				assert_ok(rc, &err);
				break;
			}
		}
}

static void
processes_that_make_a_store_at_once_make_one(void **state)
{
	enum { MANY = 8 };
	pid_t pids[MANY];
	int status, exclusive = 0;

	for (int i = 0; i < MANY; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
			struct larder_store *store;
			int rc;

			options.create_exclusive = true;
			rc = larder_store_open(&store, test_path(state, "store"), &options, NULL);
			_exit(rc == 0 ? 0 : rc == LARDER_ERR_EXISTS ? 1 : 2);
		}
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_in_range(WEXITSTATUS(status), 0, 1);
		exclusive += WEXITSTATUS(status) == 0;
	}
	assert_int_equal(exclusive, 1);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		store_case(a_store_is_made_where_there_is_nothing),
		store_case(an_empty_directory_becomes_a_private_one),
		store_case(only_the_last_component_of_a_path_is_made),
		store_case(what_is_no_store_is_left_as_it_is),
		store_case(a_store_without_its_config_is_not_made_anew),
		store_case(stores_of_another_time_are_refused),
		store_case(arguments_that_cannot_be_are_told),
		store_case(what_needs_no_store_answers),
		store_case(a_store_of_protocol_prefix_needs_a_newer_larder),
		store_case(chunk_sizes_are_kept),
		store_case(stray_files_go_when_nobody_else_is_there),
		store_case(an_init_that_died_is_ended_by_the_next),
		store_case(every_failure_of_an_init_is_told_and_the_next_one_succeeds),
		store_case(processes_that_make_a_store_at_once_make_one),
	};

	return test_run(cases);
}
