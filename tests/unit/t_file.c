/* cas/base/file.c */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "tests/doubles/doubles.h"

static int
open_new(void **state, const char *name)
{
	struct larder_err err = { 0 };
	int fd;

	assert_ok(
	    file_open(&fd, test_dir(state), name, O_RDWR | O_CREAT | O_EXCL, 0600, &err), &err);
	return fd;
}

static void
open_says_what_is_missing_and_what_is_there(void **state)
{
	struct larder_err err = { 0 };
	int fd = 42;

	assert_status(
	    LARDER_ERR_NOT_FOUND, file_open(&fd, test_dir(state), "x", O_RDONLY, 0, &err), &err);
	assert_message(&err, "open x");
	assert_int_equal(err.sys_errno, ENOENT);
	assert_int_equal(fd, -1);

	fd = open_new(state, "x");
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	file_close(fd);
	fd = 42;
	assert_status(LARDER_ERR_EXISTS,
	    file_open(&fd, test_dir(state), "x", O_RDWR | O_CREAT | O_EXCL, 0600, &err), &err);
	assert_int_equal(fd, -1);
	assert_status(
	    LARDER_ERR_IO, file_open(&fd, test_dir(state), "x/y", O_RDONLY, 0, &err), &err);
	assert_status(LARDER_ERR_IO, file_open(&fd, 9999, "x", O_RDONLY, 0, &err), &err);
	assert_status(LARDER_ERR_IO,
	    file_open(&fd, test_dir(state), "x", O_RDONLY | O_DIRECTORY, 0, &err), &err);
}

static void
what_was_written_is_read_at_its_place(void **state)
{
	struct larder_err err = { 0 };
	int fd = open_new(state, "x");
	uint8_t bytes[300], got[300];
	uint64_t size;
	size_t n;

	test_fill(bytes, sizeof bytes, 1);
	assert_ok(file_pwrite_all(fd, bytes, 300, 1000, "x", &err), &err);
	assert_ok(file_size(&size, fd, "x", &err), &err);
	assert_int_equal(size, 1300);
	assert_ok(file_pread_all(fd, got, 300, 1000, "x", &err), &err);
	assert_memory_equal(got, bytes, 300);
	assert_ok(file_pread_some(&n, fd, got, 300, 1200, "x", &err), &err);
	assert_int_equal(n, 100);
	assert_memory_equal(got, bytes + 200, 100);
	assert_ok(file_pread_some(&n, fd, got, 300, 99999, "x", &err), &err);
	assert_int_equal(n, 0);
	assert_ok(file_truncate(fd, 10, "x", &err), &err);
	assert_ok(file_size(&size, fd, "x", &err), &err);
	assert_int_equal(size, 10);
	assert_ok(file_pwrite_all(fd, NULL, 0, 0, "x", &err), &err);
	assert_ok(file_sync(fd, "x", &err), &err);
	assert_ok(file_datasync(fd, "x", &err), &err);
	assert_ok(file_close_checked(fd, "x", &err), &err);
	assert_ok(file_close_checked(-1, "x", &err), &err);
	file_close(-1);
}

static void
a_file_cut_short_is_damage(void **state)
{
	struct larder_err err = { 0 };
	int fd = open_new(state, "pack");
	uint8_t got[16];

	assert_ok(file_pwrite_all(fd, "0123456789", 10, 0, "pack", &err), &err);
	assert_status(LARDER_ERR_CORRUPT, file_pread_all(fd, got, 11, 0, "pack", &err), &err);
	assert_message(&err, "pack cut short: 10 of 11 bytes at 0");
	assert_status(LARDER_ERR_CORRUPT, file_pread_all(fd, got, 1, 10, "pack", &err), &err);
	assert_ok(file_pread_all(fd, got, 10, 0, "pack", &err), &err);
	assert_ok(file_pread_all(fd, got, 0, 10, "pack", &err), &err);
	file_close(fd);
}

static void
places_beyond_every_file_are_refused(void **state)
{
	struct larder_err err = { 0 };
	int fd = open_new(state, "x");
	uint8_t byte = 0;
	size_t n;

	assert_status(
	    LARDER_ERR_LIMIT, file_pread_some(&n, fd, &byte, 1, INT64_MAX, "x", &err), &err);
	assert_status(LARDER_ERR_LIMIT, file_pread_all(fd, &byte, 1, UINT64_MAX, "x", &err), &err);
	assert_status(LARDER_ERR_LIMIT, file_pwrite_all(fd, &byte, 1, UINT64_MAX, "x", &err), &err);
	assert_status(LARDER_ERR_LIMIT, file_truncate(fd, UINT64_MAX, "x", &err), &err);
	file_close(fd);
}

static void
wrong_descriptors_are_reported_with_the_path(void **state)
{
	struct larder_err err = { 0 };
	uint8_t byte = 0;
	uint64_t size;
	size_t n;

	(void)state;
	assert_status(LARDER_ERR_IO, file_pread_some(&n, 9999, &byte, 1, 0, "here", &err), &err);
	assert_message(&err, "read here at 0: Bad file descriptor");
	assert_status(LARDER_ERR_IO, file_pwrite_all(9999, &byte, 1, 7, "here", &err), &err);
	assert_message(&err, "write here at 7");
	assert_status(LARDER_ERR_IO, file_sync(9999, "here", &err), &err);
	assert_status(LARDER_ERR_IO, file_datasync(9999, "here", &err), &err);
	assert_status(LARDER_ERR_IO, file_truncate(9999, 0, "here", &err), &err);
	assert_status(LARDER_ERR_IO, file_size(&size, 9999, "here", &err), &err);
	assert_status(LARDER_ERR_IO, file_close_checked(9999, "here", &err), &err);
	assert_status(LARDER_ERR_IO, file_lock(9999, 0, 1, true, false, "here", &err), &err);
	assert_status(LARDER_ERR_IO, file_refuse_network_fs(9999, "here", &err), &err);
	assert_status(LARDER_ERR_IO, file_free_space(&size, 9999, &err), &err);
}

static void
short_and_interrupted_calls_are_completed(void **state)
{
	struct file_faulty_plan shorten = { .ops = FILE_FAULTY_READ | FILE_FAULTY_WRITE,
		.nth = 1,
		.for_ever = true,
		.shorten = true };
	struct file_faulty_plan interrupt = { .ops = FILE_FAULTY_ALL & ~(unsigned)FILE_FAULTY_CLOSE,
		.nth = 1,
		.for_ever = true,
		.interrupt = true };
	const struct file_faulty_plan *plans[] = { &shorten, &interrupt };
	struct larder_err err = { 0 };
	uint8_t bytes[1000], got[1000];

	test_fill(bytes, sizeof bytes, 2);
	for (size_t i = 0; i < test_count(plans); i++) {
		int fd;

		file_faulty_set(plans[i]);
		fd = open_new(state, "x");
		assert_ok(file_pwrite_all(fd, bytes, 1000, 5, "x", &err), &err);
		assert_ok(file_sync(fd, "x", &err), &err);
		assert_ok(file_datasync(fd, "x", &err), &err);
		assert_ok(file_pread_all(fd, got, 1000, 5, "x", &err), &err);
		assert_memory_equal(got, bytes, 1000);
		assert_ok(file_truncate(fd, 10, "x", &err), &err);
		assert_ok(file_close_checked(fd, "x", &err), &err);
		assert_ok(file_mkdir(test_dir(state), "d", 0700, &err), &err);
		assert_ok(file_rename(test_dir(state), "x", test_dir(state), "d/y", &err), &err);
		assert_ok(file_unlink(test_dir(state), "d/y", &err), &err);
		assert_true(file_faulty_failed());
		larder_sys_set(NULL);
		assert_int_equal(unlinkat(test_dir(state), "d", AT_REMOVEDIR), 0);
	}
}

static void
a_full_disk_is_no_space(void **state)
{
	struct file_faulty_plan plan = { .has_space = true, .space = 100 };
	struct larder_err err = { 0 };
	uint8_t bytes[101] = { 0 };
	uint64_t size;
	int fd;

	file_faulty_set(&plan);
	fd = open_new(state, "x");
	assert_ok(file_pwrite_all(fd, bytes, 60, 0, "x", &err), &err);
	assert_status(LARDER_ERR_NO_SPACE, file_pwrite_all(fd, bytes, 41, 60, "x", &err), &err);
	assert_message(&err, "write x at 100: No space left");
	assert_int_equal(err.sys_errno, ENOSPC);
	assert_ok(file_size(&size, fd, "x", &err), &err);
	assert_int_equal(size, 100);
	file_close(fd);
}

static void
directories_and_names(void **state)
{
	struct larder_err err = { 0 };
	int dir = test_dir(state);

	assert_ok(file_mkdir(dir, "d", 0700, &err), &err);
	assert_status(LARDER_ERR_EXISTS, file_mkdir(dir, "d", 0700, &err), &err);
	assert_message(&err, "d exists");
	assert_status(LARDER_ERR_NOT_FOUND, file_mkdir(dir, "a/b", 0700, &err), &err);
	assert_ok(file_sync_dir(dir, ".", &err), &err);
	assert_ok(file_sync_dir(dir, "d", &err), &err);
	assert_status(LARDER_ERR_NOT_FOUND, file_sync_dir(dir, "e", &err), &err);
	test_write(state, "d/f", "x", 1);
	assert_status(LARDER_ERR_IO, file_sync_dir(dir, "d/f", &err), &err);
	assert_status(LARDER_ERR_NOT_FOUND, file_rename(dir, "nothing", dir, "e", &err), &err);
	assert_message(&err, "rename nothing to e");
	assert_ok(file_rename(dir, "d/f", dir, "g", &err), &err);
	assert_ok(file_unlink(dir, "g", &err), &err);
	assert_status(LARDER_ERR_NOT_FOUND, file_unlink(dir, "g", &err), &err);
	assert_status(LARDER_ERR_IO, file_unlink(dir, "d", &err), &err);
}

static void
a_whole_file_comes_with_its_limit(void **state)
{
	static const size_t sizes[] = { 0, 1, 4095, 65536, 65537, 200000 };
	struct larder_err err = { 0 };
	uint8_t *bytes = malloc(200000);
	struct buf got = { 0 };

	assert_non_null(bytes);
	test_fill(bytes, 200000, 3);
	for (size_t i = 0; i < test_count(sizes); i++) {
		size_t size = sizes[i];
		struct buf exact;

		test_write(state, "x", bytes, size);
		assert_ok(file_read_whole(&got, test_dir(state), "x", 300000, &err), &err);
		assert_int_equal(got.len, size);
		if (size > 0)
			assert_memory_equal(got.data, bytes, size);
		assert_ok(file_read_whole(&got, test_dir(state), "x", size, &err), &err);
		assert_int_equal(got.len, size);
		if (size == 0)
			continue;
		buf_init(&exact, size);
		assert_ok(file_read_whole(&exact, test_dir(state), "x", size, &err), &err);
		assert_int_equal(exact.len, size);
		buf_release(&exact);
		assert_status(LARDER_ERR_LIMIT,
		    file_read_whole(&got, test_dir(state), "x", size - 1, &err), &err);
		assert_message(&err, "x is longer than");
		assert_int_equal(got.len, 0);
		buf_init(&exact, size > 1 ? size - 1 : 1);
		if (size > 1)
			assert_status(LARDER_ERR_LIMIT,
			    file_read_whole(&exact, test_dir(state), "x", 300000, &err), &err);
		buf_release(&exact);
	}
	assert_status(
	    LARDER_ERR_NOT_FOUND, file_read_whole(&got, test_dir(state), "y", 9, &err), &err);
	assert_status(
	    LARDER_ERR_IO, file_read_whole(&got, test_dir(state), ".", 9999999, &err), &err);
	buf_release(&got);
	free(bytes);
}

static void
files_of_the_kernel_say_no_size_and_are_read(void **state)
{
	struct larder_err err = { 0 };
	struct buf got = { 0 };

	(void)state;
	assert_ok(file_read_whole(&got, AT_FDCWD, "/proc/self/status", 1000000, &err), &err);
	assert_true(got.len > 100);
	assert_status(LARDER_ERR_LIMIT,
	    file_read_whole(&got, AT_FDCWD, "/proc/self/status", 100, &err), &err);
	buf_release(&got);
}

static void
a_whole_file_is_written_and_replaced(void **state)
{
	struct larder_err err = { 0 };
	int dir = test_dir(state);
	struct stat st;
	size_t len;
	char *got;

	assert_ok(file_write_whole(dir, "config", "one", 3, 0640, true, &err), &err);
	assert_int_equal(fstatat(dir, "config", &st, 0), 0);
	assert_int_equal(st.st_mode & 0700, 0600);
	assert_ok(file_write_whole(dir, "config", "other", 5, 0600, true, &err), &err);
	got = test_read(state, "config", &len);
	assert_string_equal(got, "other");
	free(got);
	assert_status(
	    LARDER_ERR_EXISTS, file_write_whole(dir, "config", "x", 1, 0600, false, &err), &err);
	assert_ok(file_write_whole(dir, "empty", NULL, 0, 0600, false, &err), &err);
	assert_int_equal(test_entries(state, "."), 2);

	assert_ok(file_mkdir(dir, "d", 0700, &err), &err);
	assert_ok(file_write_whole(dir, "d/inner", "x", 1, 0600, false, &err), &err);
	assert_ok(
	    file_write_whole(AT_FDCWD, test_path(state, "d/absolute"), "x", 1, 0600, false, &err),
	    &err);
	assert_int_equal(test_entries(state, "d"), 2);
	assert_status(LARDER_ERR_NOT_FOUND,
	    file_write_whole(dir, "no/config", "x", 1, 0600, true, &err), &err);
	assert_status(LARDER_ERR_IO, file_write_whole(dir, "d", "x", 1, 0600, true, &err), &err);
	assert_int_equal(test_entries(state, "."), 3);
}

/* Fails every single call in turn, and every allocation. */
static void
a_failing_write_leaves_the_old_content_and_no_litter(void **state)
{
	struct larder_err err = { 0 };
	int dir = test_dir(state), failures = 0;

	for (long nth = 1;; nth++) {
		struct file_faulty_plan plan = { .ops = FILE_FAULTY_ALL, .nth = nth };
		char *got;
		int rc;

		assert_ok(file_write_whole(dir, "config", "old", 3, 0600, true, &err), &err);
		file_faulty_set(&plan);
		rc = file_write_whole(dir, "config", "new", 3, 0600, true, &err);
		assert_int_equal(file_faulty_open(), 0);
		if (!file_faulty_failed()) {
			assert_ok(rc, &err);
			break;
		}
		failures++;
		larder_sys_set(NULL);
		got = test_read(state, "config", NULL);
		assert_int_equal(test_entries(state, "."), 1);
		if (rc == LARDER_OK) { /* closing the directory again may fail unheard */
			assert_string_equal(got, "new");
		} else {
			assert_status(LARDER_ERR_IO, rc, &err);
			assert_true(strcmp(got, "old") == 0 || strcmp(got, "new") == 0);
			assert_message(&err, "Input/output error");
		}
		free(got);
	}
	assert_true(failures >= 6); /* open, write, sync, close, rename, directory */

	for (long nth = 1; nth <= 2; nth++) {
		mem_faulty_set(nth, false);
		if (file_write_whole(dir, "d", "x", 1, 0600, true, &err) < 0)
			assert_int_equal(err.status, LARDER_ERR_NOMEM);
		assert_int_equal(mem_faulty_live(), 0);
	}
	random_seeded_set(1);
	random_seeded_fail_after(0);
	assert_status(LARDER_ERR_IO, file_write_whole(dir, "e", "x", 1, 0600, true, &err), &err);
	assert_false(test_exists(state, "e"));
}

static void
locks_hold_between_descriptions_and_die_with_them(void **state)
{
	struct larder_err err = { 0 };
	int a = open_new(state, "lock"), b, dir = test_dir(state);

	assert_ok(file_open(&b, dir, "lock", O_RDWR, 0, &err), &err);
	assert_ok(file_lock(a, 0, 1, true, false, "lock", &err), &err);
	assert_status(LARDER_ERR_BUSY, file_lock(b, 0, 1, true, false, "lock", &err), &err);
	assert_message(&err, "lock is held by another");
	assert_status(LARDER_ERR_BUSY, file_lock(b, 0, 1, false, false, "lock", &err), &err);
	assert_ok(file_lock(b, 1, 1, true, false, "lock", &err), &err); /* another range */
	assert_ok(file_unlock(a, 0, 1, "lock", &err), &err);
	assert_ok(file_lock(b, 0, 1, false, false, "lock", &err), &err);
	assert_ok(file_lock(a, 0, 1, false, false, "lock", &err), &err); /* shared by two */
	assert_status(LARDER_ERR_BUSY, file_lock(a, 0, 1, true, false, "lock", &err), &err);
	file_close(b);
	assert_ok(file_lock(a, 0, 2, true, true, "lock", &err), &err);
	file_close(a);

	assert_ok(file_open(&a, dir, "lock", O_RDONLY, 0, &err), &err);
	assert_status(LARDER_ERR_IO, file_lock(a, 0, 1, true, false, "lock", &err), &err);
	file_close(a);
}

static void
locks_hold_between_processes(void **state)
{
	struct larder_err err = { 0 };
	int a = open_new(state, "lock"), status;
	pid_t child;

	assert_ok(file_lock(a, 5, 1, true, false, "lock", &err), &err);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		int b;

		if (file_open(&b, test_dir(state), "lock", O_RDWR, 0, NULL) < 0)
			_exit(1);
		_exit(file_lock(b, 5, 1, true, false, "lock", NULL) == LARDER_ERR_BUSY ? 0 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	file_close(a);
}

static void
names_are_listed_in_the_order_of_their_bytes(void **state)
{
	static const char *const make[] = { "b", "a", "a.b", "B", "\xc3\xa4", ".hidden", "a-b",
		"ab", "..." };
	static const char *const want[] = { "...", ".hidden", "B", "a", "a-b", "a.b", "ab", "b",
		"\xc3\xa4" };
	struct larder_err err = { 0 };
	size_t count;
	char **names;

	for (size_t i = 0; i < test_count(make); i++)
		test_write(state, make[i], "", 0);
	assert_ok(file_list(&names, &count, test_dir(state), ".", &err), &err);
	assert_int_equal(count, test_count(want));
	for (size_t i = 0; i < count; i++)
		assert_string_equal(names[i], want[i]);
	mem_free(names);
}

static void
listing_fails_cleanly(void **state)
{
	struct larder_err err = { 0 };
	struct file_faulty_plan none = { 0 };
	struct larder_sys sys = { .size = sizeof sys };
	size_t count = 42;
	char **names;

	assert_ok(file_mkdir(test_dir(state), "empty", 0700, &err), &err);
	assert_ok(file_list(&names, &count, test_dir(state), "empty", &err), &err);
	assert_int_equal(count, 0);
	mem_free(names);
	assert_status(
	    LARDER_ERR_NOT_FOUND, file_list(&names, &count, test_dir(state), "no", &err), &err);
	assert_message(&err, "no");
	assert_null(names);
	test_write(state, "file", "", 0);
	assert_status(
	    LARDER_ERR_IO, file_list(&names, &count, test_dir(state), "file", &err), &err);
	for (long nth = 1; nth <= 2; nth++) {
		file_faulty_into(&sys, &none);
		mem_faulty_into(&sys, nth, false);
		larder_sys_set(&sys);
		assert_status(
		    LARDER_ERR_NOMEM, file_list(&names, &count, test_dir(state), ".", &err), &err);
		assert_null(names);
		assert_int_equal(count, 0);
		assert_int_equal(mem_faulty_live(), 0);
		assert_int_equal(file_faulty_open(), 0);
	}
}

static void
the_file_system_is_asked(void **state)
{
	struct larder_err err = { 0 };
	uint64_t bytes = 0;

	assert_ok(file_refuse_network_fs(test_dir(state), "here", &err), &err);
	assert_ok(file_free_space(&bytes, test_dir(state), &err), &err);
	assert_true(bytes > 0);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(open_says_what_is_missing_and_what_is_there),
		test_case(what_was_written_is_read_at_its_place),
		test_case(a_file_cut_short_is_damage),
		test_case(places_beyond_every_file_are_refused),
		test_case(wrong_descriptors_are_reported_with_the_path),
		test_case(short_and_interrupted_calls_are_completed),
		test_case(a_full_disk_is_no_space),
		test_case(directories_and_names),
		test_case(a_whole_file_comes_with_its_limit),
		test_case(files_of_the_kernel_say_no_size_and_are_read),
		test_case(a_whole_file_is_written_and_replaced),
		test_case(a_failing_write_leaves_the_old_content_and_no_litter),
		test_case(locks_hold_between_descriptions_and_die_with_them),
		test_case(locks_hold_between_processes),
		test_case(names_are_listed_in_the_order_of_their_bytes),
		test_case(listing_fails_cleanly),
		test_case(the_file_system_is_asked),
	};

	return test_run(cases);
}
