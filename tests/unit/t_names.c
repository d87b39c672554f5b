/*
 * Names and versions: told case by case, and then compared with a model that
 * keeps everything in an array and looks through all of it.
 */
#include "tests/unit/t_index.h"

#include "cas/base/bytes.h"

/* ---- one version at a time ---- */

struct put {
	struct index_version version;
	uint64_t number;
	int rc;
};

static int
put_version(void *context, struct index_write *write, struct larder_err *err)
{
	struct put *put = context;

	put->rc = index_version_put(&put->number, write, &put->version, err);
	return put->rc;
}

static struct index_version
a_version(const char *name, uint64_t gid, int64_t created_ns)
{
	return (struct index_version){
		.name = name,
		.gid = test_id16(gid),
		.created_ns = created_ns,
		.kind = 1,
		.id = test_id(gid),
		.bytes = gid * 10,
	};
}

static uint64_t
add(struct index *index, const struct index_version *version)
{
	struct put put = { .version = *version };
	struct larder_err err = { 0 };

	assert_ok(index_update(index, put_version, &put, &err), &err);
	return put.number;
}

static uint64_t
add_one(struct index *index, const char *name, uint64_t gid, int64_t created_ns)
{
	struct index_version version = a_version(name, gid, created_ns);

	return add(index, &version);
}

struct end {
	const char *name;
	uint64_t gid;
	int64_t ended_ns;
};

static int
end_version(void *context, struct index_write *write, struct larder_err *err)
{
	const struct end *end = context;
	struct id16 gid = test_id16(end->gid);

	return index_version_end(write, end->name, &gid, end->ended_ns, err);
}

static int
end_one(struct index *index, const char *name, uint64_t gid, int64_t ended_ns)
{
	struct end end = { name, gid, ended_ns };

	return index_update(index, end_version, &end, NULL);
}

/* The gid's seed cannot be read back; bytes tells it. */
static void
assert_latest(struct index *index, const char *name, int64_t at_ns, uint64_t gid)
{
	struct index_version_row row = { 0 };
	struct index_read *read = test_begin(index);
	struct larder_err err = { 0 };

	if (gid == 0) {
		assert_int_equal(
		    index_version_get(&row, read, name, 0, at_ns, &err), LARDER_ERR_NOT_FOUND);
	} else {
		assert_ok(index_version_get(&row, read, name, 0, at_ns, &err), &err);
		assert_string_equal(row.version.name, name);
		assert_int_equal(row.version.bytes, gid * 10);
	}
	index_version_release(&row);
	index_read_end(read);
}

static void
everything_of_a_version_comes_back(void **state)
{
	static const struct index_tag tags[] = { { "branch", "main" }, { "empty", "" } };
	struct index *index = test_index_open(state);
	struct index_version version = a_version("cookbooks/nginx", 3, -5);
	struct index_version_row row = { 0 };
	struct index_read *read;

	version.kind = 2;
	version.list = true;
	version.attrs = test_id(4);
	version.new_bytes = UINT64_MAX;
	version.stored_bytes = 6;
	version.files = 7;
	version.has_sha256 = true;
	version.sha256 = test_id(8);
	version.tags = tags;
	version.tag_count = 2;
	assert_int_equal(add(index, &version), 1);
	index_close(index);
	index = test_index_open(state);

	read = test_begin(index);
	assert_ok(index_version_get(&row, read, "cookbooks/nginx", 1, INT64_MAX, NULL), NULL);
	index_read_end(read);
	assert_string_equal(row.version.name, "cookbooks/nginx");
	assert_int_equal(row.version.number, 1);
	assert_memory_equal(&row.version.gid, &version.gid, sizeof version.gid);
	assert_true(row.version.created_ns == -5 && row.version.ended_ns == 0);
	assert_true(row.version.kind == 2 && row.version.list);
	assert_memory_equal(&row.version.id, &version.id, sizeof version.id);
	assert_memory_equal(&row.version.attrs, &version.attrs, sizeof version.attrs);
	assert_true(row.version.bytes == 30 && row.version.new_bytes == UINT64_MAX);
	assert_true(row.version.stored_bytes == 6 && row.version.files == 7);
	assert_true(row.version.has_sha256);
	assert_memory_equal(&row.version.sha256, &version.sha256, sizeof version.sha256);
	assert_int_equal(row.version.tag_count, 2);
	assert_string_equal(row.version.tags[0].key, "branch");
	assert_string_equal(row.version.tags[0].value, "main");
	assert_string_equal(row.version.tags[1].value, "");
	index_version_release(&row);
	assert_sound(index);
	index_close(index);
}

static void
what_is_not_there_is_not_found(void **state)
{
	struct index *index = test_index_open(state);
	struct index_name_iter iter = { .at_ns = INT64_MAX };
	struct index_version_row row = { 0 };
	struct larder_err err = { 0 };
	char long_name[NAME_LEN_MAX + 2];
	struct index_read *read;

	memset(long_name, 'x', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	read = test_begin(index);
	assert_int_equal(index_name_next(&row, &iter, read, &err), 0);
	index_read_end(read);

	add_one(index, "b", 1, 10);
	read = test_begin(index);
	static const char *const names[] = { "", "a", "ba", "c", "b/" };
	for (size_t i = 0; i < test_count(names); i++) {
		assert_int_equal(index_version_get(&row, read, names[i], 0, INT64_MAX, &err),
		    LARDER_ERR_NOT_FOUND);
		assert_int_equal(index_version_get(&row, read, names[i], 1, INT64_MAX, &err),
		    LARDER_ERR_NOT_FOUND);
		assert_int_equal(index_version_before(&row, read, names[i], UINT64_MAX, &err), 0);
	}
	assert_int_equal(
	    index_version_get(&row, read, "b", 2, INT64_MAX, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(
	    index_version_get(&row, read, "b", UINT64_MAX, INT64_MAX, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(index_version_get(&row, read, "b", 1, 9, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(index_version_get(&row, read, "b", 0, 9, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(
	    index_version_get(&row, read, long_name, 0, INT64_MAX, &err), LARDER_ERR_NOT_FOUND);
	assert_int_equal(index_version_before(&row, read, "b", 1, &err), 0);
	index_read_end(read);
	assert_status(LARDER_ERR_NOT_FOUND, end_one(index, "b", 2, 5), NULL);
	assert_status(LARDER_ERR_NOT_FOUND, end_one(index, "a", 1, 5), NULL);
	assert_status(LARDER_ERR_NOT_FOUND, end_one(index, "", 1, 5), NULL);
	assert_int_equal(err.status, LARDER_OK);
	index_version_release(&row);
	index_close(index);
}

static void
what_cannot_be_kept_is_refused(void **state)
{
	struct index *index = test_index_open(state);
	char name[NAME_LEN_MAX + 2], text[TAG_LEN_MAX + 2];
	struct index_tag tags[TAGS_MAX + 1];
	struct put put = { .version = a_version("n", 1, 1) };
	struct larder_err err = { 0 };

	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	memset(text, 't', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (size_t i = 0; i < test_count(tags); i++)
		tags[i] = (struct index_tag){ "k", "v" };

	put.version.name = "";
	assert_status(LARDER_ERR_USAGE, index_update(index, put_version, &put, &err), &err);
	put.version.name = NULL;
	assert_status(LARDER_ERR_USAGE, index_update(index, put_version, &put, &err), &err);
	put.version.name = name;
	assert_status(LARDER_ERR_LIMIT, index_update(index, put_version, &put, &err), &err);
	assert_message(&err, "NAME_LEN_MAX");
	put.version.name = "n";
	put.version.tags = tags;
	put.version.tag_count = TAGS_MAX + 1;
	assert_status(LARDER_ERR_LIMIT, index_update(index, put_version, &put, &err), &err);
	assert_message(&err, "TAGS_MAX");
	put.version.tag_count = TAGS_MAX;
	tags[3].key = text;
	assert_status(LARDER_ERR_LIMIT, index_update(index, put_version, &put, &err), &err);
	tags[3] = (struct index_tag){ "k", text };
	assert_status(LARDER_ERR_LIMIT, index_update(index, put_version, &put, &err), &err);
	assert_message(&err, "TAG_LEN_MAX");

	/* and just below each limit */
	text[TAG_LEN_MAX] = '\0';
	name[NAME_LEN_MAX] = '\0';
	for (size_t i = 0; i < TAGS_MAX; i++)
		tags[i] = (struct index_tag){ text, text };
	put.version.name = name;
	assert_ok(index_update(index, put_version, &put, &err), &err);
	assert_latest(index, name, INT64_MAX, 1);
	assert_sound(index);
	index_close(index);
}

/* ---- numbers ---- */

static void
numbers_rise_and_are_never_given_again(void **state)
{
	struct index *index = test_index_open(state);
	struct put put = { 0 };

	assert_int_equal(add_one(index, "n", 1, 10), 1);
	assert_int_equal(add_one(index, "n", 2, 20), 2);
	assert_int_equal(add_one(index, "m", 3, 20), 1);
	/* wanted and free; then taken */
	put.version = a_version("n", 4, 30);
	put.version.number = 9;
	assert_ok(index_update(index, put_version, &put, NULL), NULL);
	assert_int_equal(put.number, 9);
	put.version = a_version("n", 5, 30);
	put.version.number = 9;
	assert_ok(index_update(index, put_version, &put, NULL), NULL);
	assert_int_equal(put.number, 10);
	/* wanted, free and below the next */
	put.version = a_version("n", 6, 30);
	put.version.number = 5;
	assert_ok(index_update(index, put_version, &put, NULL), NULL);
	assert_int_equal(put.number, 5);
	assert_int_equal(add_one(index, "n", 7, 20), 11);
	/* ended ones keep theirs */
	assert_ok(end_one(index, "n", 7, 100), NULL);
	assert_int_equal(add_one(index, "n", 8, 20), 12);
	/* the same gid again keeps its number, whatever is wanted */
	put.version = a_version("n", 1, 10);
	put.version.number = 77;
	assert_ok(index_update(index, put_version, &put, NULL), NULL);
	assert_int_equal(put.number, 1);
	/* the same gid under another name is another version */
	assert_int_equal(add_one(index, "m", 1, 10), 2);
	/* the end of all numbers */
	put.version = a_version("n", 20, 10);
	put.version.number = UINT64_MAX - 1;
	assert_ok(index_update(index, put_version, &put, NULL), NULL);
	put.version = a_version("n", 21, 10);
	put.version.number = 0;
	assert_status(LARDER_ERR_LIMIT, index_update(index, put_version, &put, NULL), NULL);
	put.version.number = UINT64_MAX;
	assert_status(LARDER_ERR_LIMIT, index_update(index, put_version, &put, NULL), NULL);
	assert_sound(index);
	index_close(index);
}

/* ---- the latest ---- */

static void
the_latest_is_the_last_created_not_the_last_put(void **state)
{
	struct index *index = test_index_open(state);

	add_one(index, "n", 1, 100);
	add_one(index, "n", 2, 50);
	assert_latest(index, "n", INT64_MAX, 1);
	add_one(index, "n", 3, 150);
	assert_latest(index, "n", INT64_MAX, 3);
	/* put again with another time: it moves */
	add_one(index, "n", 3, 20);
	assert_latest(index, "n", INT64_MAX, 1);
	assert_sound(index);
	index_close(index);
}

static void
the_greater_gid_decides_between_equal_times(void **state)
{
	struct index *index = test_index_open(state);
	struct id16 one = test_id16(1), two = test_id16(2);
	uint64_t winner = memcmp(&one, &two, sizeof one) > 0 ? 1 : 2;

	add_one(index, "n", 1, 100);
	add_one(index, "n", 2, 100);
	assert_latest(index, "n", INT64_MAX, winner);
	assert_ok(end_one(index, "n", winner, 200), NULL);
	assert_latest(index, "n", INT64_MAX, 3 - winner);
	assert_latest(index, "n", 150, winner);
	index_close(index);
}

static void
an_ended_version_is_there_until_its_end(void **state)
{
	struct index *index = test_index_open(state);
	struct index_version_row row = { 0 };
	struct index_read *read;

	add_one(index, "n", 1, 100);
	add_one(index, "n", 2, 200);
	add_one(index, "n", 3, 300);
	assert_ok(end_one(index, "n", 3, 350), NULL);
	assert_ok(end_one(index, "n", 1, 150), NULL);
	assert_latest(index, "n", INT64_MAX, 2);
	assert_latest(index, "n", 99, 0);
	assert_latest(index, "n", 100, 1);
	assert_latest(index, "n", 149, 1);
	assert_latest(index, "n", 150, 0);
	assert_latest(index, "n", 200, 2);
	assert_latest(index, "n", 349, 3);
	assert_latest(index, "n", 350, 2);
	assert_ok(end_one(index, "n", 2, 400), NULL);
	assert_latest(index, "n", INT64_MAX, 0);
	assert_latest(index, "n", INT64_MAX - 1, 0);
	assert_latest(index, "n", 399, 2);

	/* by number: only while it is alive; and always by index_version_before */
	read = test_begin(index);
	assert_int_equal(
	    index_version_get(&row, read, "n", 3, INT64_MAX, NULL), LARDER_ERR_NOT_FOUND);
	assert_ok(index_version_get(&row, read, "n", 3, 320, NULL), NULL);
	assert_int_equal(row.version.ended_ns, 350);
	assert_int_equal(index_version_before(&row, read, "n", UINT64_MAX, NULL), 1);
	assert_int_equal(row.version.number, 3);
	assert_int_equal(index_version_before(&row, read, "n", 3, NULL), 1);
	assert_int_equal(row.version.number, 2);
	assert_int_equal(index_version_before(&row, read, "n", 1, NULL), 0);
	index_read_end(read);

	/* ended again, and revived */
	assert_ok(end_one(index, "n", 3, 360), NULL);
	assert_latest(index, "n", 355, 3);
	assert_ok(end_one(index, "n", 3, 0), NULL);
	assert_latest(index, "n", INT64_MAX, 3);
	index_version_release(&row);
	assert_sound(index);
	index_close(index);
}

/* ---- many versions ---- */

struct many {
	const char *name;
	uint64_t first, count;
};

static int
put_many(void *context, struct index_write *write, struct larder_err *err)
{
	const struct many *many = context;

	for (uint64_t i = many->first; i < many->first + many->count; i++) {
		struct index_version version = a_version(many->name, i, (int64_t)i);
		uint64_t number;
		int rc = index_version_put(&number, write, &version, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int
end_many(void *context, struct index_write *write, struct larder_err *err)
{
	const struct many *many = context;

	/* Newest first: each time another one becomes the latest. */
	for (uint64_t i = many->first + many->count; i-- > many->first;) {
		struct id16 gid = test_id16(i);
		int rc = index_version_end(write, many->name, &gid, 1000000, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Would take minutes if each step looked through the others. */
static void
ten_thousand_versions_are_put_and_ended(void **state)
{
	struct index *index = test_index_open(state);
	struct many many = { "busy", 1, 5000 };
	struct larder_err err = { 0 };

	assert_ok(index_update(index, put_many, &many, &err), &err);
	many.first += 5000;
	assert_ok(index_update(index, put_many, &many, &err), &err);
	assert_latest(index, "busy", INT64_MAX, 10000);
	assert_latest(index, "busy", 777, 777);
	assert_ok(index_update(index, end_many, &many, &err), &err);
	assert_latest(index, "busy", INT64_MAX, 5000);
	many.first -= 5000;
	assert_ok(index_update(index, end_many, &many, &err), &err);
	assert_latest(index, "busy", INT64_MAX, 0);
	assert_latest(index, "busy", 999999, 10000);
	assert_sound(index);
	index_close(index);
}

/* ---- order ---- */

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names that begin alike beyond what a key holds, among shorter ones. */
static char **
awkward_names(size_t *count)
{
	static const char *const tails[] = { "", "a", "b", "/", "aa", "\x01", "\xff", "zz", "a/b" };
	static const size_t heads[] = { 1, 2, ROW_NAME_HEAD_LEN - 1, ROW_NAME_HEAD_LEN,
		ROW_NAME_HEAD_LEN + 1, ROW_NAME_HEAD_LEN + 20, NAME_LEN_MAX - 3 };
	static const char letters[] = { 'a', 'm', '\xfe' };
	size_t n = 0;
	char **names =
	    calloc(test_count(tails) * test_count(heads) * sizeof letters, sizeof *names);

	assert_non_null(names);
	for (size_t l = 0; l < sizeof letters; l++)
		for (size_t h = 0; h < test_count(heads); h++)
			for (size_t t = 0; t < test_count(tails); t++) {
				char *name = calloc(1, NAME_LEN_MAX + 8);

				assert_non_null(name);
				memset(name, letters[l], heads[h]);
				snprintf(name + heads[h], 8, "%s", tails[t]);
				names[n++] = name;
			}
	qsort(names, n, sizeof *names, by_text);
	*count = 0;
	for (size_t i = 0; i < n; i++)
		if (*count == 0 || strcmp(names[i], names[*count - 1]) != 0)
			names[(*count)++] = names[i];
		else
			free(names[i]);
	return names;
}

/* What the walk with this prefix should give. */
static void
assert_walk(struct index *index, char *const *names, size_t count, const char *prefix)
{
	struct index_name_iter iter = { .prefix = prefix, .at_ns = INT64_MAX };
	struct index_read *read = test_begin(index);
	struct index_version_row row = { 0 };
	struct larder_err err = { 0 };

	for (size_t i = 0; i < count; i++) {
		if (strncmp(names[i], prefix, strlen(prefix)) != 0)
			continue;
		assert_status(1, index_name_next(&row, &iter, read, &err), &err);
		assert_string_equal(row.version.name, names[i]);
		assert_ok(index_read_renew(read, NULL), NULL);
	}
	assert_status(0, index_name_next(&row, &iter, read, &err), &err);
	assert_status(0, index_name_next(&row, &iter, read, &err), &err);
	index_version_release(&row);
	buf_release(&iter.last);
	index_read_end(read);
}

static void
names_of_any_length_come_in_bytewise_order(void **state)
{
	struct index *index = test_index_open(state);
	size_t count;
	char **names = awkward_names(&count);

	for (size_t i = 0; i < count; i++)
		assert_int_equal(add_one(index, names[(i * 37) % count], i + 1, 1), 1);
	assert_walk(index, names, count, "");
	for (size_t i = 0; i < count; i++)
		assert_walk(index, names, count, names[i]);
	assert_walk(index, names, count, "b");
	assert_walk(index, names, count, "\xff");
	for (size_t i = 0; i < count; i++)
		assert_latest(index, names[(i * 37) % count], INT64_MAX, i + 1);
	assert_sound(index);
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
	index_close(index);
}

static void
a_walk_skips_what_was_not_there_then(void **state)
{
	struct index *index = test_index_open(state);
	struct index_name_iter iter = { .at_ns = 100 };
	struct index_read *read;
	struct index_version_row row = { 0 };

	add_one(index, "a", 1, 50);
	add_one(index, "b", 2, 150);
	add_one(index, "c", 3, 50);
	add_one(index, "d", 4, 100);
	assert_ok(end_one(index, "c", 3, 100), NULL);
	read = test_begin(index);
	assert_int_equal(index_name_next(&row, &iter, read, NULL), 1);
	assert_string_equal(row.version.name, "a");
	assert_int_equal(index_name_next(&row, &iter, read, NULL), 1);
	assert_string_equal(row.version.name, "d");
	assert_int_equal(index_name_next(&row, &iter, read, NULL), 0);
	buf_release(&iter.last);
	iter = (struct index_name_iter){ .at_ns = INT64_MAX };
	assert_int_equal(index_name_next(&row, &iter, read, NULL), 1);
	assert_int_equal(index_name_next(&row, &iter, read, NULL), 1);
	assert_string_equal(row.version.name, "b");
	assert_int_equal(index_name_next(&row, &iter, read, NULL), 1);
	assert_string_equal(row.version.name, "d");
	index_read_end(read);
	buf_release(&iter.last);
	index_version_release(&row);
	index_close(index);
}

/* ---- against a model ---- */

enum { MODEL_NAMES = 7, MODEL_MAX = 400, MODEL_STEPS = 600 };

struct model_version {
	int name;
	uint64_t gid, number;
	int64_t created_ns, ended_ns;
};

struct model {
	char names[MODEL_NAMES][NAME_LEN_MAX + 1];
	struct model_version versions[MODEL_MAX];
	size_t count;
	uint64_t next[MODEL_NAMES];
	uint64_t seed;
};

static uint64_t
draw(struct model *m, uint64_t below)
{
	uint8_t bytes[8];

	test_fill(bytes, sizeof bytes, m->seed++);
	return get_le64(bytes) % below;
}

static struct model_version *
model_find(struct model *m, int name, uint64_t gid)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->versions[i].name == name && m->versions[i].gid == gid)
			return &m->versions[i];
	return NULL;
}

static bool
model_taken(const struct model *m, int name, uint64_t number)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->versions[i].name == name && m->versions[i].number == number)
			return true;
	return false;
}

static const struct model_version *
model_latest(const struct model *m, int name, int64_t at_ns)
{
	const struct model_version *best = NULL;

	for (size_t i = 0; i < m->count; i++) {
		const struct model_version *v = &m->versions[i];
		struct id16 a, b;

		if (v->name != name || v->created_ns > at_ns ||
		    (v->ended_ns != 0 && v->ended_ns <= at_ns))
			continue;
		a = test_id16(v->gid);
		b = test_id16(best ? best->gid : 0);
		if (best == NULL || v->created_ns > best->created_ns ||
		    (v->created_ns == best->created_ns && memcmp(&a, &b, sizeof a) > 0))
			best = v;
	}
	return best;
}

static void
model_put(struct model *m, struct index *index)
{
	int name = (int)draw(m, MODEL_NAMES);
	uint64_t gid = draw(m, MODEL_MAX / 8), wanted = draw(m, 3) ? 0 : draw(m, 30) + 1;
	struct model_version *v = model_find(m, name, gid);
	struct put put = { .version = a_version(m->names[name], gid, (int64_t)draw(m, 100)) };
	struct larder_err err = { 0 };

	put.version.ended_ns = draw(m, 4) ? 0 : (int64_t)draw(m, 100) + 1;
	put.version.number = wanted;
	assert_ok(index_update(index, put_version, &put, &err), &err);
	if (v == NULL) {
		assert_true(m->count < MODEL_MAX);
		v = &m->versions[m->count++];
		v->name = name;
		v->gid = gid;
		v->number = 0;
		v->number = wanted != 0 && !model_taken(m, name, wanted) ? wanted : m->next[name];
		if (m->next[name] <= v->number)
			m->next[name] = v->number + 1;
	}
	assert_int_equal(put.number, v->number);
	v->created_ns = put.version.created_ns;
	v->ended_ns = put.version.ended_ns;
}

static void
model_end(struct model *m, struct index *index)
{
	int name = (int)draw(m, MODEL_NAMES);
	uint64_t gid = draw(m, MODEL_MAX / 8);
	struct model_version *v = model_find(m, name, gid);
	int64_t ended_ns = draw(m, 5) ? (int64_t)draw(m, 100) + 1 : 0;

	assert_status(v != NULL ? 0 : LARDER_ERR_NOT_FOUND,
	    end_one(index, m->names[name], gid, ended_ns), NULL);
	if (v != NULL)
		v->ended_ns = ended_ns;
}

static void
model_compare(struct model *m, struct index *index)
{
	int64_t at_ns = draw(m, 2) ? INT64_MAX : (int64_t)draw(m, 110);
	struct index_name_iter iter = { .at_ns = at_ns };
	struct index_read *read = test_begin(index);
	struct index_version_row row = { 0 };
	struct index_counts counts;
	size_t names = 0;

	for (int name = 0; name < MODEL_NAMES; name++) {
		const struct model_version *want = model_latest(m, name, at_ns);
		uint64_t below = UINT64_MAX, seen = 0, all = 0;

		for (size_t i = 0; i < m->count; i++)
			all += m->versions[i].name == name;
		names += all > 0;
		while (index_version_before(&row, read, m->names[name], below, NULL) == 1) {
			assert_true(row.version.number < below);
			below = row.version.number;
			assert_true(model_taken(m, name, below));
			seen++;
		}
		assert_int_equal(seen, all);
		if (want == NULL) {
			assert_int_equal(
			    index_version_get(&row, read, m->names[name], 0, at_ns, NULL),
			    LARDER_ERR_NOT_FOUND);
			continue;
		}
		assert_ok(index_version_get(&row, read, m->names[name], 0, at_ns, NULL), NULL);
		assert_int_equal(row.version.number, want->number);
		assert_int_equal(index_name_next(&row, &iter, read, NULL), 1);
		assert_string_equal(row.version.name, m->names[name]);
		assert_int_equal(row.version.number, want->number);
		assert_true(row.version.ended_ns == want->ended_ns);
	}
	assert_int_equal(index_name_next(&row, &iter, read, NULL), 0);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.versions, m->count);
	assert_int_equal(counts.names, names);
	index_version_release(&row);
	buf_release(&iter.last);
	index_read_end(read);
}

static void
random_histories_agree_with_the_model(void **state)
{
	static struct model m;
	struct index *index = test_index_open(state);

	m = (struct model){ .seed = 4711 };
	for (int name = 0; name < MODEL_NAMES; name++) {
		/* in bytewise order; the last four share more than a key holds */
		memset(m.names[name], 'a' + (name < 3 ? name : 3), name < 3 ? 3 : 700);
		m.names[name][name < 3 ? 3 : 700] = (char)('0' + name);
		m.next[name] = 1;
	}
	for (int step = 0; step < MODEL_STEPS; step++) {
		if (draw(&m, 3) > 0)
			model_put(&m, index);
		else
			model_end(&m, index);
		if (step % 10 == 0)
			model_compare(&m, index);
		if (step % 200 == 100) {
			index_close(index);
			index = test_index_open(state);
		}
	}
	model_compare(&m, index);
	assert_sound(index);
	index_close(index);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(everything_of_a_version_comes_back),
		test_case(what_is_not_there_is_not_found),
		test_case(what_cannot_be_kept_is_refused),
		test_case(numbers_rise_and_are_never_given_again),
		test_case(the_latest_is_the_last_created_not_the_last_put),
		test_case(the_greater_gid_decides_between_equal_times),
		test_case(an_ended_version_is_there_until_its_end),
		test_case(ten_thousand_versions_are_put_and_ended),
		test_case(names_of_any_length_come_in_bytewise_order),
		test_case(a_walk_skips_what_was_not_there_then),
		test_case(random_histories_agree_with_the_model),
	};

	return test_run(cases);
}
