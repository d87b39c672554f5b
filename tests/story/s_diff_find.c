/*
 * Looking into what is stored: listing, diff, find, similar.
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

/* ---- directories to store ---- */

static void
make_dir(void **state, const char *name)
{
	assert_int_equal(mkdir(test_path(state, name), 0755), 0);
}

static void
write_text(void **state, const char *name, const char *text)
{
	test_write(state, name, text, strlen(text));
}

/* Times that do not move: what is written again is otherwise the same. */
static void
set_time(void **state, const char *name, int64_t s)
{
	struct timespec times[2] = { { .tv_sec = (time_t)s }, { .tv_sec = (time_t)s } };

	assert_int_equal(
	    utimensat(AT_FDCWD, test_path(state, name), times, AT_SYMLINK_NOFOLLOW), 0);
}

/* d/: a, b (executable), empty, link -> a, sub/{x, deep/{y}} */
static void
make_tree(void **state)
{
	make_dir(state, "d");
	make_dir(state, "d/sub");
	make_dir(state, "d/sub/deep");
	write_text(state, "d/a", "content of a");
	write_text(state, "d/b", "content of b");
	write_text(state, "d/empty", "");
	write_text(state, "d/sub/x", "content of x");
	write_text(state, "d/sub/deep/y", "content of y");
	assert_int_equal(chmod(test_path(state, "d/a"), 0640), 0);
	assert_int_equal(chmod(test_path(state, "d/b"), 0755), 0);
	assert_int_equal(symlink("a", test_path(state, "d/link")), 0);
}

static const char *const all[] = { "d/a", "d/b", "d/empty", "d/link", "d/sub/x", "d/sub/deep/y",
	"d/sub/deep", "d/sub", "d" };

static struct larder_put_result
put(void **state, struct larder_store *store, const char *name, const char *path)
{
	struct larder_put_result result;
	struct larder_err err = { 0 };

	assert_ok(larder_put(store, name, test_path(state, path), NULL, &result, &err), &err);
	return result;
}

/* d as it stands, with all times the same. */
static struct larder_put_result
put_tree(void **state, struct larder_store *store, const char *name)
{
	for (size_t i = 0; i < test_count(all); i++)
		if (access(test_path(state, all[i]), F_OK) == 0)
			set_time(state, all[i], 1600000000);
	return put(state, store, name, "d");
}

/* ---- what comes back, as one string ---- */

static char text[8192];
static size_t calls, stop_at;

static void
begin(void)
{
	text[0] = '\0';
	calls = stop_at = 0;
}

static int
add(const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list args;

	va_start(args, fmt);
	vsnprintf(text + len, sizeof text - len, fmt, args);
	va_end(args);
	return ++calls == stop_at ? 42 : 0;
}

static int
take_entry(void *context, const struct larder_entry *e)
{
	(void)context;
	assert_true(e->mtime_ns == 0 || e->mtime_ns == (int64_t)1600000000 * 1000000000);
	return add("%s %c%s %o %llu%s%s\n", e->path, "-dlpcbs"[e->type], e->executable ? "x" : "",
	    e->mode, (unsigned long long)e->bytes, e->target[0] ? " -> " : "", e->target);
}

static const char *
list(struct larder_store *store, const char *spec, bool recursive)
{
	struct larder_err err = { 0 };

	begin();
	assert_ok(larder_entries(store, spec, 0, recursive, take_entry, NULL, &err), &err);
	return text;
}

static int
take_diff(void *context, const struct larder_diff *d)
{
	(void)context;
	return add("%c%s%s ", "?+-~a"[d->change], d->path,
	    d->type == LARDER_ENTRY_DIR ? "/" : d->type == LARDER_ENTRY_SYMLINK ? "@" : "");
}

static const char *
diff(struct larder_store *store, const char *a, const char *b)
{
	struct larder_err err = { 0 };

	begin();
	assert_ok(larder_diff(store, a, b, 0, take_diff, NULL, &err), &err);
	return text;
}

static int
take_found(void *context, const struct larder_found *f)
{
	(void)context;
	return add("%s@%llu//%s%s ", f->name, (unsigned long long)f->version, f->path,
	    f->type == LARDER_ENTRY_DIR ? "/" : "");
}

static const char *
find(struct larder_store *store, const char *glob, const char *prefix, const struct larder_id *id)
{
	struct larder_err err = { 0 };

	begin();
	assert_ok(larder_find(store, glob, prefix, id, 0, take_found, NULL, &err), &err);
	return text;
}

static int
take_similar(void *context, const struct larder_similar *s)
{
	(void)context;
	add("%s %.1f %llu:", s->name, s->percent, (unsigned long long)s->paths_total);
	assert_true(s->path_count <= 20 && s->path_count <= s->paths_total);
	for (size_t i = 0; i < s->path_count && i < 3; i++)
		add(" %s", s->paths[i]);
	return add("\n");
}

static const char *
similar(struct larder_store *store, const char *spec, unsigned limit)
{
	struct larder_err err = { 0 };

	begin();
	assert_ok(larder_similar(store, spec, limit, 0, take_similar, NULL, &err), &err);
	return text;
}

/* ---- listing ---- */

static void
entries_are_listed_with_their_attributes(void **state)
{
	struct larder_store *store = open_store(state);

	make_tree(state);
	put_tree(state, store, "n");
	assert_string_equal(list(store, "n//", false),
	    "a - 640 12\nb -x 755 12\nempty - 644 0\nlink l 777 0 -> a\nsub d 755 0\n");
	assert_string_equal(list(store, "n//sub", true),
	    "deep d 755 0\ndeep/y - 644 12\nx - 644 12\n");
	assert_string_equal(list(store, "n@1//", true),
	    "a - 640 12\nb -x 755 12\nempty - 644 0\nlink l 777 0 -> a\nsub d 755 0\n"
	    "sub/deep d 755 0\nsub/deep/y - 644 12\nsub/x - 644 12\n");
	larder_store_close(store);
}

static void
an_object_by_id_has_entries_and_no_attributes(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_put_result result;
	char spec[80] = "id:";

	make_tree(state);
	result = put_tree(state, store, "n");
	for (size_t i = 0; i < LARDER_ID_LEN; i++)
		snprintf(spec + 3 + 2 * i, 3, "%02x", result.id.bytes[i]);
	assert_string_equal(list(store, spec, false),
	    "a - 0 12\nb -x 0 12\nempty - 0 0\nlink l 0 0 -> a\nsub d 0 0\n");
	larder_store_close(store);
}

static void
what_is_no_directory_has_no_entries(void **state)
{
	static const struct {
		const char *spec, *says;
		int status;
	} bad[] = {
		{ "n//a", "not a directory", LARDER_ERR_USAGE },
		{ "f", "not a directory", LARDER_ERR_USAGE },
		{ "n//nowhere", "no such path", LARDER_ERR_NOT_FOUND },
		{ "n@7//", "no such version", LARDER_ERR_NOT_FOUND },
		{ "x", "no such name", LARDER_ERR_NOT_FOUND },
		{ "n//../n", "", LARDER_ERR_USAGE },
	};
	struct larder_store *store = open_store(state);

	make_tree(state);
	put_tree(state, store, "n");
	put(state, store, "f", "d/a");
	for (size_t i = 0; i < test_count(bad); i++) {
		struct larder_err err = { 0 };

		begin();
		assert_status(bad[i].status,
		    larder_entries(store, bad[i].spec, 0, true, take_entry, NULL, &err), &err);
		assert_message(&err, bad[i].says);
		assert_int_equal(calls, 0);
	}
	larder_store_close(store);
}

static void
the_callers_answer_stops_every_listing(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_err err = { 0 };

	make_tree(state);
	put_tree(state, store, "n");
	write_text(state, "d/sub/deep/y", "changed");
	write_text(state, "d/z", "new");
	put_tree(state, store, "n");
	for (size_t stop = 1; stop <= 2; stop++) {
		begin();
		stop_at = stop;
		assert_int_equal(larder_entries(store, "n", 0, true, take_entry, NULL, &err), 42);
		assert_int_equal(calls, stop);
		begin();
		stop_at = stop;
		assert_int_equal(larder_diff(store, "n@1", "n@2", 0, take_diff, NULL, &err), 42);
		assert_int_equal(calls, stop);
		begin();
		stop_at = stop;
		assert_int_equal(larder_find(store, "*", "", NULL, 0, take_found, NULL, &err), 42);
		assert_int_equal(calls, stop);
	}
	larder_store_close(store);
}

/* ---- diff ---- */

static void
nothing_differs_from_itself(void **state)
{
	struct larder_store *store = open_store(state);

	make_tree(state);
	put_tree(state, store, "n");
	put_tree(state, store, "m");
	assert_string_equal(diff(store, "n", "m"), "");
	assert_string_equal(diff(store, "n//sub", "m//sub"), "");
	assert_string_equal(diff(store, "n//a", "m//a"), "");
	larder_store_close(store);
}

static void
what_was_added_removed_and_changed_is_told(void **state)
{
	struct larder_store *store = open_store(state);

	make_tree(state);
	put_tree(state, store, "n");
	write_text(state, "d/a", "other content");
	assert_int_equal(unlink(test_path(state, "d/empty")), 0);
	make_dir(state, "d/new");
	make_dir(state, "d/new/dir");
	write_text(state, "d/new/dir/file", "1");
	write_text(state, "d/sub/deep/y", "changed");
	put_tree(state, store, "n");
	assert_string_equal(diff(store, "n@1", "n@2"),
	    "~a -empty +new/ +new/dir/ +new/dir/file ~sub/deep/y ");
	assert_string_equal(diff(store, "n@2", "n@1"),
	    "~a +empty -new/ -new/dir/ -new/dir/file ~sub/deep/y ");
	assert_string_equal(diff(store, "n@1//sub", "n@2//sub"), "~deep/y ");
	assert_string_equal(diff(store, "n@1//a", "n@2//a"), "~. ");
	assert_string_equal(diff(store, "n@1//b", "n@2//b"), "");
	larder_store_close(store);
}

static void
a_thing_of_another_kind_in_its_place_is_a_change(void **state)
{
	struct larder_store *store = open_store(state);

	make_tree(state);
	put_tree(state, store, "n");
	assert_int_equal(unlink(test_path(state, "d/a")), 0);
	make_dir(state, "d/a");
	write_text(state, "d/a/in", "1");
	assert_int_equal(unlink(test_path(state, "d/link")), 0);
	assert_int_equal(symlink("b", test_path(state, "d/link")), 0);
	put_tree(state, store, "n");
	assert_string_equal(diff(store, "n@1", "n@2"), "~a/ +a/in ~link@ ");
	assert_string_equal(diff(store, "n@2", "n@1"), "~a -a/in ~link@ ");
	larder_store_close(store);
}

static void
attributes_alone_are_told_as_such(void **state)
{
	struct larder_store *store = open_store(state);

	make_tree(state);
	put_tree(state, store, "n");
	assert_int_equal(chmod(test_path(state, "d/a"), 0600), 0);
	assert_int_equal(chmod(test_path(state, "d/b"), 0644), 0); /* the tree knows this one too */
	assert_int_equal(chmod(test_path(state, "d/sub/deep"), 0700), 0);
	put_tree(state, store, "n");
	assert_string_equal(diff(store, "n@1", "n@2"), "aa ab asub/deep/ ");

	/* only the time of a file; of a directory in which nothing else changed */
	put_tree(state, store, "n");
	set_time(state, "d/sub/x", 1500000000);
	put(state, store, "n", "d");
	assert_string_equal(diff(store, "n@2", "n@3"), "asub/x ");
	set_time(state, "d/sub", 1500000000);
	put(state, store, "n", "d");
	assert_string_equal(diff(store, "n@3", "n@4"), "asub/ ");

	/* a directory's time moves with what is in it: that is no line of its own */
	write_text(state, "d/sub/x", "changed");
	set_time(state, "d/sub/x", 1500000000);
	set_time(state, "d/sub", 1400000000);
	put(state, store, "n", "d");
	assert_string_equal(diff(store, "n@4", "n@5"), "~sub/x ");
	larder_store_close(store);
}

/* ---- find ---- */

static void
paths_are_found_by_glob(void **state)
{
	struct larder_store *store = open_store(state);

	make_tree(state);
	put_tree(state, store, "n");
	put_tree(state, store, "m/n");
	assert_string_equal(find(store, "y", "", NULL), "m/n@1//sub/deep/y n@1//sub/deep/y ");
	assert_string_equal(find(store, "y", "m", NULL), "m/n@1//sub/deep/y ");
	assert_string_equal(find(store, "[ab]", "n", NULL), "n@1//a n@1//b ");
	assert_string_equal(find(store, "sub/*", "n", NULL), "n@1//sub/deep/ n@1//sub/x ");
	assert_string_equal(find(store, "/sub/*/y", "n", NULL), "n@1//sub/deep/y ");
	assert_string_equal(find(store, "sub/y", "", NULL), "");
	assert_string_equal(find(store, "n", "", NULL), "m/n@1/// n@1/// "); /* the names */
	assert_string_equal(find(store, "m/*", "", NULL), "m/n@1/// ");
	larder_store_close(store);
}

static void
every_version_that_has_it_is_found(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_err err = { 0 };
	uint64_t count;

	make_tree(state);
	put_tree(state, store, "n");
	write_text(state, "d/a", "2");
	put_tree(state, store, "n");
	write_text(state, "d/b", "3");
	put_tree(state, store, "n");
	assert_string_equal(
	    find(store, "y", "", NULL), "n@3//sub/deep/y n@2//sub/deep/y n@1//sub/deep/y ");
	assert_ok(larder_rm(store, "n@2", false, &count, &err), &err);
	assert_string_equal(find(store, "y", "", NULL), "n@3//sub/deep/y n@1//sub/deep/y ");
	larder_store_close(store);
}

static void
contents_are_found_wherever_they_stand(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_put_result a, tree, empty;
	struct larder_id none = { { 1 } };

	make_tree(state);
	write_text(state, "d/sub/deep/copy", "content of a");
	tree = put_tree(state, store, "n");
	a = put(state, store, "a", "d/a");
	empty = put(state, store, "e", "d/empty");
	assert_string_equal(find(store, NULL, "", &a.id), "a@1// n@1//a n@1//sub/deep/copy ");
	assert_string_equal(find(store, "c*", "", &a.id), "n@1//sub/deep/copy ");
	assert_string_equal(find(store, NULL, "", &tree.id), "n@1/// ");
	assert_string_equal(find(store, NULL, "", &empty.id), "e@1// n@1//empty ");
	assert_string_equal(find(store, NULL, "", &none), "");
	larder_store_close(store);
}

/* Where nothing changes nothing is cut: a run of zeros makes chunks of the greatest length. */
static void
pieces_of_large_files_are_found(void **state)
{
	enum { LEN = 1000 * 1000, CHUNK = 64 * 1024 };
	struct larder_store *store = open_store(state);
	struct larder_put_result large, piece;
	uint8_t *bytes = calloc(LEN, 1);

	assert_non_null(bytes);
	test_fill(bytes, 300 * 1000, 5);
	make_dir(state, "d");
	test_write(state, "d/large", bytes, LEN);
	large = put(state, store, "n", "d/large");
	put(state, store, "dir", "d");
	assert_string_equal(find(store, NULL, "", &large.id), "dir@1//large n@1// ");

	test_write(state, "piece", bytes + LEN - CHUNK, CHUNK);
	piece = put(state, store, "piece", "piece");
	assert_int_equal(piece.new_bytes, 0);
	assert_string_equal(
	    find(store, NULL, "", &piece.id), "dir@1//large n@1// piece@1// ");
	assert_string_equal(find(store, "p*", "", &piece.id), "piece@1// ");
	free(bytes);
	larder_store_close(store);
}

static void
find_wants_something_to_look_for(void **state)
{
	struct larder_store *store = open_store(state);
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_USAGE,
	    larder_find(store, NULL, "", NULL, 0, take_found, NULL, &err), &err);
	larder_store_close(store);
}

/* ---- similar ---- */

static void
fill_dir(void **state, const char *dir, unsigned from, unsigned to)
{
	uint8_t noise[1000];
	char path[64];

	make_dir(state, dir);
	for (unsigned i = from; i < to; i++) {
		snprintf(path, sizeof path, "%s/f%02u", dir, i);
		test_fill(noise, sizeof noise, i);
		test_write(state, path, noise, sizeof noise);
	}
}

static void
names_are_ranked_by_what_both_have(void **state)
{
	struct larder_store *store = open_store(state);

	fill_dir(state, "a", 0, 10);
	fill_dir(state, "b", 0, 8);  /* 8 of both: 16 of 18 */
	fill_dir(state, "c", 5, 15); /* 5 of both: 10 of 20 */
	fill_dir(state, "e", 20, 30);
	put(state, store, "a", "a");
	put(state, store, "same", "a");
	put(state, store, "b", "b");
	put(state, store, "c", "c");
	put(state, store, "e", "e");
	put(state, store, "file", "a/f00"); /* 2 of 11 */
	assert_string_equal(similar(store, "a", 10),
	    "same 100.0 0:\nb 88.9 2: f08 f09\nc 50.0 10: f00 f01 f02\n"
	    "file 18.2 11: . f00 f01\n");
	assert_string_equal(similar(store, "a", 2), "same 100.0 0:\nb 88.9 2: f08 f09\n");
	assert_string_equal(similar(store, "e", 10), "");
	assert_string_equal(similar(store, "file", 1), "b 22.2 9: . f00 f01\n");
	larder_store_close(store);
}

static void
large_files_are_compared_chunk_by_chunk(void **state)
{
	enum { LEN = 2 * 1000 * 1000 };
	struct larder_store *store = open_store(state);
	uint8_t *noise = malloc(LEN);
	double percent;

	assert_non_null(noise);
	test_fill(noise, LEN, 5);
	test_write(state, "f", noise, LEN);
	put(state, store, "one", "f");
	memset(noise + LEN / 2, 'x', 10);
	test_write(state, "f", noise, LEN);
	put(state, store, "two", "f");
	assert_int_equal(sscanf(similar(store, "one", 10), "two %lf 1: .", &percent), 1);
	assert_true(percent > 90 && percent < 100);
	free(noise);
	larder_store_close(store);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(entries_are_listed_with_their_attributes),
		test_case(an_object_by_id_has_entries_and_no_attributes),
		test_case(what_is_no_directory_has_no_entries),
		test_case(the_callers_answer_stops_every_listing),
		test_case(nothing_differs_from_itself),
		test_case(what_was_added_removed_and_changed_is_told),
		test_case(a_thing_of_another_kind_in_its_place_is_a_change),
		test_case(attributes_alone_are_told_as_such),
		test_case(paths_are_found_by_glob),
		test_case(every_version_that_has_it_is_found),
		test_case(contents_are_found_wherever_they_stand),
		test_case(pieces_of_large_files_are_found),
		test_case(find_wants_something_to_look_for),
		test_case(names_are_ranked_by_what_both_have),
		test_case(large_files_are_compared_chunk_by_chunk),
	};

	return test_run(cases);
}
