/*
 * Damage: whatever byte is changed, check finds it, and says whom it hits.
 *
 * FLAVOURS: release asan tsan
 * TIMEOUT: 900
 */
#include <larder.h>
#include <larder/sys.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/harness.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STEP = 37 }; /* every so many bytes only: sanitizers are slow */
#else
enum { STEP = 1 };
#endif

enum { FILES_MAX = 64 };

/* ---- a small store with a bit of everything ---- */

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

/* What is on disk is what was written: nobody cuts the power here. */
static void
skip_syncs(void)
{
	struct larder_sys sys = { .size = sizeof sys };

	sys.file_fsync = sys.file_fdatasync = no_sync;
	larder_sys_set(&sys);
}

static struct larder_store *
open_store(const char *path)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_store *store;
	struct larder_err err = { 0 };

	options.create = true;
	options.threads = 2;
	assert_ok(larder_store_open(&store, path, &options, &err), &err);
	return store;
}

static void
make_dir(void **state, const char *name)
{
	assert_int_equal(mkdir(test_path(state, name), 0755), 0);
}

static void
put(struct larder_store *store, const char *name, const char *path)
{
	struct larder_put_result result;
	struct larder_err err = { 0 };

	assert_ok(larder_put(store, name, path, NULL, &result, &err), &err);
}

/* Lines that compress, so that a large file makes a small store. */
static void
write_lines(void **state, const char *name, unsigned count, unsigned salt)
{
	char *text = malloc(count * 48 + 1);
	size_t len = 0;

	assert_non_null(text);
	for (unsigned i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, 48, "%s line %u of file %u\n",
		    i % 3 ? "some" : "another", i * 7 % 100, salt);
	test_write(state, name, text, len);
	free(text);
}

/* Returns its path, lent. */
static const char *
make_store(void **state)
{
	struct larder_store *store;
	uint8_t noise[4000];

	skip_syncs();
	store = open_store(test_path(state, "store"));
	make_dir(state, "d");
	make_dir(state, "d/sub");
	test_fill(noise, sizeof noise, 7);
	test_write(state, "d/noise", noise, sizeof noise);
	write_lines(state, "d/small", 100, 1);
	write_lines(state, "d/large", 9000, 2);
	test_write(state, "d/empty", "", 0);
	assert_int_equal(symlink("small", test_path(state, "d/link")), 0);
	write_lines(state, "d/sub/other", 60, 3);
	put(store, "tree", test_path(state, "d"));
	write_lines(state, "d/small", 101, 1); /* a delta */
	put(store, "tree", test_path(state, "d"));
	put(store, "file", test_path(state, "d/noise"));
	larder_store_close(store);
	return test_path(state, "store");
}

/* ---- files of the store ---- */

struct files {
	char paths[FILES_MAX][200];
	size_t count;
};

static void
add_files(struct files *files, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *d;

	assert_non_null(dir);
	while ((d = readdir(dir)) != NULL) {
		char below[200];
		struct stat st;

		if (d->d_name[0] == '.')
			continue;
		assert_true(snprintf(below, sizeof below, "%s/%s", path, d->d_name) < 200);
		assert_int_equal(lstat(below, &st), 0);
		if (S_ISDIR(st.st_mode)) {
			add_files(files, below);
		} else if (strcmp(d->d_name, "lock") != 0) { /* what processes share, not data */
			assert_true(files->count < FILES_MAX);
			memcpy(files->paths[files->count++], below, sizeof below);
		}
	}
	closedir(dir);
}

/* Everything that is not a cache or a hint. */
static void
list_files(struct files *files, const char *store)
{
	static const char *const parts[] = { "packs", "journal" };
	char path[200];

	memset(files, 0, sizeof *files);
	for (size_t i = 0; i < test_count(parts); i++) {
		snprintf(path, sizeof path, "%s/%s", store, parts[i]);
		add_files(files, path);
	}
	snprintf(files->paths[files->count++], 200, "%s/config", store);
	snprintf(files->paths[files->count++], 200, "%s/writer", store);
}

static uint8_t
read_byte(int fd, off_t at)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	return byte;
}

static void
write_byte(int fd, off_t at, uint8_t byte)
{
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

/* ---- finding out ---- */

struct damages {
	size_t count;
	char text[4096]; /* lines "what: name, name" */
	uint64_t names_total;
};

static void
take_damage(void *context, const struct larder_damage *damage)
{
	struct damages *d = context;
	size_t len = strlen(d->text);

	d->count++;
	d->names_total += damage->names_total;
	assert_true(damage->name_count <= 20);
	assert_true(damage->name_count <= damage->names_total);
	len += (size_t)snprintf(d->text + len, sizeof d->text - len, "%s:", damage->what);
	for (size_t i = 0; i < damage->name_count && len < sizeof d->text - 1; i++)
		len += (size_t)snprintf(
		    d->text + len, sizeof d->text - len, " %s,", damage->names[i]);
	if (len < sizeof d->text - 1)
		snprintf(d->text + len, sizeof d->text - len, "\n");
}

/* Opens, checks, closes: what came of it. `err` is that of the call that failed. */
static int
examine(const char *path, bool read, struct damages *damages, struct larder_err *err)
{
	struct larder_check_options check = LARDER_CHECK_OPTIONS_INIT;
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_check_result result;
	struct larder_store *store;
	int rc;

	memset(damages, 0, sizeof *damages);
	memset(err, 0, sizeof *err);
	options.threads = 1;
	check.read = read;
	rc = larder_store_open(&store, path, &options, err);
	if (rc < 0)
		return rc;
	rc = larder_check(store, &check, take_damage, damages, &result, err);
	larder_store_close(store);
	if (rc == LARDER_ERR_CORRUPT)
		assert_true(damages->count > 0 && result.damages == damages->count);
	return rc;
}

static void
assert_sound(const char *path)
{
	struct damages damages;
	struct larder_err err;
	int rc = examine(path, true, &damages, &err);

	if (rc != LARDER_OK)
		print_message("%s\n%s", err.message, damages.text);
	assert_int_equal(rc, LARDER_OK);
}

static void
assert_found(const char *path, const char *file, const char *how)
{
	struct damages damages;
	struct larder_err err;
	int rc = examine(path, true, &damages, &err);

	if (rc == LARDER_ERR_CORRUPT || rc == LARDER_ERR_VERSION)
		return;
	print_message("%s, %s: %d %s\n", file, how, rc, err.message);
	fail();
}

/* ---- every byte ---- */

static void
flip_file(const char *store, const char *file, unsigned step)
{
	struct stat st;
	int fd = open(file, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at += step) {
		uint8_t was = read_byte(fd, at);
		char how[64];

		snprintf(how, sizeof how, "byte %lld", (long long)at);
		write_byte(fd, at, (uint8_t)(was ^ (1u << at % 8)));
		assert_found(store, file, how);
		write_byte(fd, at, was);
	}
	close(fd);
}

static void
every_changed_byte_is_found(void **state)
{
	const char *store = make_store(state);
	struct files files;

	assert_sound(store);
	list_files(&files, store);
	assert_true(files.count >= 5);
	for (size_t i = 0; i < files.count; i++)
		flip_file(store, files.paths[i], STEP);
	assert_sound(store);
}

static void
every_shortened_or_lengthened_file_is_found(void **state)
{
	const char *store = make_store(state);
	struct files files;

	list_files(&files, store);
	for (size_t i = 0; i < files.count; i++) {
		const char *file = files.paths[i];
		size_t len;
		char *bytes, how[64];
		int fd = open(file, O_RDWR);
		struct stat st;

		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &st), 0);
		len = (size_t)st.st_size;
		bytes = malloc(len);
		assert_non_null(bytes);
		assert_int_equal(pread(fd, bytes, len, 0), len);
		for (size_t cut = 0; cut < len; cut += 1 + len / (STEP == 1 ? 100 : 10)) {
			if (cut == 0 && strstr(file, "/writer") != NULL)
				continue; /* a first writer that ended early */
			assert_int_equal(ftruncate(fd, (off_t)cut), 0);
			snprintf(how, sizeof how, "cut at %zu", cut);
			assert_found(store, file, how);
			assert_int_equal(pwrite(fd, bytes, len, 0), len);
		}
		if (strstr(file, "/journal/") == NULL) { /* there it is an unfinished write */
			write_byte(fd, st.st_size, 0);
			assert_found(store, file, "one byte longer");
			assert_int_equal(ftruncate(fd, st.st_size), 0);
		}
		free(bytes);
		close(fd);
	}
	assert_sound(store);
}

static void
every_missing_or_exchanged_file_is_found(void **state)
{
	const char *store = make_store(state);
	const char *aside = test_path(state, "aside");
	struct files files;

	list_files(&files, store);
	for (size_t i = 0; i < files.count; i++) {
		char *file = files.paths[i];

		if (strstr(file, "/writer") != NULL)
			continue; /* who has none draws one */
		assert_int_equal(rename(file, aside), 0);
		if (strstr(file, "/config") == NULL)
			assert_found(store, file, "missing");
		for (size_t k = 0; k < files.count; k++) {
			struct larder_err err;
			struct damages damages;

			if (k == i)
				continue;
			assert_int_equal(link(files.paths[k], file), 0);
			assert_int_equal(examine(store, true, &damages, &err), LARDER_ERR_CORRUPT);
			assert_int_equal(unlink(file), 0);
		}
		assert_int_equal(rename(aside, file), 0);
	}
	assert_sound(store);
}

/* ---- whom it hits ---- */

/* The one file in packs/ whose length is `len` bytes or more, and which is not `other`. */
static void
find_pack(char out[200], const char *store, const char *other)
{
	struct files files;

	list_files(&files, store);
	for (size_t i = 0; i < files.count; i++)
		if (strstr(files.paths[i], "/packs/") != NULL &&
		    (other == NULL || strcmp(files.paths[i], other) != 0)) {
			memcpy(out, files.paths[i], 200);
			return;
		}
	fail_msg("there is no other pack");
}

static void
change_byte(const char *file, off_t at)
{
	int fd = open(file, O_RDWR);

	assert_true(fd >= 0);
	write_byte(fd, at, (uint8_t)~read_byte(fd, at));
	close(fd);
}

/* Two names of noise, each in a pack of its own; `shared` is in both directories. */
static const char *
make_two(void **state, char pack_a[200], char pack_b[200])
{
	struct larder_store *store;
	uint8_t noise[3000];

	skip_syncs();
	store = open_store(test_path(state, "store"));
	make_dir(state, "a");
	make_dir(state, "a/deep");
	make_dir(state, "b");
	test_fill(noise, sizeof noise, 1);
	test_write(state, "a/shared", noise, sizeof noise);
	test_write(state, "b/shared", noise, sizeof noise);
	test_fill(noise, sizeof noise, 2);
	test_write(state, "a/deep/own", noise, sizeof noise);
	test_fill(noise, sizeof noise, 3);
	test_write(state, "b/own", noise, sizeof noise);
	put(store, "name/a", test_path(state, "a"));
	find_pack(pack_a, test_path(state, "store"), NULL);
	put(store, "name/b", test_path(state, "b"));
	larder_store_close(store);
	find_pack(pack_b, test_path(state, "store"), pack_a);
	return test_path(state, "store");
}

static void
damage_names_whom_it_hits_and_nobody_else(void **state)
{
	char pack_a[200], pack_b[200];
	const char *store = make_two(state, pack_a, pack_b);
	struct damages damages;
	struct larder_err err;

	change_byte(pack_b, 1000); /* noise of b/own */
	assert_int_equal(examine(store, true, &damages, &err), LARDER_ERR_CORRUPT);
	assert_int_equal(damages.count, 1);
	assert_non_null(strstr(damages.text, "pack "));
	assert_non_null(strstr(damages.text, "segment at"));
	assert_non_null(strstr(damages.text, " name/b@1//own,"));
	assert_null(strstr(damages.text, "name/a"));
	assert_null(strstr(damages.text, "shared"));
	change_byte(pack_b, 1000);

	change_byte(pack_a, 1000);
	assert_int_equal(examine(store, true, &damages, &err), LARDER_ERR_CORRUPT);
	assert_non_null(strstr(damages.text, " name/a@1//deep/own,"));
	assert_non_null(strstr(damages.text, " name/a@1//shared,"));
	assert_non_null(strstr(damages.text, " name/b@1//shared,"));
	assert_null(strstr(damages.text, "name/b@1//own"));
	change_byte(pack_a, 1000);
	assert_sound(store);
}

static void
a_missing_pack_names_whom_it_hits_without_reading(void **state)
{
	char pack_a[200], pack_b[200];
	const char *store = make_two(state, pack_a, pack_b);
	struct damages damages;
	struct larder_err err;

	assert_int_equal(rename(pack_b, test_path(state, "aside")), 0);
	assert_int_equal(examine(store, false, &damages, &err), LARDER_ERR_CORRUPT);
	assert_non_null(strstr(damages.text, "is not there"));
	assert_non_null(strstr(damages.text, "name/b@1"));
	assert_null(strstr(damages.text, "name/a"));
	assert_int_equal(rename(test_path(state, "aside"), pack_b), 0);
	assert_sound(store);
}

static void
names_are_counted_when_there_are_too_many_to_say(void **state)
{
	struct larder_store *store;
	struct damages damages;
	struct larder_err err;
	char pack[200], name[16];
	uint8_t noise[2000];

	skip_syncs();
	store = open_store(test_path(state, "store"));
	test_fill(noise, sizeof noise, 1);
	test_write(state, "f", noise, sizeof noise);
	for (unsigned i = 0; i < 33; i++) {
		snprintf(name, sizeof name, "n%02u", i);
		put(store, name, test_path(state, "f"));
	}
	larder_store_close(store);
	find_pack(pack, test_path(state, "store"), NULL);
	change_byte(pack, 500);
	assert_int_equal(
	    examine(test_path(state, "store"), true, &damages, &err), LARDER_ERR_CORRUPT);
	assert_int_equal(damages.count, 1);
	assert_int_equal(damages.names_total, 33);
	assert_non_null(strstr(damages.text, " n19@1,"));
	assert_null(strstr(damages.text, " n20@1,"));
}

/* What a delta is made against is damaged: one damage, and it hits the delta's name too. */
static void
a_damaged_base_hits_what_depends_on_it(void **state)
{
	struct larder_store *store;
	struct damages damages;
	struct larder_err err;
	char pack[200];
	uint8_t noise[20000];

	skip_syncs();
	store = open_store(test_path(state, "store"));
	make_dir(state, "d");
	test_fill(noise, sizeof noise, 1);
	test_write(state, "d/f", noise, sizeof noise);
	put(store, "d", test_path(state, "d"));
	find_pack(pack, test_path(state, "store"), NULL);
	for (uint8_t i = 1; i <= 3; i++) {
		noise[5000] = i;
		test_write(state, "d/f", noise, sizeof noise);
		put(store, "d", test_path(state, "d"));
	}
	larder_store_close(store);
	assert_sound(test_path(state, "store"));
	change_byte(pack, 10000);
	assert_int_equal(
	    examine(test_path(state, "store"), true, &damages, &err), LARDER_ERR_CORRUPT);
	assert_int_equal(damages.count, 1);
	assert_int_equal(damages.names_total, 4);
	assert_non_null(strstr(damages.text, " d@1//f,"));
	assert_non_null(strstr(damages.text, " d@4//f,"));
}

/* ---- what is no damage ---- */

struct items {
	size_t count;
	char text[1024];
};

static void
take_item(void *context, const struct larder_item *item)
{
	struct items *items = context;
	size_t len = strlen(items->text);

	items->count++;
	snprintf(items->text + len, sizeof items->text - len, "%s: %s\n", item->path,
	    item->message);
}

static void
what_an_unfinished_write_left_behind_is_no_damage(void **state)
{
	struct larder_check_options options = LARDER_CHECK_OPTIONS_INIT;
	struct larder_check_result result;
	struct larder_err err = { 0 };
	struct larder_store *store;
	struct items items = { 0 };
	char pack[200], other[300];

	make_store(state);
	find_pack(pack, test_path(state, "store"), NULL);
	snprintf(other, sizeof other, "%.*sffffffffffffffffffffffffffffff", (int)strlen(pack) - 30,
	    pack);
	assert_int_equal(link(pack, other), 0);
	options.read = true;
	options.watch.on_item = take_item;
	options.watch.context = &items;
	store = open_store(test_path(state, "store"));
	assert_ok(larder_check(store, &options, NULL, NULL, &result, &err), &err);
	assert_int_equal(items.count, 1);
	assert_non_null(strstr(items.text, "ffffffffffffffffffffffffffffff: "));
	assert_non_null(strstr(items.text, "garbage"));
	assert_int_equal(result.damages, 0);
	assert_int_equal(result.versions, 3);
	assert_true(result.packs >= 2 && result.chunks >= 5);
	larder_store_close(store);
}

static void
check_says_what_it_looked_at_and_status_remembers(void **state)
{
	struct larder_check_options options = LARDER_CHECK_OPTIONS_INIT;
	struct larder_status_info info = LARDER_STATUS_INFO_INIT;
	struct larder_check_result quick, full, sample;
	struct larder_err err = { 0 };
	struct larder_store *store;
	struct damages damages;
	char pack[200];

	make_store(state);
	store = open_store(test_path(state, "store"));
	assert_ok(larder_status(&info, store, &err), &err);
	assert_int_equal(info.last_check_ns, 0);
	assert_ok(larder_check(store, NULL, NULL, NULL, &quick, &err), &err);
	assert_int_equal(quick.bytes, 0);
	options.read = true;
	assert_ok(larder_check(store, &options, NULL, NULL, &full, &err), &err);
	assert_true(full.bytes > 0);
	assert_int_equal(full.chunks, quick.chunks);
	options.sample = 1;
	assert_ok(larder_check(store, &options, NULL, NULL, &sample, &err), &err);
	assert_true(sample.bytes > 0 && sample.bytes < full.bytes);
	assert_ok(larder_status(&info, store, &err), &err);
	assert_true(info.last_check_ns > 0 && info.last_check_clean);
	assert_string_equal(info.cause, "");
	larder_store_close(store);

	/* what reading has found, a check that does not read does not take back */
	find_pack(pack, test_path(state, "store"), NULL);
	change_byte(pack, 100);
	assert_int_equal(
	    examine(test_path(state, "store"), true, &damages, &err), LARDER_ERR_CORRUPT);
	change_byte(pack, 100);
	assert_int_equal(examine(test_path(state, "store"), false, &damages, &err), LARDER_OK);
	store = open_store(test_path(state, "store"));
	assert_ok(larder_status(&info, store, &err), &err);
	assert_false(info.last_check_clean);
	assert_non_null(strstr(info.cause, "found damage"));
	larder_store_close(store);
	assert_sound(test_path(state, "store"));
	store = open_store(test_path(state, "store"));
	assert_ok(larder_status(&info, store, &err), &err);
	assert_true(info.last_check_clean);
	larder_store_close(store);
}

static void
a_check_can_be_interrupted(void **state)
{
	static const volatile int cancel = 1;
	struct larder_check_options options = LARDER_CHECK_OPTIONS_INIT;
	struct larder_check_result result;
	struct larder_err err = { 0 };
	struct larder_store *store;

	make_store(state);
	store = open_store(test_path(state, "store"));
	options.read = true;
	options.watch.cancel = &cancel;
	assert_status(LARDER_ERR_CANCELLED,
	    larder_check(store, &options, NULL, NULL, &result, &err), &err);
	larder_store_close(store);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(damage_names_whom_it_hits_and_nobody_else),
		test_case(a_missing_pack_names_whom_it_hits_without_reading),
		test_case(names_are_counted_when_there_are_too_many_to_say),
		test_case(a_damaged_base_hits_what_depends_on_it),
		test_case(what_an_unfinished_write_left_behind_is_no_damage),
		test_case(check_says_what_it_looked_at_and_status_remembers),
		test_case(a_check_can_be_interrupted),
		test_case(every_missing_or_exchanged_file_is_found),
		test_case(every_shortened_or_lengthened_file_is_found),
		test_case(every_changed_byte_is_found),
	};

	return test_run(cases);
}
