/*
 * A tree with every kind of entry goes in and comes out equal: at once, after
 * interruptions of every sort, over what stood there, by root and by others; and
 * a store that is damaged or lies leaves nothing at the destination.
 * FLAVOURS: release asan tsan
 */
#include "cas/larder.h"

#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "cas/base/file.h"
#include "cas/object/attrs.h"
#include "cas/object/filelist.h"
#include "cas/object/tree.h"
#include "cas/rmtree.h"
#include "tests/doubles/doubles.h"
#include "tests/unit/t_store.h"

enum { NOBODY = 65534 };

/* ---- a tree ---- */

static void
make(int dir, const char *path, const void *data, size_t len, mode_t mode)
{
	int fd = openat(dir, path, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
set_mtime(int dir, const char *path, int64_t s, long ns)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = s, .tv_nsec = ns } };

	assert_int_equal(utimensat(dir, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void
make_sparse(int dir, const char *path)
{
	int fd = openat(dir, path, O_CREAT | O_WRONLY, 0644);

	assert_int_equal(ftruncate(fd, 3000000), 0);
	assert_int_equal(pwrite(fd, "middle", 6, 1500001), 6);
	close(fd);
}

/* 64 small files, large ones with parts in common, links, and whatever else there is. */
static void
make_tree(void **state, const char *name)
{
	static uint8_t bytes[700000];
	char path[64];
	int dir;

	assert_int_equal(mkdirat(test_dir(state), name, 0700), 0);
	dir = openat(test_dir(state), name, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(dir, "sub", 0700), 0);
	assert_int_equal(mkdirat(dir, "sub/deeper", 0700), 0);
	assert_int_equal(mkdirat(dir, "sub/empty", 0755), 0);
	for (unsigned i = 0; i < 64; i++) {
		static const mode_t modes[] = { 0644, 0600, 0444, 0755, 0777, 0400, 04755, 02711 };

		snprintf(path, sizeof path, "%sfile%u", i % 3 ? "sub/" : "", i);
		test_fill(bytes, 100 * i, i % 50); /* some are equal at their beginning */
		make(dir, path, bytes, 100 * i, modes[i % 8]);
	}
	test_fill(bytes, sizeof bytes, 77);
	make(dir, "large", bytes, sizeof bytes, 0640);
	make(dir, "sub/large copy", bytes, sizeof bytes, 0644);
	memset(bytes + 200000, 'x', 1000);
	make(dir, "sub/deeper/changed", bytes, sizeof bytes, 0644);
	make_sparse(dir, "sparse");

	assert_int_equal(symlinkat("file0", dir, "link"), 0);
	assert_int_equal(symlinkat("/nowhere/at/all", dir, "sub/dangling"), 0);
	assert_int_equal(symlinkat("sub", dir, "dirlink"), 0);
	assert_int_equal(mkfifoat(dir, "fifo", 0640), 0);
	assert_int_equal(mknodat(dir, "sub/socket", S_IFSOCK | 0600, 0), 0);
	assert_int_equal(linkat(dir, "large", dir, "sub/large too", 0), 0);
	assert_int_equal(linkat(dir, "file3", dir, "sub/deeper/file3", 0), 0);
	assert_int_equal(linkat(dir, "file3", dir, "zzz", 0), 0);
	assert_int_equal(linkat(dir, "fifo", dir, "sub/fifo", 0), 0);
	assert_int_equal(linkat(dir, "sub/dangling", dir, "dangling", 0), 0);
	assert_int_equal(linkat(dir, "link", dir, "sub/deeper/link", 0), 0);
	(void)fsetxattr(dir, "user.top", "1", 1, 0);
	snprintf(path, sizeof path, "%.40s/large", name);
	(void)setxattr(test_path(state, path), "user.long", bytes, 1000, 0);
	snprintf(path, sizeof path, "%.40s/file6", name);
	(void)setxattr(test_path(state, path), "user.short", "value", 5, 0);
	if (geteuid() == 0) {
		assert_int_equal(mknodat(dir, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
		assert_int_equal(fchownat(dir, "sub/file1", 1000, 1001, 0), 0);
		assert_int_equal(fchownat(dir, "link", 1000, 1001, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(fchownat(dir, "sub/deeper", 7, 8, 0), 0);
	}
	set_mtime(dir, "file9", 1, 1);
	set_mtime(dir, "file12", -5, 999999999);
	set_mtime(dir, "dangling", 1234567890, 5);
	assert_int_equal(fchmodat(dir, "sub/deeper", 0511, 0), 0);
	set_mtime(dir, "sub/deeper", 1000000000, 123456789);
	set_mtime(dir, "sub", 1000000001, 0);
	set_mtime(dir, ".", 1000000002, 0);
	close(dir);
}

/* ---- comparing ---- */

static void
assert_same_xattrs(int a, const char *an, int b, const char *bn)
{
	char path[2][300], names[2][1000], value[2][70000];
	ssize_t len[2];

	snprintf(path[0], sizeof path[0], "/proc/self/fd/%d/%s", a, an);
	snprintf(path[1], sizeof path[1], "/proc/self/fd/%d/%s", b, bn);
	for (int i = 0; i < 2; i++)
		len[i] = llistxattr(path[i], names[i], sizeof names[i]);
	assert_int_equal(len[0], len[1]);
	for (ssize_t at = 0; at < len[0]; at += (ssize_t)strlen(names[0] + at) + 1) {
		ssize_t n[2];

		for (int i = 0; i < 2; i++)
			n[i] = lgetxattr(path[i], names[0] + at, value[i], sizeof value[i]);
		assert_true(n[0] >= 0);
		assert_int_equal(n[0], n[1]);
		assert_memory_equal(value[0], value[1], (size_t)n[0]);
	}
}

static void
assert_same_bytes(int a, const char *an, int b, const char *bn)
{
	static uint8_t x[65536], y[65536];
	int p = openat(a, an, O_RDONLY), q = openat(b, bn, O_RDONLY);
	ssize_t n;

	assert_true(p >= 0 && q >= 0);
	while ((n = read(p, x, sizeof x)) > 0) {
		assert_int_equal(read(q, y, sizeof y), n);
		assert_memory_equal(x, y, (size_t)n);
	}
	assert_int_equal(read(q, y, 1), 0);
	close(p);
	close(q);
}

static void assert_same_dirs(int a, int b);

static void
assert_same(int a, const char *an, int b, const char *bn)
{
	struct stat x, y;
	char s[2][4096];

	assert_int_equal(fstatat(a, an, &x, AT_SYMLINK_NOFOLLOW), 0);
	if (fstatat(b, bn, &y, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s is missing", bn);
	if (x.st_mode != y.st_mode)
		fail_msg("%s: mode %o and %o", an, x.st_mode, y.st_mode);
	assert_int_equal(x.st_uid, y.st_uid);
	assert_int_equal(x.st_gid, y.st_gid);
	assert_int_equal(x.st_rdev, y.st_rdev);
	if (x.st_mtim.tv_sec != y.st_mtim.tv_sec || x.st_mtim.tv_nsec != y.st_mtim.tv_nsec)
		fail_msg("%s: mtime", an);
	assert_same_xattrs(a, an, b, bn);
	if (S_ISDIR(x.st_mode)) {
		int p = openat(a, an, O_RDONLY | O_DIRECTORY);
		int q = openat(b, bn, O_RDONLY | O_DIRECTORY);

		assert_true(p >= 0 && q >= 0);
		assert_same_dirs(p, q);
		close(p);
		close(q);
		return;
	}
	assert_int_equal(x.st_nlink, y.st_nlink);
	if (S_ISREG(x.st_mode)) {
		assert_same_bytes(a, an, b, bn);
		if (strcmp(an, "sparse") == 0)
			assert_true(y.st_blocks < 100);
	} else if (S_ISLNK(x.st_mode)) {
		ssize_t n = readlinkat(a, an, s[0], sizeof s[0]);

		assert_int_equal(readlinkat(b, bn, s[1], sizeof s[1]), n);
		assert_memory_equal(s[0], s[1], (size_t)n);
	}
}

static void
assert_same_dirs(int a, int b)
{
	char **names[2];
	size_t count[2];

	assert_ok(file_list(&names[0], &count[0], a, ".", NULL), NULL);
	assert_ok(file_list(&names[1], &count[1], b, ".", NULL), NULL);
	for (size_t i = 0; i < count[0]; i++)
		assert_same(a, names[0][i], b, names[0][i]);
	assert_int_equal(count[0], count[1]);
	free(names[0]);
	free(names[1]);
}

static void
assert_restored(void **state, const char *from, const char *to)
{
	assert_same(test_dir(state), from, test_dir(state), to);
}

/* ---- doing it ---- */

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

static void
with_sys(struct larder_sys *sys)
{
	sys->size = sizeof *sys;
	sys->file_fsync = sys->file_fdatasync = no_sync;
	larder_sys_set(sys);
}

static struct larder_store *
store_with_tree(void **state)
{
	struct larder_sys sys = { 0 };
	struct larder_put_result result;
	struct larder_err err = { 0 };
	struct larder_store *store;

	with_sys(&sys);
	store = test_store_open(state, "store");
	make_tree(state, "tree");
	assert_ok(larder_put(store, "t", test_path(state, "tree"), NULL, &result, &err), &err);
	return store;
}

struct heard {
	char items[2000];
	uint64_t files, bytes;
	unsigned progress;
};

static void
hear_item(void *context, const struct larder_item *item)
{
	struct heard *heard = context;
	size_t len = strlen(heard->items);

	snprintf(heard->items + len, sizeof heard->items - len, "%s: %s: %s\n", item->path,
	    larder_status_code(item->status), item->message);
}

static void
hear_progress(void *context, const struct larder_progress *progress)
{
	struct heard *heard = context;

	heard->progress++;
	heard->files = progress->files_total;
	heard->bytes = progress->bytes_total;
}

static struct larder_get_options
options_with(struct heard *heard)
{
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;

	memset(heard, 0, sizeof *heard);
	options.watch.on_item = hear_item;
	options.watch.on_progress = hear_progress;
	options.watch.context = heard;
	return options;
}

static void
get(void **state, struct larder_store *store, const char *spec, const char *dest)
{
	struct larder_get_result result;
	struct larder_err err = { 0 };

	assert_ok(larder_get(store, spec, test_path(state, dest), NULL, &result, &err), &err);
	assert_int_equal(result.skipped, 0);
}

/* ---- cases ---- */

static void
everything_comes_back(void **state)
{
	struct larder_store *store = store_with_tree(state);
	struct heard heard;
	struct larder_get_options options = options_with(&heard);
	struct larder_get_result result;
	struct larder_err err = { 0 };

	assert_ok(larder_get(store, "t", test_path(state, "out"), &options, &result, &err), &err);
	assert_string_equal(heard.items, "");
	assert_restored(state, "tree", "out");
	assert_string_equal(result.name, "t");
	assert_int_equal(result.version, 1);
	assert_int_equal(result.files, 64 + 4 + 3 + 2 + 6 + (geteuid() == 0));
	assert_true(heard.progress > 0 && heard.files == result.files);
	assert_true(heard.bytes == result.bytes);
	assert_int_equal(result.skipped, 0);
	assert_int_equal(test_entries(state, "."), 3);

	assert_status(LARDER_ERR_EXISTS,
	    larder_get(store, "t", test_path(state, "out"), NULL, &result, &err), &err);
	assert_message(&err, "exists already");
	options.overwrite = true;
	test_write(state, "out/more", "x", 1);
	assert_ok(larder_get(store, "t", test_path(state, "out"), &options, &result, &err), &err);
	assert_restored(state, "tree", "out");
	assert_int_equal(test_entries(state, "."), 3);
	larder_store_close(store);
}

static void
the_umask_does_not_matter(void **state)
{
	struct larder_store *store = store_with_tree(state);
	mode_t before = umask(0777);

	get(state, store, "t", "a");
	umask(0);
	get(state, store, "t", "b");
	umask(before);
	assert_restored(state, "tree", "a");
	assert_restored(state, "tree", "b");
	larder_store_close(store);
}

static void
an_object_without_attributes_follows_the_umask(void **state)
{
	struct larder_store *store = store_with_tree(state);
	struct larder_get_result result;
	struct larder_err err = { 0 };
	struct stat st;
	char spec[80] = "id:";
	mode_t before = umask(027);

	get(state, store, "t", "out");
	assert_ok(larder_get(store, "t", test_path(state, "out2"), NULL, &result, &err), &err);
	id_to_hex(spec + 3, &result.id);
	get(state, store, spec, "bare");
	umask(before);
	assert_int_equal(fstatat(test_dir(state), "bare", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(fstatat(test_dir(state), "bare/sub", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(fstatat(test_dir(state), "bare/file0", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(fstatat(test_dir(state), "bare/file3", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_same_bytes(test_dir(state), "tree/large", test_dir(state), "bare/large");
	larder_store_close(store);
}

static void
one_entry_at_a_path_comes_back_alone(void **state)
{
	static const char *const paths[] = { "sub/file4", "file9", "file63", "file0", "link",
		"sub/dangling", "sub", "sub/empty", "sub/large copy", "sub/deeper", "sparse" };
	struct larder_store *store = store_with_tree(state);
	int dir = test_dir(state);

	for (size_t i = 0; i < test_count(paths); i++) {
		char spec[64], original[80];
		struct stat x, y;

		snprintf(spec, sizeof spec, "t//%s", paths[i]);
		snprintf(original, sizeof original, "tree/%s", spec + 3);
		get(state, store, spec, "out");
		assert_int_equal(fstatat(dir, original, &x, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(fstatat(dir, "out", &y, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(x.st_mode, y.st_mode);
		assert_int_equal(x.st_uid, y.st_uid);
		assert_int_equal(x.st_mtim.tv_nsec, y.st_mtim.tv_nsec);
		if (S_ISREG(x.st_mode))
			assert_same_bytes(dir, original, dir, "out");
		assert_int_equal(test_entries(state, "."), 3);
		assert_ok(rmtree(dir, "out", NULL), NULL);
	}
	larder_store_close(store);
}

static void
verifying_writes_nothing(void **state)
{
	struct larder_store *store = store_with_tree(state);
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result whole, one;
	struct larder_err err = { 0 };

	options.verify_only = true;
	assert_ok(larder_get(store, "t", NULL, &options, &whole, &err), &err);
	assert_int_equal(whole.files, 64 + 4 + 3 + 2 + 6 + (geteuid() == 0));
	assert_ok(larder_get(store, "t//large", "", &options, &one, &err), &err);
	assert_int_equal(one.files, 1);
	assert_int_equal(one.bytes, 700000);
	assert_ok(larder_get(store, "t//fifo", "", &options, &one, &err), &err);
	assert_ok(larder_get(store, "t//link", "", &options, &one, &err), &err);
	assert_int_equal(test_entries(state, "."), 2);
	larder_store_close(store);
}

/* ---- interruptions ---- */

static void
a_failure_leaves_nothing_and_the_next_try_goes_on(void **state)
{
	static const unsigned ops[] = { FILE_FAULTY_OPEN, FILE_FAULTY_WRITE, FILE_FAULTY_MKDIR,
		FILE_FAULTY_RENAME, FILE_FAULTY_TRUNCATE, FILE_FAULTY_READ, FILE_FAULTY_CLOSE };
	struct larder_store *store = store_with_tree(state);
	char name[32];
	unsigned tries = 0, failures = 0;

	for (size_t i = 0; i < test_count(ops); i++)
		for (long nth = 1; nth < 200; nth += nth < 10 ? 1 : 23) {
			struct file_faulty_plan plan = { .ops = ops[i], .nth = nth };
			struct larder_sys sys = { 0 };
			struct larder_get_result result;
			struct larder_err err = { 0 };
			bool failed;
			int rc;

			snprintf(name, sizeof name, "out%u", tries++);
			file_faulty_into(&sys, &plan);
			with_sys(&sys);
			rc = larder_get(store, "t", test_path(state, name), NULL, &result, &err);
			failed = file_faulty_failed();
			file_faulty_set(&(struct file_faulty_plan){ 0 });
			if (rc < 0) {
				assert_status(LARDER_ERR_IO, rc, &err);
				assert_false(test_exists(state, name));
				get(state, store, "t", name);
				failures++;
			}
			assert_restored(state, "tree", name);
			if (!failed)
				break;
		}
	assert_true(failures > 40);
	assert_int_equal(test_entries(state, "."), 2 + tries);
	larder_store_close(store);
}

static void
find_staged(void **state, char out[300])
{
	char **names;
	size_t count;

	assert_ok(file_list(&names, &count, test_dir(state), ".", NULL), NULL);
	out[0] = '\0';
	for (size_t i = 0; i < count; i++)
		if (strncmp(names[i], ".out.larder-", 12) == 0)
			snprintf(out, 300, "%s", names[i]);
	free(names);
	assert_string_not_equal(out, "");
}

static void
what_was_tampered_with_meanwhile_is_put_right(void **state)
{
	struct larder_store *store = store_with_tree(state);
	struct larder_sys sys = { 0 };
	struct larder_get_result result;
	struct larder_err err = { 0 };
	struct stat before, after;
	char staged[300];
	int dir;

	/* all is there, and then the last step fails */
	file_faulty_into(&sys, &(struct file_faulty_plan){ .ops = FILE_FAULTY_ALL, .nth = 1 });
	file_faulty_set(&(struct file_faulty_plan){ 0 });
	with_sys(&sys);
	get(state, store, "t", "out");
	dir = openat(test_dir(state), "out", O_RDONLY | O_DIRECTORY);
	assert_ok(larder_get(store, "t", test_path(state, "reference"), NULL, &result, &err), &err);
	file_faulty_set(&(struct file_faulty_plan){ .ops = FILE_FAULTY_WRITE, .nth = 3 });
	assert_int_equal(renameat(test_dir(state), "out", test_dir(state), "kept"), 0);
	assert_status(LARDER_ERR_IO,
	    larder_get(store, "t", test_path(state, "out"), NULL, &result, &err), &err);
	file_faulty_set(&(struct file_faulty_plan){ 0 });
	find_staged(state, staged);
	assert_ok(rmtree(test_dir(state), staged, NULL), NULL);
	assert_int_equal(renameat(test_dir(state), "kept", test_dir(state), staged), 0);
	assert_int_equal(fchmod(dir, 0700), 0);

	assert_int_equal(fstatat(dir, "file63", &before, 0), 0);
	make(dir, "file60", "wrong", 5, 0644);                   /* other size */
	test_write(state, "x", "", 0);
	assert_int_equal(fchmodat(dir, "large", 0600, 0), 0);
	{
		int fd = openat(dir, "large", O_WRONLY); /* same size; and its other name */

		assert_int_equal(pwrite(fd, "wrong", 5, 300000), 5);
		close(fd);
	}
	assert_int_equal(unlinkat(dir, "file57", 0), 0);
	assert_int_equal(mkdirat(dir, "file57", 0), 0);          /* a directory for a file */
	assert_int_equal(unlinkat(dir, "fifo", 0), 0);
	assert_int_equal(symlinkat("../x", dir, "fifo"), 0);     /* a symlink for a FIFO */
	assert_int_equal(unlinkat(dir, "file54", 0), 0);
	assert_int_equal(symlinkat("../x", dir, "file54"), 0);   /* and for a file */
	assert_int_equal(unlinkat(dir, "link", 0), 0);
	make(dir, "link", "", 0, 0600);                          /* a file for a symlink */
	assert_int_equal(unlinkat(dir, "zzz", 0), 0);
	make(dir, "zzz", "", 0, 0600);                           /* a file for a hard link */
	assert_int_equal(mkdirat(dir, "foreign", 0700), 0);
	make(dir, "foreign/x", "", 0, 0600);                     /* what does not belong here */
	make(dir, "sub/empty/x", "", 0, 0600);
	assert_int_equal(renameat(dir, "sub/deeper", dir, "foreign/deeper"), 0);
	assert_int_equal(symlinkat("../../store", dir, "sub/deeper"), 0); /* for a directory */
	close(dir);

	get(state, store, "t", "out");
	assert_restored(state, "tree", "out");
	assert_int_equal(fstatat(test_dir(state), "out/file63", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino); /* what was right was kept */
	larder_store_close(store);
}

static void
a_single_file_goes_on_too(void **state)
{
	struct larder_store *store = store_with_tree(state);
	struct larder_sys sys = { 0 };
	struct larder_get_result result;
	struct larder_err err = { 0 };

	file_faulty_into(&sys, &(struct file_faulty_plan){ .ops = FILE_FAULTY_WRITE, .nth = 1 });
	with_sys(&sys);
	for (long nth = 1; nth < 4; nth++) {
		char staged[300];
		bool failed;
		int rc;

		file_faulty_set(&(struct file_faulty_plan){
		    .ops = FILE_FAULTY_WRITE | FILE_FAULTY_TRUNCATE, .nth = nth });
		rc = larder_get(store, "t//large", test_path(state, "out"), NULL, &result, &err);
		failed = file_faulty_failed();
		file_faulty_set(&(struct file_faulty_plan){ 0 });
		if (failed) {
			assert_status(LARDER_ERR_IO, rc, &err);
			find_staged(state, staged);
			assert_false(test_exists(state, "out"));
			test_write(state, staged, "something of another length", 27);
			get(state, store, "t//large", "out");
		}
		assert_same_bytes(test_dir(state), "tree/large", test_dir(state), "out");
		assert_int_equal(unlinkat(test_dir(state), "out", 0), 0);
		assert_int_equal(test_entries(state, "."), 2);
	}
	larder_store_close(store);
}

static void
a_set_flag_cancels(void **state)
{
	struct larder_store *store = store_with_tree(state);
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result result;
	struct larder_err err = { 0 };
	volatile int cancel = 1;

	options.watch.cancel = &cancel;
	assert_status(LARDER_ERR_CANCELLED,
	    larder_get(store, "t", test_path(state, "out"), &options, &result, &err), &err);
	assert_status(LARDER_ERR_CANCELLED,
	    larder_get(store, "t//large", test_path(state, "f"), &options, &result, &err), &err);
	assert_false(test_exists(state, "out"));
	assert_false(test_exists(state, "f"));
	cancel = 0;
	assert_ok(larder_get(store, "t", test_path(state, "out"), &options, &result, &err), &err);
	assert_restored(state, "tree", "out");
	larder_store_close(store);
}

/* ---- rights ---- */

static void
who_is_not_root_gets_what_the_rights_allow(void **state)
{
	struct larder_sys sys = { 0 };
	struct heard heard;
	struct larder_get_options options = options_with(&heard);
	struct larder_put_result put;
	struct larder_get_result result;
	struct larder_err err = { 0 };
	struct larder_store *store;
	struct stat st;
	int dir = test_dir(state);

	if (geteuid() != 0)
		test_skip("needs root to make files of others");
	with_sys(&sys);
	assert_int_equal(fchown(dir, NOBODY, NOBODY), 0);
	assert_int_equal(mkdirat(dir, "tree", 0755), 0);
	make(dir, "tree/of root", "1", 1, 0644);
	make(dir, "tree/set-uid", "2", 1, 04755);
	make(dir, "tree/mine", "3", 1, 02751);
	make(dir, "tree/closed", "4", 1, 0444);
	assert_int_equal(fchownat(dir, "tree/mine", NOBODY, NOBODY, 0), 0);
	assert_int_equal(fchmodat(dir, "tree/mine", 02751, 0), 0);
	(void)setxattr(test_path(state, "tree/closed"), "user.x", "y", 1, 0);
	assert_int_equal(mknodat(dir, "tree/null", S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(mkdirat(dir, "tree/shut", 0777), 0);
	make(dir, "tree/shut/inside", "5", 1, 0644);
	assert_int_equal(linkat(dir, "tree/shut/inside", dir, "tree/zlink", 0), 0);
	assert_int_equal(fchmodat(dir, "tree/shut", 0555, 0), 0);

	assert_int_equal(setegid(NOBODY), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	store = test_store_open(state, "store");
	assert_ok(larder_put(store, "t", test_path(state, "tree"), NULL, &put, &err), &err);
	assert_status(LARDER_ERR_PARTIAL,
	    larder_get(store, "t", test_path(state, "out"), &options, &result, &err), &err);
	larder_store_close(store);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(0), 0);

	assert_message(&err, "2 entries or attributes");
	assert_int_equal(result.skipped, 2);
	assert_non_null(strstr(heard.items, "null: refused: make the device"));
	assert_non_null(strstr(heard.items, "set-uid: refused: set-id bits are left out"));
	assert_int_equal(fstatat(dir, "out/of root", &st, 0), 0);
	assert_true(st.st_uid == NOBODY && (st.st_mode & 07777) == 0644);
	assert_int_equal(fstatat(dir, "out/set-uid", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(fstatat(dir, "out/mine", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 02751);
	assert_int_equal(fstatat(dir, "out/closed", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_same_xattrs(dir, "tree/closed", dir, "out/closed");
	assert_int_equal(fstatat(dir, "out/shut", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_int_equal(fstatat(dir, "out/zlink", &st, 0), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_false(test_exists(state, "out/null"));
}

/* ---- stores that are damaged, or lie ---- */

static void
damage_leaves_nothing_at_the_destination(void **state)
{
	struct larder_store *store = store_with_tree(state);
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result result;
	struct larder_err err = { 0 };
	char command[600];

	larder_store_close(store);
	snprintf(command, sizeof command,
	    "for p in '%s'/packs/*/*; do chmod u+w $p; "
	    "printf X | dd of=$p bs=1 seek=2000 conv=notrunc 2>/dev/null; done",
	    test_path(state, "store"));
	assert_int_equal(system(command), 0);
	store = test_store_open(state, "store");
	assert_status(LARDER_ERR_CORRUPT,
	    larder_get(store, "t", test_path(state, "out"), NULL, &result, &err), &err);
	assert_message(&err, "segment");
	assert_false(test_exists(state, "out"));
	options.verify_only = true;
	assert_status(
	    LARDER_ERR_CORRUPT, larder_get(store, "t", NULL, &options, &result, &err), &err);
	larder_store_close(store);
}

/* Objects made by hand, in packs of one segment each. */
struct object {
	struct index_pack pack;
	struct larder_id id;
	struct index_place place;
};

static int
put_object(void *context, struct index_write *write, struct larder_err *err)
{
	struct object *object = context;
	int rc = index_pack_put(&object->place.pack, write, &object->pack, err);

	if (rc >= 0)
		rc = index_chunk_put(write, &object->id, &object->place, err);
	return rc < 0 ? rc : LARDER_OK;
}

static struct larder_id
add(struct larder_store *store, enum pack_type type, const void *data, size_t len)
{
	struct pack_segment header
	    = { .plain_len = (uint32_t)len, .store_len = (uint32_t)len, .type = type };
	static uint8_t segment[PACK_SEGMENT_HEADER_LEN + 100000];
	struct object object = { .place = { .chunk_len = (uint32_t)len, .type = (uint8_t)type } };
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	uint32_t length = (uint32_t)len;

	memcpy(segment + PACK_SEGMENT_HEADER_LEN, data, len);
	pack_segment_encode(segment, &header);
	sha256(&object.id, data, len);
	assert_ok(pack_writer_open(&writer, store->root_fd, &err), &err);
	assert_ok(pack_writer_append(writer, segment, PACK_SEGMENT_HEADER_LEN + len, &object.id,
		      &length, 1, &object.place.segment_at, &err),
	    &err);
	assert_ok(pack_writer_finish(writer, &err), &err);
	object.pack = (struct index_pack){ .id = *pack_writer_id(writer),
		.file_len = pack_writer_size(writer),
		.chunk_count = 1 };
	assert_ok(pack_writer_sync(writer, &err), &err);
	pack_writer_close(writer);
	assert_ok(index_update(store->index, put_object, &object, &err), &err);
	return object.id;
}

static int
put_version(void *context, struct index_write *write, struct larder_err *err)
{
	uint64_t number;

	return index_version_put(&number, write, context, err);
}

/* A version "lie" of a directory with these entries and rows. */
static void
add_dir(struct larder_store *store, const struct tree_entry *entries, size_t count,
    const struct attrs_row *rows, size_t row_count)
{
	struct index_version version = { .name = "lie", .created_ns = 1, .kind = ENTRY_KIND_DIR };
	struct attrs_row self = { .mode = 0700 };
	struct larder_err err = { 0 };
	struct buf bytes = { 0 };

	assert_ok(tree_encode(&bytes, entries, count), NULL);
	version.id = add(store, PACK_TYPE_TREE, bytes.data, bytes.len);
	buf_clear(&bytes);
	assert_ok(attrs_encode(&bytes, &self, rows, row_count), NULL);
	version.attrs = add(store, PACK_TYPE_ATTRS, bytes.data, bytes.len);
	buf_release(&bytes);
	memset(&version.gid, (int)count, sizeof version.gid);
	assert_ok(index_update(store->index, put_version, &version, &err), &err);
}

static struct tree_entry
file_entry(const char *name, const struct larder_id *id, uint64_t size)
{
	return (struct tree_entry){ .name = name,
		.name_len = strlen(name),
		.kind = TREE_FILE,
		.id = *id,
		.size = size };
}

static void
assert_lie(void **state, struct larder_store *store, const char *says)
{
	struct larder_get_result result;
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_CORRUPT,
	    larder_get(store, "lie", test_path(state, "out"), NULL, &result, &err), &err);
	assert_message(&err, says);
	assert_false(test_exists(state, "out"));
}

static void
a_size_that_is_not_the_chunks_is_damage(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_id id = add(store, PACK_TYPE_DATA, "hello", 5);
	struct tree_entry e = file_entry("f", &id, 6);
	struct attrs_row row = { .mode = 0600 };

	add_dir(store, &e, 1, &row, 1);
	assert_lie(state, store, "5 bytes where 6 belong");
	larder_store_close(store);
}

static void
a_list_that_is_not_the_file_is_damage(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_id id = add(store, PACK_TYPE_DATA, "hello", 5);
	const struct filelist_item items[2] = { { .id = id, .len = 5 }, { .id = id, .len = 5 } };
	struct buf bytes = { 0 };
	struct attrs_row row = { .mode = 0600 };
	struct tree_entry e;

	assert_ok(filelist_encode(&bytes, 0, items, 2), NULL);
	id = add(store, PACK_TYPE_FILELIST, bytes.data, bytes.len);
	buf_release(&bytes);
	e = file_entry("f", &id, 11);
	e.list = true;
	add_dir(store, &e, 1, &row, 1);
	assert_lie(state, store, "chunks of 10 bytes in a file of 11");
	larder_store_close(store);
}

static void
content_that_is_not_there_is_damage(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_id id = { { 42 } };
	struct tree_entry e = file_entry("f", &id, 6);
	struct attrs_row row = { .mode = 0600 };

	add_dir(store, &e, 1, &row, 1);
	assert_lie(state, store, "is not in the store");
	larder_store_close(store);
}

static void
attributes_of_another_directory_are_damage(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_id id = add(store, PACK_TYPE_DATA, "hello", 5);
	struct tree_entry e = file_entry("f", &id, 5);
	struct attrs_row rows[2] = { { .mode = 0600 }, { .mode = 0600 } };

	add_dir(store, &e, 1, rows, 2);
	assert_lie(state, store, "1 entries with attributes of 2");
	larder_store_close(store);
}

static void
attributes_of_a_directory_on_a_file_are_damage(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_id id = add(store, PACK_TYPE_DATA, "hello", 5);
	struct tree_entry e = file_entry("f", &id, 5);
	struct attrs_row row = { .is_dir = true, .child = id };

	add_dir(store, &e, 1, &row, 1);
	assert_lie(state, store, "do not belong");
	larder_store_close(store);
}

/* Names of one inode with other content (changed while it was read): both come back as they are. */
static void
links_that_differ_in_content_are_files_of_their_own(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_id a = add(store, PACK_TYPE_DATA, "hello", 5);
	struct larder_id b = add(store, PACK_TYPE_DATA, "world", 5);
	struct tree_entry entries[3]
	    = { file_entry("a", &a, 5), file_entry("b", &b, 5), file_entry("c", &a, 5) };
	struct attrs_row rows[3] = { { .mode = 0600, .link = 9 }, { .mode = 0600, .link = 9 },
		{ .mode = 0600, .link = 9 } };
	struct stat st;
	char *text;
	size_t len;

	add_dir(store, entries, 3, rows, 3);
	get(state, store, "lie", "out");
	assert_int_equal(fstatat(test_dir(state), "out/b", &st, 0), 0);
	assert_int_equal(st.st_nlink, 1);
	text = test_read(state, "out/b", &len);
	assert_string_equal(text, "world");
	free(text);
	assert_int_equal(fstatat(test_dir(state), "out/c", &st, 0), 0);
	assert_int_equal(st.st_nlink, 2);
	larder_store_close(store);
}

static void
arguments_are_checked(void **state)
{
	struct larder_store *store = test_store_open(state, "store");
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_USAGE, larder_get(store, NULL, "x", NULL, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE, larder_get(store, "a", NULL, NULL, NULL, &err), &err);
	assert_status(LARDER_ERR_NOT_FOUND,
	    larder_get(store, "a", test_path(state, "x"), NULL, NULL, NULL), NULL);
	larder_store_close(store);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(everything_comes_back),
		test_case(the_umask_does_not_matter),
		test_case(an_object_without_attributes_follows_the_umask),
		test_case(one_entry_at_a_path_comes_back_alone),
		test_case(verifying_writes_nothing),
		test_case(a_failure_leaves_nothing_and_the_next_try_goes_on),
		test_case(what_was_tampered_with_meanwhile_is_put_right),
		test_case(a_single_file_goes_on_too),
		test_case(a_set_flag_cancels),
		test_case(who_is_not_root_gets_what_the_rights_allow),
		test_case(damage_leaves_nothing_at_the_destination),
		test_case(a_size_that_is_not_the_chunks_is_damage),
		test_case(a_list_that_is_not_the_file_is_damage),
		test_case(content_that_is_not_there_is_damage),
		test_case(attributes_of_another_directory_are_damage),
		test_case(attributes_of_a_directory_on_a_file_are_damage),
		test_case(links_that_differ_in_content_are_files_of_their_own),
		test_case(arguments_are_checked),
	};

	return test_run(cases);
}
