/*
 * Hints are taken at any rate, never waited for, and leave no descriptor open.
 * FLAVOURS: release asan tsan
 */
#include "cas/writeback.h"

#include "tests/harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

static size_t
descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void
hints_leave_nothing_open(void **state)
{
	static const char bytes[100000];
	struct writeback *wb;
	struct larder_err err = { 0 };
	size_t before = descriptors();

	for (int round = 0; round < 5; round++) {
		assert_ok(writeback_open(&wb, &err), &err);
		for (int i = 0; i < 200 * round; i++) {
			int fd = openat(test_dir(state), "f", O_CREAT | O_WRONLY, 0600);

			assert_int_equal(pwrite(fd, bytes, sizeof bytes, i * 1000), sizeof bytes);
			writeback_hint(wb, fd, (uint64_t)i * 1000, sizeof bytes);
			close(fd);
		}
		writeback_close(wb);
	}
	assert_int_equal(descriptors(), before);
	writeback_close(NULL);
}

static void
a_descriptor_that_is_none_is_no_matter(void **state)
{
	struct writeback *wb;
	struct larder_err err = { 0 };

	(void)state;
	assert_ok(writeback_open(&wb, &err), &err);
	writeback_hint(wb, -1, 0, 1);
	writeback_close(wb);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(hints_leave_nothing_open),
		test_case(a_descriptor_that_is_none_is_no_matter),
	};

	return test_run(cases);
}
