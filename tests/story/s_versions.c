/*
 * Names and their versions: listed, logged, forgotten, and as they once were.
 */
#include <larder.h>
#include <larder/sys.h>

#include <stdio.h>
#include <sys/stat.h>

#include "tests/doubles/doubles.h"
#include "tests/harness.h"

#define T0 ((int64_t)1700000000 * 1000000000)
#define HOUR ((int64_t)3600 * 1000000000)

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

static struct larder_store *
open_store(void **state)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_sys sys = { .size = sizeof sys };
	struct larder_store *store;
	struct larder_err err = { 0 };

	sys.file_fsync = sys.file_fdatasync = no_sync;
	clock_fixed_into(&sys, T0);
	larder_sys_set(&sys);
	options.create = true;
	options.threads = 1;
	assert_ok(larder_store_open(&store, test_path(state, "store"), &options, &err), &err);
	return store;
}

/* Stores `text` as the next version, an hour after the one before. */
static void
put(void **state, struct larder_store *store, const char *name, const char *text)
{
	struct larder_put_options options = LARDER_PUT_OPTIONS_INIT;
	static const struct larder_tag tags[] = { { "by", "a test" }, { "n", "1" } };
	struct larder_put_result result;
	struct larder_err err = { 0 };

	options.tags = tags;
	options.tag_count = 2;
	test_write(state, "f", text, strlen(text));
	assert_ok(larder_put(store, name, test_path(state, "f"), &options, &result, &err), &err);
	assert_false(result.unchanged);
	clock_fixed_advance(HOUR);
}

/* ---- what comes back, as one string ---- */

struct list {
	char text[4096];
	size_t count, stop_at;
};

static int
take(void *context, const struct larder_version_info *v)
{
	struct list *list = context;
	size_t len = strlen(list->text);

	assert_int_equal(v->kind, LARDER_KIND_FILE);
	assert_int_equal(v->files, 1);
	assert_true(v->created_ns >= T0);
	assert_int_equal(strlen(v->gid), 32);
	assert_int_equal(v->tag_count, 2);
	assert_string_equal(v->tags[0].key, "by");
	assert_string_equal(v->tags[0].value, "a test");
	snprintf(list->text + len, sizeof list->text - len, "%s@%llu=%llu ", v->name,
	    (unsigned long long)v->version, (unsigned long long)v->bytes);
	return ++list->count == list->stop_at ? 42 : 0;
}

static const char *
names(struct larder_store *store, const char *prefix, int64_t at_ns)
{
	static struct list list;
	struct larder_err err = { 0 };

	memset(&list, 0, sizeof list);
	assert_ok(larder_names(store, prefix, at_ns, take, &list, &err), &err);
	return list.text;
}

static const char *
versions(struct larder_store *store, const char *name, int64_t at_ns)
{
	static struct list list;
	struct larder_err err = { 0 };

	memset(&list, 0, sizeof list);
	assert_ok(larder_log(store, name, at_ns, take, &list, &err), &err);
	return list.text;
}

static uint64_t
forget(struct larder_store *store, const char *spec, bool dry_run)
{
	struct larder_err err = { 0 };
	uint64_t count;

	assert_ok(larder_rm(store, spec, dry_run, &count, &err), &err);
	clock_fixed_advance(HOUR);
	return count;
}

static void
names_come_in_order_and_versions_newest_first(void **state)
{
	struct larder_store *store = open_store(state);

	put(state, store, "b", "1");
	put(state, store, "a/x", "12");
	put(state, store, "b", "123");
	put(state, store, "a", "1234");
	put(state, store, "ab", "12345");
	assert_string_equal(names(store, "", 0), "a@1=4 a/x@1=2 ab@1=5 b@2=3 ");
	assert_string_equal(names(store, "a", 0), "a@1=4 a/x@1=2 ab@1=5 ");
	assert_string_equal(names(store, "a/", 0), "a/x@1=2 ");
	assert_string_equal(names(store, "c", 0), "");
	assert_string_equal(versions(store, "b", 0), "b@2=3 b@1=1 ");
	larder_store_close(store);
}

static void
the_callers_answer_stops_and_comes_back(void **state)
{
	struct larder_store *store = open_store(state);
	struct list list = { .stop_at = 2 };
	struct larder_err err = { 0 };

	for (int i = 0; i < 5; i++)
		put(state, store, "n", (const char *[]){ "a", "b", "c", "d", "e" }[i]);
	assert_int_equal(larder_log(store, "n", 0, take, &list, &err), 42);
	assert_string_equal(list.text, "n@5=1 n@4=1 ");
	memset(&list, 0, sizeof list);
	list.stop_at = 1;
	assert_int_equal(larder_names(store, "", 0, take, &list, &err), 42);
	assert_int_equal(list.count, 1);
	larder_store_close(store);
}

static void
what_was_forgotten_is_gone_now_and_there_as_it_was(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_err err = { 0 };
	struct list list = { .count = 0 };

	put(state, store, "n", "1");    /* T0 */
	put(state, store, "n", "12");   /* T0 + 1 h */
	put(state, store, "n", "123");  /* T0 + 2 h */
	put(state, store, "m", "1234"); /* T0 + 3 h */
	assert_int_equal(forget(store, "n@2", true), 1);
	assert_string_equal(versions(store, "n", 0), "n@3=3 n@2=2 n@1=1 ");
	assert_int_equal(forget(store, "n@2", false), 1); /* T0 + 5 h */
	assert_string_equal(versions(store, "n", 0), "n@3=3 n@1=1 ");
	assert_int_equal(forget(store, "n@3", false), 1); /* T0 + 6 h */
	assert_string_equal(names(store, "", 0), "m@1=4 n@1=1 ");
	assert_int_equal(forget(store, "n", false), 1); /* T0 + 7 h */
	assert_string_equal(names(store, "", 0), "m@1=4 ");
	assert_status(LARDER_ERR_NOT_FOUND, larder_log(store, "n", 0, take, &list, &err), &err);
	assert_message(&err, "n: no such name");

	assert_string_equal(versions(store, "n", T0), "n@1=1 ");
	assert_string_equal(versions(store, "n", T0 + 2 * HOUR), "n@3=3 n@2=2 n@1=1 ");
	assert_string_equal(versions(store, "n", T0 + 5 * HOUR + 1), "n@3=3 n@1=1 ");
	assert_string_equal(versions(store, "n", T0 + 6 * HOUR + 1), "n@1=1 ");
	assert_string_equal(names(store, "", T0 + HOUR), "n@2=2 ");
	assert_string_equal(names(store, "", T0 - 1), "");
	assert_status(
	    LARDER_ERR_NOT_FOUND, larder_log(store, "n", T0 - 1, take, &list, &err), &err);
	assert_message(&err, "at that time");

	/* numbers are not used again */
	put(state, store, "n", "12345");
	assert_string_equal(versions(store, "n", 0), "n@4=5 ");
	larder_store_close(store);
}

static void
all_versions_of_a_name_go_together(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_status_info info = LARDER_STATUS_INFO_INIT;
	struct larder_err err = { 0 };
	char text[300];

	memset(text, 'x', sizeof text);
	for (size_t i = 1; i <= 200; i++) {
		text[i] = '\0';
		put(state, store, "many", text);
		text[i] = 'x';
	}
	put(state, store, "other", "1");
	assert_ok(larder_status(&info, store, &err), &err);
	assert_int_equal(info.names, 2);
	assert_int_equal(info.versions, 201);
	assert_int_equal(info.bytes, 200 * 201 / 2 + 1);
	assert_int_equal(forget(store, "many", true), 200);
	assert_int_equal(forget(store, "many", false), 200);
	assert_string_equal(names(store, "", 0), "other@1=1 ");
	assert_ok(larder_status(&info, store, &err), &err);
	assert_int_equal(info.names, 1);
	assert_int_equal(info.versions, 1);
	assert_int_equal(info.bytes, 1);
	assert_true(info.packs > 0 && info.chunks > 0 && info.stored_bytes > 0);
	assert_true(info.index_bytes > 0);
	larder_store_close(store);
}

static void
what_cannot_be_forgotten_says_why(void **state)
{
	struct larder_store *store = open_store(state);
	static const struct {
		const char *spec, *says;
		int status;
	} bad[] = {
		{ "x", "no such name", LARDER_ERR_NOT_FOUND },
		{ "n@9", "no such version", LARDER_ERR_NOT_FOUND },
		{ "n@0", "counted from 1", LARDER_ERR_USAGE },
		{ "n//path", "as a whole", LARDER_ERR_USAGE },
		{ "id:0123456789", "not objects", LARDER_ERR_USAGE },
		{ "", "empty", LARDER_ERR_USAGE },
		{ "/n", "", LARDER_ERR_USAGE },
		{ "a/../b", "", LARDER_ERR_USAGE },
	};
	uint64_t count;

	put(state, store, "n", "1");
	for (size_t i = 0; i < test_count(bad); i++) {
		struct larder_err err = { 0 };

		count = 77;
		assert_status(
		    bad[i].status, larder_rm(store, bad[i].spec, false, &count, &err), &err);
		assert_message(&err, bad[i].says);
		assert_int_equal(count, 0);
	}
	assert_string_equal(names(store, "", 0), "n@1=1 ");
	larder_store_close(store);
}

static void
names_that_are_not_allowed_have_no_log(void **state)
{
	struct larder_store *store = open_store(state);
	static const char *const bad[] = { "", "/a", "a/", "a//b", "..", "a/./b", "a@3" };

	for (size_t i = 0; i < test_count(bad); i++) {
		struct larder_err err = { 0 };
		struct list list = { .count = 0 };

		assert_status(
		    LARDER_ERR_USAGE, larder_log(store, bad[i], 0, take, &list, &err), &err);
	}
	larder_store_close(store);
}

/* Long names share a key in the index as far as it goes. */
static void
long_names_are_told_apart(void **state)
{
	struct larder_store *store = open_store(state);
	char a[1025], b[1025];

	memset(a, 'n', 1024);
	a[1024] = '\0';
	memcpy(b, a, sizeof b);
	b[1023] = 'm';
	put(state, store, a, "1");
	put(state, store, b, "12");
	put(state, store, a, "123");
	assert_int_equal(strlen(versions(store, a, 0)), 2 * (1024 + 5));
	assert_int_equal(strlen(versions(store, b, 0)), 1024 + 5);
	assert_int_equal(strlen(names(store, "nnn", 0)), 2 * (1024 + 5));
	larder_store_close(store);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(names_come_in_order_and_versions_newest_first),
		test_case(the_callers_answer_stops_and_comes_back),
		test_case(what_was_forgotten_is_gone_now_and_there_as_it_was),
		test_case(all_versions_of_a_name_go_together),
		test_case(what_cannot_be_forgotten_says_why),
		test_case(names_that_are_not_allowed_have_no_log),
		test_case(long_names_are_told_apart),
	};

	return test_run(cases);
}
