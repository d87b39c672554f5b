/*
 * What a put costs and what it says: known bytes, small changes, streams, large
 * directories, dry runs and interruptions.
 *
 * FLAVOURS: release asan tsan
 */
#include <larder.h>
#include <larder/sys.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"

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
	larder_sys_set(&sys);
	options.create = true;
	options.threads = 2;
	assert_ok(larder_store_open(&store, test_path(state, "store"), &options, &err), &err);
	return store;
}

static struct larder_put_result
put(void **state, struct larder_store *store, const char *name, const char *path)
{
	struct larder_put_result result;
	struct larder_err err = { 0 };

	assert_ok(larder_put(store, name, test_path(state, path), NULL, &result, &err), &err);
	return result;
}

/* Text that compresses but does not repeat itself much. */
static void
write_text(void **state, const char *name, size_t len, uint64_t seed)
{
	static const char *const words[] = { "package ", "service ", "template ", "notifies ",
		"node ", "default ", "action ", "recipe ", "cookbook\n", "owner ", "mode ",
		"source ", "variables ", "end\n", "do\n", "only_if " };
	uint8_t *random = malloc(len);
	char *text = malloc(len + 16);
	size_t n = 0;

	test_fill(random, len, seed);
	for (size_t i = 0; n < len; i++)
		n += (size_t)snprintf(text + n, len + 16 - n, "%s", words[random[i] % 16]);
	test_write(state, name, text, len);
	free(random);
	free(text);
}

static void
a_file_and_a_stream_of_the_same_bytes_have_one_id(void **state)
{
	static const size_t sizes[] = { 0, 1, 65535, 65536, 65537, 300000, 4 * 1024 * 1024 - 1,
		4 * 1024 * 1024, 4 * 1024 * 1024 + 1, 4 * 1024 * 1024 + 256 * 1024,
		4 * 1024 * 1024 + 256 * 1024 + 1, 9 * 1024 * 1024 };
	struct larder_store *store = open_store(state);

	for (size_t i = 0; i < test_count(sizes); i++) {
		struct larder_put_result file, stream;
		struct larder_err err = { 0 };
		uint8_t *bytes = malloc(sizes[i] + 1);
		int fd;

		test_fill(bytes, sizes[i], i + 1);
		test_write(state, "f", bytes, sizes[i]);
		free(bytes);
		file = put(state, store, "file", "f");
		fd = openat(test_dir(state), "f", O_RDONLY);
		assert_ok(larder_put_fd(store, "stream", fd, NULL, &stream, &err), &err);
		close(fd);
		assert_int_equal(file.bytes, sizes[i]);
		assert_int_equal(stream.bytes, sizes[i]);
		assert_memory_equal(&file.id, &stream.id, sizeof file.id);
		assert_int_equal(stream.new_bytes, 0);
		assert_int_equal(file.has_sha256, sizes[i] <= 65536);
	}
	larder_store_close(store);
}

static void
the_same_again_makes_no_version_and_writes_nothing(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_put_result first, again;

	assert_int_equal(mkdirat(test_dir(state), "d", 0755), 0);
	write_text(state, "d/a", 5000, 1);
	write_text(state, "d/b", 200000, 2);
	first = put(state, store, "n", "d");
	assert_int_equal(first.version, 1);
	assert_false(first.unchanged);
	again = put(state, store, "n", "d");
	assert_true(again.unchanged);
	assert_int_equal(again.version, 1);
	assert_int_equal(again.stored_bytes, 0);
	assert_int_equal(again.new_bytes, 0);
	assert_int_equal(again.bytes, first.bytes);
	assert_int_equal(again.files, 2);
	assert_memory_equal(&again.id, &first.id, sizeof first.id);
	larder_store_close(store);
}

static void
a_moved_directory_is_the_same_content(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_put_result first, moved;

	assert_int_equal(mkdirat(test_dir(state), "d", 0755), 0);
	write_text(state, "d/a", 5000, 1);
	first = put(state, store, "n", "d");
	assert_int_equal(renameat(test_dir(state), "d", test_dir(state), "elsewhere"), 0);
	moved = put(state, store, "other", "elsewhere");
	assert_memory_equal(&moved.id, &first.id, sizeof first.id);
	assert_int_equal(moved.new_bytes, 0);
	larder_store_close(store);
}

static void
a_small_change_costs_little(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_put_result first, second;
	char name[32];
	int fd;

	assert_int_equal(mkdirat(test_dir(state), "d", 0755), 0);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "d/recipe%u.rb", i);
		write_text(state, name, 20000, 100 + i);
	}
	first = put(state, store, "n", "d");
	fd = openat(test_dir(state), "d/recipe7.rb", O_WRONLY);
	assert_int_equal(pwrite(fd, "changed here", 12, 9000), 12);
	close(fd);
	second = put(state, store, "n", "d");
	assert_int_equal(second.version, 2);
	assert_int_equal(second.new_bytes, 20000);
	/* the file alone, compressed without its former self, would take some 5,000 */
	assert_true(second.stored_bytes < 2000);
	assert_true(first.stored_bytes > 100000);
	larder_store_close(store);
}

static void
a_change_in_a_large_file_costs_a_few_chunks(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_put_result second;
	size_t len = 6 * 1024 * 1024;
	uint8_t *bytes = malloc(len + 5);

	test_fill(bytes, len, 42);
	test_write(state, "f", bytes, len);
	(void)put(state, store, "n", "f");
	memmove(bytes + 3000005, bytes + 3000000, len - 3000000);
	memcpy(bytes + 3000000, "12345", 5);
	test_write(state, "f", bytes, len + 5);
	free(bytes);
	second = put(state, store, "n", "f");
	assert_int_equal(second.bytes, len + 5);
	assert_true(second.new_bytes <= 2 * 64 * 1024);
	larder_store_close(store);
}

static int
count_entry(void *context, const struct larder_entry *entry)
{
	(void)entry;
	++*(size_t *)context;
	return 0;
}

static void
a_directory_of_many_entries_is_split_and_stays_cheap(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_put_result first, second;
	struct larder_err err = { 0 };
	size_t seen = 0;
	char name[40];

	assert_int_equal(mkdirat(test_dir(state), "d", 0755), 0);
	for (unsigned i = 0; i < 9000; i++) {
		snprintf(name, sizeof name, "d/%08x", i * 2654435761u);
		test_write(state, name, name, strlen(name));
	}
	first = put(state, store, "n", "d");
	assert_int_equal(first.files, 9000);
	test_write(state, "d/one-more", "x", 1);
	second = put(state, store, "n", "d");
	assert_int_equal(second.files, 9001);
	assert_int_equal(second.new_bytes, 1);
	assert_true(second.stored_bytes < first.stored_bytes / 2);
	assert_ok(larder_entries(store, "n", 0, true, count_entry, &seen, &err), &err);
	assert_int_equal(seen, 9001);
	larder_store_close(store);
}

static void
a_dry_run_counts_and_leaves_the_store_as_it_was(void **state)
{
	struct larder_put_options options = LARDER_PUT_OPTIONS_INIT;
	struct larder_store *store = open_store(state);
	struct larder_status_info status = LARDER_STATUS_INFO_INIT;
	struct larder_put_result result;
	struct larder_err err = { 0 };

	write_text(state, "f", 100000, 3);
	options.dry_run = true;
	assert_ok(larder_put(store, "n", test_path(state, "f"), &options, &result, &err), &err);
	assert_int_equal(result.new_bytes, 100000);
	assert_int_equal(result.bytes, 100000);
	assert_ok(larder_status(&status, store, &err), &err);
	assert_int_equal(status.names, 0);
	assert_int_equal(status.packs, 0);
	result = put(state, store, "n", "f");
	assert_int_equal(result.new_bytes, 100000);
	larder_store_close(store);
}

static void
exclusions_leave_out_and_are_part_of_what_is_remembered(void **state)
{
	static const char *const globs[] = { "*.o", "sub/skip" };
	struct larder_put_options options = LARDER_PUT_OPTIONS_INIT;
	struct larder_store *store = open_store(state);
	struct larder_put_result result;
	struct larder_err err = { 0 };

	assert_int_equal(mkdirat(test_dir(state), "d", 0755), 0);
	assert_int_equal(mkdirat(test_dir(state), "d/sub", 0755), 0);
	test_write(state, "d/a.c", "a", 1);
	test_write(state, "d/a.o", "o", 1);
	test_write(state, "d/sub/skip", "s", 1);
	test_write(state, "d/sub/stay", "t", 1);
	options.exclude = globs;
	options.exclude_count = test_count(globs);
	assert_ok(larder_put(store, "n", test_path(state, "d"), &options, &result, &err), &err);
	assert_int_equal(result.files, 2);
	result = put(state, store, "n", "d");
	assert_int_equal(result.files, 4);
	assert_int_equal(result.version, 2);
	larder_store_close(store);
}

static void
an_interrupted_put_leaves_no_version_and_the_next_one_works(void **state)
{
	struct larder_put_options options = LARDER_PUT_OPTIONS_INIT;
	struct larder_store *store = open_store(state);
	struct larder_put_result result;
	struct larder_err err = { 0 };
	volatile int cancel = 1;

	write_text(state, "f", 500000, 3);
	options.watch.cancel = &cancel;
	assert_status(LARDER_ERR_CANCELLED,
	    larder_put(store, "n", test_path(state, "f"), &options, &result, &err), &err);
	cancel = 0;
	assert_ok(larder_put(store, "n", test_path(state, "f"), &options, &result, &err), &err);
	assert_int_equal(result.version, 1);
	larder_store_close(store);
}

static void
count_item(void *context, const struct larder_item *item)
{
	assert_int_equal(item->status, LARDER_ERR_LIMIT);
	++*(size_t *)context;
}

static void
what_lies_too_deep_is_named_and_left_out(void **state)
{
	struct larder_put_options options = LARDER_PUT_OPTIONS_INIT;
	struct larder_store *store = open_store(state);
	struct larder_put_result result;
	struct larder_err err = { 0 };
	char path[1024] = "d";
	size_t items = 0;

	assert_int_equal(mkdirat(test_dir(state), path, 0755), 0);
	for (unsigned depth = 1; depth <= 256; depth++) {
		size_t len = strlen(path);

		snprintf(path + len, sizeof path - len, "/d");
		assert_int_equal(mkdirat(test_dir(state), path, 0755), 0);
	}
	options.watch.on_item = count_item;
	options.watch.context = &items;
	assert_ok(larder_put(store, "n", test_path(state, "d"), &options, &result, &err), &err);
	assert_int_equal(items, 0);
	snprintf(path + strlen(path), sizeof path - strlen(path), "/x");
	assert_int_equal(mkdirat(test_dir(state), path, 0755), 0);
	assert_status(LARDER_ERR_PARTIAL,
	    larder_put(store, "n", test_path(state, "d"), &options, &result, &err), &err);
	assert_int_equal(items, 1);
	larder_store_close(store);
}

static void
wrong_names_tags_and_paths_are_refused_with_a_reason(void **state)
{
	static const struct larder_tag twice[] = { { "k", "1" }, { "k", "2" } };
	static const char *const names[] = { "", "/a", "a/", "a//b", "a/../b", "a/.", "a@3" };
	struct larder_put_options options = LARDER_PUT_OPTIONS_INIT;
	struct larder_store *store = open_store(state);
	struct larder_put_result result;
	struct larder_err err = { 0 };

	test_write(state, "f", "x", 1);
	for (size_t i = 0; i < test_count(names); i++)
		assert_status(LARDER_ERR_USAGE,
		    larder_put(store, names[i], test_path(state, "f"), NULL, &result, &err), &err);
	options.tags = twice;
	options.tag_count = 2;
	assert_status(LARDER_ERR_USAGE,
	    larder_put(store, "n", test_path(state, "f"), &options, &result, &err), &err);
	assert_message(&err, "twice");
	assert_status(LARDER_ERR_NOT_FOUND,
	    larder_put(store, "n", test_path(state, "absent"), NULL, &result, &err), &err);
	assert_message(&err, "absent");
	assert_status(LARDER_ERR_USAGE,
	    larder_put(store, "n", test_path(state, "store"), NULL, &result, &err), &err);
	assert_message(&err, "the store itself");
	assert_status(LARDER_ERR_USAGE,
	    larder_put(store, "n", test_path(state, "f"), NULL, NULL, &err), &err);
	larder_store_close(store);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(a_file_and_a_stream_of_the_same_bytes_have_one_id),
		test_case(the_same_again_makes_no_version_and_writes_nothing),
		test_case(a_moved_directory_is_the_same_content),
		test_case(a_small_change_costs_little),
		test_case(a_change_in_a_large_file_costs_a_few_chunks),
		test_case(a_directory_of_many_entries_is_split_and_stays_cheap),
		test_case(a_dry_run_counts_and_leaves_the_store_as_it_was),
		test_case(exclusions_leave_out_and_are_part_of_what_is_remembered),
		test_case(an_interrupted_put_leaves_no_version_and_the_next_one_works),
		test_case(what_lies_too_deep_is_named_and_left_out),
		test_case(wrong_names_tags_and_paths_are_refused_with_a_reason),
	};

	return test_run(cases);
}
