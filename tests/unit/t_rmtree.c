/*
 * Removing whatever stands under a name.
 */
#include "cas/rmtree.h"

#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void
make_file(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void
files_links_and_empty_directories_go(void **state)
{
	struct larder_err err = { 0 };
	int dir = test_dir(state);

	make_file(dir, "file");
	make_file(dir, "kept");
	assert_int_equal(symlinkat("kept", dir, "link"), 0);
	assert_int_equal(mkdirat(dir, "dir", 0700), 0);
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	assert_ok(rmtree(dir, "file", &err), &err);
	assert_ok(rmtree(dir, "link", &err), &err);
	assert_ok(rmtree(dir, "dir", &err), &err);
	assert_ok(rmtree(dir, "fifo", &err), &err);
	assert_int_equal(test_entries(state, "."), 1);
	assert_status(LARDER_ERR_NOT_FOUND, rmtree(dir, "file", &err), &err);
	assert_message(&err, "file");
}

static void
nothing_outside_is_touched(void **state)
{
	struct larder_err err = { 0 };
	int dir = test_dir(state);

	assert_int_equal(mkdirat(dir, "outside", 0700), 0);
	make_file(dir, "outside/kept");
	assert_int_equal(mkdirat(dir, "t", 0700), 0);
	assert_int_equal(mkdirat(dir, "t/sub", 0700), 0);
	assert_int_equal(symlinkat("../outside", dir, "t/a"), 0);
	assert_int_equal(symlinkat("../../outside", dir, "t/sub/b"), 0);
	assert_int_equal(linkat(dir, "outside/kept", dir, "t/sub/c", 0), 0);
	assert_ok(rmtree(dir, "t", &err), &err);
	assert_true(test_exists(state, "outside/kept"));
	assert_int_equal(test_entries(state, "."), 1);
}

/* Deeper than a path can be, wide, and with modes that shut their owner out. */
static void
deep_wide_and_closed_trees_go(void **state)
{
	struct larder_err err = { 0 };
	char name[220];
	int dir = test_dir(state), fd, below;

	assert_int_equal(mkdirat(dir, "t", 0700), 0);
	fd = openat(dir, "t", O_RDONLY | O_DIRECTORY);
	for (int level = 0; level < 60; level++) {
		for (int i = 0; i < 5; i++) {
			snprintf(name, sizeof name, "f%d", i);
			make_file(fd, name);
			snprintf(name, sizeof name, "d%d", i);
			assert_int_equal(mkdirat(fd, name, 0700), 0);
			snprintf(name, sizeof name, "d%d/x", i);
			make_file(fd, name);
			snprintf(name, sizeof name, "d%d", i);
			assert_int_equal(fchmodat(fd, name, i % 2 ? 0500 : 0, 0), 0);
		}
		memset(name, 'n', 200);
		name[200] = '\0';
		assert_int_equal(mkdirat(fd, name, 0700), 0);
		below = openat(fd, name, O_RDONLY | O_DIRECTORY);
		assert_int_equal(fchmod(fd, level % 3 ? 0500 : 0), 0);
		close(fd);
		fd = below;
	}
	close(fd);
	assert_ok(rmtree(dir, "t", &err), &err);
	assert_int_equal(test_entries(state, "."), 0);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(files_links_and_empty_directories_go),
		test_case(nothing_outside_is_touched),
		test_case(deep_wide_and_closed_trees_go),
	};

	return test_run(cases);
}
