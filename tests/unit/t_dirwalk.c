/* cas/dirwalk.c */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cas/dirwalk.h"

#define NS 1000000000ll

static void
nothing_bad(void *context, const char *name, int sys_errno)
{
	(void)name;
	(void)sys_errno;
	++*(int *)context;
}

static const struct walk_entry *
entry(const struct walk_dir *dir, const char *name)
{
	for (size_t i = 0; i < dir->count; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

static void
entries_are_sorted_bytewise_and_know_their_kind(void **state)
{
	static const char *const names[] = { "b", "a.txt", "a", "\xff\xfe", "B", "a-b" };
	static const char *const want[] = { "B", "a", "a-b", "a.txt", "b", "dir", "link", "pipe",
		"\xff\xfe" };
	struct walk_rules rules = { 0 };
	struct walk_dir dir;
	int bad = 0;

	for (size_t i = 0; i < test_count(names); i++)
		test_write(state, names[i], "x", 1);
	assert_int_equal(mkdirat(test_dir(state), "dir", 0755), 0);
	assert_int_equal(symlinkat("nowhere", test_dir(state), "link"), 0);
	assert_int_equal(mkfifoat(test_dir(state), "pipe", 0600), 0);

	assert_ok(walk_dir_read(&dir, test_dir(state), "", &rules, true, nothing_bad, &bad, NULL),
	    NULL);
	assert_int_equal(bad, 0);
	assert_int_equal(dir.count, test_count(want));
	for (size_t i = 0; i < dir.count; i++) {
		assert_string_equal(dir.entries[i].name, want[i]);
		assert_int_equal(dir.entries[i].name_len, strlen(want[i]));
		assert_true(dir.entries[i].stat_known);
	}
	assert_int_equal(entry(&dir, "dir")->kind, TREE_DIR);
	assert_int_equal(entry(&dir, "link")->kind, TREE_SYMLINK);
	assert_int_equal(entry(&dir, "pipe")->kind, TREE_FIFO);
	assert_int_equal(entry(&dir, "a")->kind, TREE_FILE);
	walk_dir_release(&dir);
}

static void
regular_files_need_no_stat_when_they_will_be_read_anyway(void **state)
{
	struct walk_rules rules = { 0 };
	struct walk_dir dir;
	int bad = 0;

	test_write(state, "f", "x", 1);
	assert_int_equal(mkdirat(test_dir(state), "d", 0755), 0);
	assert_ok(walk_dir_read(&dir, test_dir(state), "", &rules, false, nothing_bad, &bad, NULL),
	    NULL);
	assert_true(entry(&dir, "d")->stat_known);
	assert_int_equal(entry(&dir, "f")->kind, TREE_FILE);
	walk_dir_release(&dir);
}

static void
globs_without_a_slash_match_names_and_with_one_whole_paths(void **state)
{
	static const char *const globs[] = { "*.o", "top/only/*.c", "/abs" };
	struct walk_rules rules = { .exclude = globs, .exclude_count = test_count(globs) };

	(void)state;
	assert_true(walk_excluded(&rules, "any/where/x.o", "x.o"));
	assert_true(walk_excluded(&rules, "top/only/x.c", "x.c"));
	assert_true(walk_excluded(&rules, "abs", "abs"));
	assert_false(walk_excluded(&rules, "x.oo", "x.oo"));
	assert_false(walk_excluded(&rules, "top/only/deeper/x.c", "x.c"));
	assert_false(walk_excluded(&rules, "not/top/only/x.c", "x.c"));
	assert_false(walk_excluded(&rules, "below/abs", "abs"));
}

static struct walk_stat
some_stat(void)
{
	return (struct walk_stat) { .size = 100,
		.ino = 7,
		.mtime_s = 1000,
		.mtime_ns = 5,
		.ctime_s = 2000,
		.ctime_ns = 6,
		.mode = S_IFREG | 0644,
		.uid = 1,
		.gid = 2,
		.nlink = 1 };
}

static void
a_fingerprint_changes_with_each_thing_it_is_made_of(void **state)
{
	const int64_t now = 5000 * NS;
	struct walk_stat st = some_stat();
	uint64_t was = walk_fingerprint(&st, now);

	(void)state;
	assert_int_not_equal(was, 0);
	assert_int_equal(walk_fingerprint(&st, now + 99), was);
#define CHANGE(field)                                                                              \
	st = some_stat();                                                                          \
	st.field++;                                                                                \
	assert_int_not_equal(walk_fingerprint(&st, now), was)
	CHANGE(size);
	CHANGE(ino);
	CHANGE(mtime_s);
	CHANGE(mtime_ns);
	CHANGE(ctime_s);
	CHANGE(ctime_ns);
	CHANGE(mode);
	CHANGE(uid);
	CHANGE(gid);
	CHANGE(nlink);
	CHANGE(rdev);
#undef CHANGE
}

static void
what_changed_just_now_cannot_be_trusted(void **state)
{
	struct walk_stat st = some_stat();

	(void)state;
	st.ctime_s = 2000;
	st.ctime_ns = 500 * 1000 * 1000;
	/* in the same 50 ms */
	assert_int_equal(walk_fingerprint(&st, 2000 * NS + 510 * 1000 * 1000), 0);
	assert_int_not_equal(walk_fingerprint(&st, 2000 * NS + 600 * 1000 * 1000), 0);
	/* from the future */
	assert_int_equal(walk_fingerprint(&st, 1000 * NS), 0);
	/* whole seconds only: two of them */
	st.ctime_ns = 0;
	assert_int_equal(walk_fingerprint(&st, 2001 * NS), 0);
	assert_int_not_equal(walk_fingerprint(&st, 2003 * NS), 0);
}

static void
xattrs_come_sorted_and_whole(void **state)
{
	struct walk_xattrs x;
	char big[3000];
	int fd;

	test_fill(big, sizeof big, 1);
	test_write(state, "f", "x", 1);
	fd = openat(test_dir(state), "f", O_RDONLY);
	if (fsetxattr(fd, "user.b", "2", 1, 0) < 0 && errno == ENOTSUP) {
		close(fd);
		test_skip("no user xattrs on this file system");
	}
	assert_int_equal(fsetxattr(fd, "user.a", big, sizeof big, 0), 0);
	assert_int_equal(fsetxattr(fd, "user.empty", "", 0, 0), 0);
	assert_ok(walk_xattrs_read(&x, fd, -1, "", NULL), NULL);
	assert_int_equal(x.count, 3);
	assert_int_equal(x.list[0].value_len, sizeof big);
	assert_memory_equal(x.list[0].name, "user.a", 6);
	assert_memory_equal(x.list[0].value, big, sizeof big);
	assert_memory_equal(x.list[1].value, "2", 1);
	assert_int_equal(x.list[2].value_len, 0);
	walk_xattrs_release(&x);
	/* the same by name, without following a symlink */
	assert_ok(walk_xattrs_read(&x, -1, test_dir(state), "f", NULL), NULL);
	assert_int_equal(x.count, 3);
	walk_xattrs_release(&x);
	assert_int_equal(symlinkat("f", test_dir(state), "l"), 0);
	assert_ok(walk_xattrs_read(&x, -1, test_dir(state), "l", NULL), NULL);
	assert_int_equal(x.count, 0);
	walk_xattrs_release(&x);
	close(fd);
}

static void
owners_are_asked_once_and_unknown_ones_have_no_name(void **state)
{
	struct walk_owners owners;
	const char *root;

	(void)state;
	walk_owners_init(&owners);
	root = walk_owner_name(&owners, 0, false);
	assert_string_equal(root, "root");
	assert_ptr_equal(walk_owner_name(&owners, 0, false), root);
	assert_string_equal(walk_owner_name(&owners, 0, true), "root");
	assert_string_equal(walk_owner_name(&owners, 3999999999u, false), "");
	walk_owners_release(&owners);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(entries_are_sorted_bytewise_and_know_their_kind),
		test_case(regular_files_need_no_stat_when_they_will_be_read_anyway),
		test_case(globs_without_a_slash_match_names_and_with_one_whole_paths),
		test_case(a_fingerprint_changes_with_each_thing_it_is_made_of),
		test_case(what_changed_just_now_cannot_be_trusted),
		test_case(xattrs_come_sorted_and_whole),
		test_case(owners_are_asked_once_and_unknown_ones_have_no_name),
	};

	return test_run(cases);
}
