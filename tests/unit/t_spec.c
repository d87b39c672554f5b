/*
 * What a user names: which part is name, version and path, what is refused and
 * in which words, and what is found in a store.
 */
#include "cas/spec.h"

#include "tests/unit/t_store.h"

static void
parts_of_a_spec(void **state)
{
	static const struct {
		const char *spec, *name;
		uint64_t version;
		const char *path;
		bool is_id;
	} rows[] = {
		{ "a", "a", 0, NULL, false },
		{ "a/b", "a/b", 0, NULL, false },
		{ "a@3", "a", 3, NULL, false },
		{ "a@18446744073709551615", "a", UINT64_MAX, NULL, false },
		{ "a@003", "a", 3, NULL, false },
		{ "a@b", "a@b", 0, NULL, false },
		{ "a@", "a@", 0, NULL, false },
		{ "a@1x", "a@1x", 0, NULL, false },
		{ "a@b@2", "a@b", 2, NULL, false },
		{ "a//", "a", 0, "", false },
		{ "a//b", "a", 0, "b", false },
		{ "a@2//b/c@1", "a", 2, "b/c@1", false },
		{ "a//b/", "a", 0, "b/", false },
		{ "id:01234567", "01234567", 0, NULL, true },
		{ "id:0123456789abcDEF//x", "0123456789abcDEF", 0, "x", true },
		{ "idx:1", "idx:1", 0, NULL, false },
		{ "a//...", "a", 0, "...", false },
		{ "a//.b", "a", 0, ".b", false },
	};

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct spec_text text;
		struct larder_err err = { 0 };

		assert_ok(spec_parse(&text, rows[i].spec, &err), &err);
		assert_int_equal(text.name_len, strlen(rows[i].name));
		assert_memory_equal(text.name, rows[i].name, text.name_len);
		assert_true(text.version == rows[i].version);
		assert_int_equal(text.is_id, rows[i].is_id);
		assert_int_equal(text.has_path, rows[i].path != NULL);
		assert_string_equal(text.path, rows[i].path != NULL ? rows[i].path : "");
	}
}

static void
what_is_refused_and_why(void **state)
{
	static const struct {
		const char *spec, *says;
	} rows[] = {
		{ "", "(empty)" },
		{ "@1", "@1: " },
		{ "a@0", "counted from 1" },
		{ "a@00", "counted from 1" },
		{ "a@18446744073709551616", "too large" },
		{ "a@1@2", "a@1@2: " },
		{ "/a", "/a: " },
		{ "a/", "a/: " },
		{ "a/../b", "a/../b: " },
		{ "./a", "./a: " },
		{ "//b", "//b: " },
		{ "a///b", "empty component" },
		{ "a//b//c", "empty component" },
		{ "a//b/../c", "component '..'" },
		{ "a//.", "component '.'" },
		{ "id:", "at least 8 digits" },
		{ "id:0123456", "at least 8 digits" },
		{ "id:0123456g", "hexadecimal" },
		{ "id:01234567@1", "hexadecimal" },
		{ "id:00000000000000000000000000000000000000000000000000000000000000000", "at most 64" },
	};

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct spec_text text;
		struct larder_err err = { 0 };

		assert_status(LARDER_ERR_USAGE, spec_parse(&text, rows[i].spec, &err), &err);
		assert_message(&err, rows[i].says);
	}
}

static void
limits_of_names_and_paths(void **state)
{
	static char spec[3 * PATH_LEN_MAX];
	struct spec_text text;
	struct larder_err err = { 0 };

	(void)state;
	memset(spec, 'n', NAME_LEN_MAX);
	assert_ok(spec_parse(&text, spec, &err), &err);
	spec[NAME_LEN_MAX] = 'n';
	assert_status(LARDER_ERR_USAGE, spec_parse(&text, spec, &err), &err);

	memcpy(spec, "a//", 3);
	for (size_t i = 0; i <= PATH_DEPTH_MAX; i++)
		memcpy(spec + 3 + 2 * i, "x/", 2);
	spec[3 + 2 * PATH_DEPTH_MAX] = '\0';
	assert_ok(spec_parse(&text, spec, &err), &err);
	spec[3 + 2 * PATH_DEPTH_MAX] = 'x';
	spec[4 + 2 * PATH_DEPTH_MAX] = '\0';
	assert_status(LARDER_ERR_USAGE, spec_parse(&text, spec, &err), &err);
	assert_message(&err, "PATH_DEPTH_MAX");

	memset(spec + 3, 'p', PATH_LEN_MAX);
	spec[3 + PATH_LEN_MAX] = '\0';
	assert_ok(spec_parse(&text, spec, &err), &err);
	spec[3 + PATH_LEN_MAX] = 'p';
	spec[4 + PATH_LEN_MAX] = '\0';
	assert_status(LARDER_ERR_USAGE, spec_parse(&text, spec, &err), &err);
	assert_message(&err, "PATH_LEN_MAX");
}

/* ---- in a store ---- */

struct place {
	struct larder_store *store;
	struct fetch_reader *reader;
	struct spec_target target;
};

/* "n" twice, the second time with sub/two changed; "empty", a file without content. */
static struct place
make(void **state)
{
	struct place p = { .store = test_store_open(state, "store") };
	struct larder_put_result result;
	struct larder_err err = { 0 };

	assert_int_equal(mkdirat(test_dir(state), "t", 0750), 0);
	assert_int_equal(mkdirat(test_dir(state), "t/sub", 0700), 0);
	assert_int_equal(mkfifoat(test_dir(state), "t/fifo", 0600), 0);
	assert_int_equal(symlinkat("sub/two", test_dir(state), "t/link"), 0);
	test_write(state, "t/one", "1", 1);
	test_write(state, "t/sub/two", "22", 2);
	test_write(state, "empty", "", 0);
	assert_ok(larder_put(p.store, "n", test_path(state, "t"), NULL, &result, &err), &err);
	test_write(state, "t/sub/two", "333", 3);
	assert_ok(larder_put(p.store, "n", test_path(state, "t"), NULL, &result, &err), &err);
	assert_ok(larder_put(p.store, "empty", test_path(state, "empty"), NULL, &result, &err),
	    &err);
	assert_ok(fetch_reader_open(&p.reader, p.store, &err), &err);
	return p;
}

static const struct spec_target *
resolve(struct place *p, const char *spec)
{
	struct larder_err err = { 0 };

	spec_release(&p->target);
	assert_ok(spec_resolve(&p->target, p->store, p->reader, spec, 0, &err), &err);
	return &p->target;
}

static void
unmake(struct place *p)
{
	spec_release(&p->target);
	fetch_reader_close(p->reader);
	larder_store_close(p->store);
}

static void
versions_and_paths_are_found(void **state)
{
	struct place p = make(state);
	const struct spec_target *t;

	t = resolve(&p, "n");
	assert_int_equal(t->kind, TREE_DIR);
	assert_string_equal(t->name, "n");
	assert_true(t->version == 2 && t->whole && t->has_attrs && !t->has_row);
	assert_true(t->bytes == 4 && t->files == 4);
	assert_true(resolve(&p, "n@1")->bytes == 3);
	assert_true(resolve(&p, "n@1//")->whole);

	t = resolve(&p, "n//sub");
	assert_true(t->kind == TREE_DIR && t->has_attrs && !t->whole && t->version == 2);
	assert_true(resolve(&p, "n//sub/")->kind == TREE_DIR);
	t = resolve(&p, "n@1//sub/two");
	assert_true(t->kind == TREE_FILE && t->bytes == 2 && t->version == 1 && !t->list);
	assert_true(t->has_row && t->row.uid == geteuid() && (t->row.mode & 0600) == 0600);
	assert_true(resolve(&p, "n//sub/two")->bytes == 3);
	t = resolve(&p, "n//link");
	assert_true(t->kind == TREE_SYMLINK && t->target_len == 7);
	assert_memory_equal(t->target, "sub/two", 7);
	assert_int_equal(resolve(&p, "n//fifo")->kind, TREE_FIFO);
	t = resolve(&p, "empty");
	assert_true(t->kind == TREE_FILE && t->bytes == 0);
	unmake(&p);
}

static void
what_is_not_there_is_not_found(void **state)
{
	static const struct {
		const char *spec, *says;
	} rows[] = {
		{ "m", "m: no such name" },
		{ "n/x", "n/x: no such name" },
		{ "m//x", "m: no such name" },
		{ "n@3", "n@3: no such version" },
		{ "n@3//x", "n@3: no such version" },
		{ "n//x", "n//x: no such path" },
		{ "n//sub/x", "no such path" },
		{ "n//one/x", "no such path" },
		{ "n//one/", "no such path" },
		{ "n//link/x", "no such path" }, /* symlinks are not followed */
		{ "empty//x", "no such path" },
		{ "id:00000000", "id:00000000: no such object" },
	};
	struct place p = make(state);

	for (size_t i = 0; i < test_count(rows); i++) {
		struct larder_err err = { 0 };

		assert_status(LARDER_ERR_NOT_FOUND,
		    spec_resolve(&p.target, p.store, p.reader, rows[i].spec, 0, &err), &err);
		assert_message(&err, rows[i].says);
	}
	unmake(&p);
}

static void
the_past_is_asked_by_time(void **state)
{
	struct place p = make(state);
	struct larder_err err = { 0 };
	int64_t created = resolve(&p, "n@2")->created_ns;

	spec_release(&p.target);
	assert_ok(spec_resolve(&p.target, p.store, p.reader, "n", created, &err), &err);
	assert_true(p.target.version == 2);
	spec_release(&p.target);
	assert_ok(spec_resolve(&p.target, p.store, p.reader, "n", created - 1, &err), &err);
	assert_true(p.target.version == 1);
	assert_status(LARDER_ERR_NOT_FOUND,
	    spec_resolve(&p.target, p.store, p.reader, "n", 1, &err), &err);
	assert_message(&err, "n: no such name at that time");
	unmake(&p);
}

static void
objects_are_found_by_their_first_digits(void **state)
{
	struct place p = make(state);
	char spec[ID_HEX_LEN + 16] = "id:";
	struct larder_id tree = resolve(&p, "n")->id;
	const struct spec_target *t;

	id_to_hex(spec + 3, &tree);
	t = resolve(&p, spec);
	assert_true(t->kind == TREE_DIR && !t->has_attrs && t->whole);
	assert_string_equal(t->name, "");
	spec[3 + 10] = '\0';
	assert_true(id_equal(&resolve(&p, spec)->id, &tree));
	snprintf(spec + 3 + 10, 16, "//sub/two");
	t = resolve(&p, spec);
	assert_true(t->kind == TREE_FILE && t->bytes == 3 && !t->has_row);

	/* the file "1", and content of no bytes, which has no chunk */
	t = resolve(&p, "id:6b86b273ff34fce1");
	assert_true(t->kind == TREE_FILE && t->bytes == 1);
	t = resolve(&p, "id:e3b0c44298fc1c14");
	assert_true(t->kind == TREE_FILE && t->bytes == 0);
	unmake(&p);
}

/* ids that begin alike: rows of the index are enough */
static int
put_alike(void *context, struct index_write *write, struct larder_err *err)
{
	struct larder_id id;
	struct index_place place = { .pack = 1, .segment_at = 32, .chunk_len = 1 };

	(void)context;
	memset(&id, 0xab, sizeof id);
	for (uint8_t i = 0; i < 3; i++) {
		int rc;

		id.bytes[10] = i;
		rc = index_chunk_put(write, &id, &place, err);
		if (rc < 0)
			return rc;
	}
	return LARDER_OK;
}

static void
ambiguous_digits_say_how_many_match(void **state)
{
	struct place p = make(state);
	struct larder_err err = { 0 };

	assert_ok(index_update(p.store->index, put_alike, NULL, &err), &err);
	assert_status(LARDER_ERR_USAGE,
	    spec_resolve(&p.target, p.store, p.reader, "id:abababab", 0, &err), &err);
	assert_message(&err, "id:abababab: 3 objects begin like that");
	assert_true(resolve(&p, "id:abababababababababab01")->id.bytes[10] == 1);
	unmake(&p);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(parts_of_a_spec),
		test_case(what_is_refused_and_why),
		test_case(limits_of_names_and_paths),
		test_case(versions_and_paths_are_found),
		test_case(what_is_not_there_is_not_found),
		test_case(the_past_is_asked_by_time),
		test_case(objects_are_found_by_their_first_digits),
		test_case(ambiguous_digits_say_how_many_match),
	};

	return test_run(cases);
}
