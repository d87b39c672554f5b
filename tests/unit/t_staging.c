/*
 * Where a restore writes, and how it gets into place.
 */
#include "cas/staging.h"

#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/file.h"

static const struct larder_id what = { { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x55 } };

static struct staging
open_at(void **state, const char *dest, bool replace)
{
	struct staging s;
	struct larder_err err = { 0 };

	assert_ok(staging_open(&s, test_path(state, dest), replace, &what, &err), &err);
	return s;
}

static void
write_into(const struct staging *s, const char *name)
{
	int fd = openat(s->fd, name, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void
the_name_is_made_of_destination_and_content(void **state)
{
	struct staging s = open_at(state, "out//", false);
	char longest[256];

	assert_string_equal(s.name, "out");
	assert_string_equal(s.staged, ".out.larder-0123456789abcdef");
	staging_close(&s);

	memset(longest, 'x', 255);
	longest[255] = '\0';
	s = open_at(state, longest, false);
	assert_string_equal(s.name, longest);
	assert_int_equal(strlen(s.staged), 255);
	assert_string_equal(s.staged + 255 - 24, ".larder-0123456789abcdef");
	staging_close(&s);
}

static void
destinations_that_are_none(void **state)
{
	static const char *const rows[] = { "", "/", "//", ".", "..", "a/..", "./." };
	struct staging s;
	struct larder_err err = { 0 };
	char longer[300];

	for (size_t i = 0; i < test_count(rows); i++) {
		assert_status(
		    LARDER_ERR_USAGE, staging_open(&s, rows[i], true, &what, &err), &err);
		assert_message(&err, "a name to restore to is missing");
	}
	memset(longer, 'x', 256);
	longer[256] = '\0';
	assert_status(LARDER_ERR_USAGE, staging_open(&s, longer, true, &what, &err), &err);
	assert_message(&err, "256 bytes");
	assert_status(LARDER_ERR_IO,
	    staging_open(&s, test_path(state, "none/x"), true, &what, &err), &err);
	test_write(state, "there", "", 0);
	assert_status(LARDER_ERR_EXISTS,
	    staging_open(&s, test_path(state, "there"), false, &what, &err), &err);
	assert_message(&err, "--overwrite");
	assert_int_equal(symlinkat("nowhere", test_dir(state), "dangling"), 0);
	assert_status(LARDER_ERR_EXISTS,
	    staging_open(&s, test_path(state, "dangling"), false, &what, &err), &err);
}

static void
a_directory_is_ours_alone_and_found_again(void **state)
{
	struct staging s = open_at(state, "out", false);
	struct larder_err err = { 0 };
	struct stat st;

	assert_ok(staging_make_dir(&s, &err), &err);
	assert_false(s.existing);
	assert_int_equal(fstat(s.fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	write_into(&s, "half");
	staging_close(&s);

	s = open_at(state, "out", false);
	assert_ok(staging_make_dir(&s, &err), &err);
	assert_true(s.existing);
	assert_true(test_exists(state, ".out.larder-0123456789abcdef/half"));
	assert_ok(staging_move(&s, &err), &err);
	staging_close(&s);
	assert_true(test_exists(state, "out/half"));
	assert_int_equal(test_entries(state, "."), 1);
}

static void
what_others_could_have_written_to_is_not_used(void **state)
{
	struct staging s = open_at(state, "out", false);
	struct larder_err err = { 0 };

	assert_ok(staging_make_dir(&s, &err), &err);
	write_into(&s, "half");
	assert_int_equal(fchmod(s.fd, 0770), 0);
	staging_close(&s);
	s = open_at(state, "out", false);
	assert_ok(staging_make_dir(&s, &err), &err);
	assert_false(s.existing);
	staging_close(&s);
	assert_int_equal(test_entries(state, s.staged), 0);

	assert_int_equal(unlinkat(test_dir(state), s.staged, AT_REMOVEDIR), 0);
	assert_int_equal(mkdirat(test_dir(state), "elsewhere", 0700), 0);
	assert_int_equal(symlinkat("elsewhere", test_dir(state), s.staged), 0);
	s = open_at(state, "out", false);
	assert_ok(staging_make_dir(&s, &err), &err);
	write_into(&s, "mine");
	assert_false(s.existing);
	assert_int_equal(test_entries(state, "elsewhere"), 0);
	staging_close(&s);

	if (geteuid() != 0)
		return;
	assert_int_equal(fchownat(test_dir(state), s.staged, 1234, 1234, 0), 0);
	s = open_at(state, "out", false);
	assert_ok(staging_make_dir(&s, &err), &err);
	assert_false(s.existing);
	assert_int_equal(test_entries(state, s.staged), 0);
	staging_close(&s);
}

static void
two_restores_of_one_thing_do_not_mix(void **state)
{
	struct staging a = open_at(state, "out", false), b = open_at(state, "out", false);
	struct larder_err err = { 0 };

	assert_ok(staging_make_dir(&a, &err), &err);
	assert_status(LARDER_ERR_BUSY, staging_make_dir(&b, &err), &err);
	assert_message(&err, "another restore");
	staging_close(&b);
	staging_close(&a);

	a = open_at(state, "f", false);
	b = open_at(state, "f", false);
	assert_ok(staging_make_file(&a, 0600, &err), &err);
	assert_status(LARDER_ERR_BUSY, staging_make_file(&b, 0600, &err), &err);
	staging_close(&b);
	staging_close(&a);
}

static void
files_are_found_again_unless_they_are_something_else(void **state)
{
	struct staging s = open_at(state, "f", false);
	struct larder_err err = { 0 };
	int dir = test_dir(state);

	assert_ok(staging_make_file(&s, 0600, &err), &err);
	assert_false(s.existing);
	assert_int_equal(write(s.fd, "abc", 3), 3);
	staging_close(&s);
	s = open_at(state, "f", false);
	assert_ok(staging_make_file(&s, 0600, &err), &err);
	assert_true(s.existing);
	staging_close(&s);

	/* a second name: what is written would show there */
	assert_int_equal(linkat(dir, s.staged, dir, "other", 0), 0);
	s = open_at(state, "f", false);
	assert_ok(staging_make_file(&s, 0600, &err), &err);
	assert_false(s.existing);
	assert_int_equal(write(s.fd, "x", 1), 1);
	staging_close(&s);
	free(test_read(state, "other", &(size_t){ 0 }));

	for (int i = 0; i < 3; i++) {
		assert_int_equal(unlinkat(dir, s.staged, 0), 0);
		if (i == 0)
			assert_int_equal(symlinkat("victim", dir, s.staged), 0);
		else if (i == 1)
			assert_int_equal(mkfifoat(dir, s.staged, 0600), 0);
		else
			assert_int_equal(mkdirat(dir, s.staged, 0700), 0);
		s = open_at(state, "f", false);
		assert_ok(staging_make_file(&s, 0600, &err), &err);
		assert_false(s.existing);
		staging_close(&s);
		assert_false(test_exists(state, "victim"));
	}
}

static void
stage(void **state, struct staging *s, const char *dest, bool dir, bool replace)
{
	struct larder_err err = { 0 };

	*s = open_at(state, dest, replace);
	if (dir) {
		assert_ok(staging_make_dir(s, &err), &err);
		write_into(s, "new");
	} else {
		assert_ok(staging_make_file(s, 0600, &err), &err);
		assert_int_equal(write(s->fd, "new", 3), 3);
	}
}

static void
what_comes_meanwhile_is_not_replaced(void **state)
{
	struct larder_err err = { 0 };
	struct staging s;

	for (int dir = 0; dir < 2; dir++) {
		stage(state, &s, "out", dir, false);
		test_write(state, "out", "theirs", 6);
		assert_status(LARDER_ERR_EXISTS, staging_move(&s, &err), &err);
		assert_message(&err, "come to exist");
		assert_ok(staging_clear(&s, &err), &err);
		staging_close(&s);
		assert_int_equal(unlinkat(test_dir(state), "out", 0), 0);
	}
	/* an empty directory too, which a plain rename would replace */
	stage(state, &s, "out", true, false);
	assert_int_equal(mkdirat(test_dir(state), "out", 0700), 0);
	assert_status(LARDER_ERR_EXISTS, staging_move(&s, &err), &err);
	staging_close(&s);
}

static void
what_is_there_is_replaced_when_asked(void **state)
{
	struct larder_err err = { 0 };
	struct staging s;

	for (int old = 0; old < 4; old++)
		for (int dir = 0; dir < 2; dir++) {
			if (old == 1) {
				test_write(state, "out", "old", 3);
			} else if (old == 2) {
				assert_int_equal(mkdirat(test_dir(state), "out", 0700), 0);
				test_write(state, "out/old", "", 0);
			} else if (old == 3) {
				assert_int_equal(symlinkat("/", test_dir(state), "out"), 0);
			}
			stage(state, &s, "out", dir, true);
			assert_ok(staging_move(&s, &err), &err);
			staging_close(&s);
			assert_int_equal(test_entries(state, "."), 1);
			assert_true(test_exists(state, dir ? "out/new" : "out"));
			if (dir)
				assert_int_equal(test_entries(state, "out"), 1);
			assert_int_equal(unlinkat(test_dir(state), dir ? "out/new" : "out", 0), 0);
			if (dir)
				assert_int_equal(
				    unlinkat(test_dir(state), "out", AT_REMOVEDIR), 0);
		}
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(the_name_is_made_of_destination_and_content),
		test_case(destinations_that_are_none),
		test_case(a_directory_is_ours_alone_and_found_again),
		test_case(what_others_could_have_written_to_is_not_used),
		test_case(two_restores_of_one_thing_do_not_mix),
		test_case(files_are_found_again_unless_they_are_something_else),
		test_case(what_comes_meanwhile_is_not_replaced),
		test_case(what_is_there_is_replaced_when_asked),
	};

	return test_run(cases);
}
