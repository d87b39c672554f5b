/*
 * Names and their versions, in four tables that change together:
 *
 *   names     name                        -> next number, number of the latest, counts
 *   versions  name, number                -> the version
 *   gids      hash of (gid, name)         -> number
 *   times     name, alive?, created, gid  -> number, end
 *
 * 1. A number is never given twice under a name; a version keeps its number.
 * 2. `latest` in a row of names is the last row of `times` that is alive: so
 *    neither finding the latest nor ending it looks through all versions.
 *
 * One name after the other: nameorder.c.
 */
#include <assert.h>
#include <string.h>

#include "cas/base/err.h"
#include "index/names.h"

void
index_version_release(struct index_version_row *row)
{
	buf_release(&row->storage);
	row->version = (struct index_version){ 0 };
}

void
name_set(struct name *n, const char *text, size_t len)
{
	n->text = text;
	n->len = len;
	n->key_len = row_name_key(n->key, text, len);
}

/* For looking up: false when no such name can be. */
static bool
name_of(struct name *n, const char *text)
{
	size_t len = strnlen(text, NAME_LEN_MAX + 1);

	if (len < 1 || len > NAME_LEN_MAX)
		return false;
	name_set(n, text, len);
	return true;
}

/* ---- rows ---- */

static int
get_name(
    struct row_name *out, struct index_read *read, const struct name *n, struct larder_err *err)
{
	struct row row;
	int rc;

	rc = table_get(&row, read, TABLE_NAMES, n->key, n->key_len, err);
	if (rc < 0)
		return rc;
	if (row_name_decode(out, row.data, row.len, err) < 0 ||
	    (n->len > ROW_NAME_HEAD_LEN &&
		(out->name_len != n->len || memcmp(out->name, n->text, n->len) != 0)))
		return env_bad_value(read->env, TABLE_NAMES, err);
	return LARDER_OK;
}

static int
put_name(
    struct index_write *write, const struct name *n, struct row_name *row, struct larder_err *err)
{
	uint8_t value[ROW_NAME_MAX + ROW_CHECK_LEN];

	row->name = n->text;
	row->name_len = n->len;
	return table_put(
	    write, TABLE_NAMES, n->key, n->key_len, value, row_name_encode(value, row), err);
}

static int
decode_version(struct index_version_row *out, struct index_read *read, const struct name *n,
    uint64_t number, const struct row *row, struct larder_err *err)
{
	int rc;

	rc = row_version_decode(out, n->text, n->len, number, row->data, row->len, err);
	return rc == LARDER_ERR_CORRUPT ? env_bad_value(read->env, TABLE_VERSIONS, err) : rc;
}

static int
get_version(struct index_version_row *out, struct index_read *read, const struct name *n,
    uint64_t number, struct larder_err *err)
{
	uint8_t key[ROW_KEY_MAX];
	struct row row;
	int rc;

	memcpy(key, n->key, n->key_len);
	rc = table_get(
	    &row, read, TABLE_VERSIONS, key, row_version_key(key, n->key_len, number), err);
	return rc < 0 ? rc : decode_version(out, read, n, number, &row, err);
}

/* One that another row says to be there. */
static int
get_promised(struct index_version_row *out, struct index_read *read, const struct name *n,
    uint64_t number, struct larder_err *err)
{
	int rc = get_version(out, read, n, number, err);

	return rc == LARDER_ERR_NOT_FOUND ? env_bad_value(read->env, TABLE_VERSIONS, err) : rc;
}

static int
put_version(struct index_write *write, const struct name *n, const struct index_version *version,
    uint64_t number, struct larder_err *err)
{
	struct buf *value = &write->value;
	uint8_t key[ROW_KEY_MAX];
	size_t len;
	int rc;

	buf_clear(value);
	rc = row_version_encode(value, version);
	len = value->len;
	if (rc == 0)
		rc = buf_reserve(value, ROW_CHECK_LEN);
	if (rc < 0)
		return buf_err(value, rc, err);
	if (len + ROW_CHECK_LEN > INDEX_VALUE_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "index: a version of %zu bytes, more than INDEX_VALUE_MAX (%d)", len,
		    INDEX_VALUE_MAX);
	memcpy(key, n->key, n->key_len);
	return table_put(write, TABLE_VERSIONS, key, row_version_key(key, n->key_len, number),
	    value->data, len, err);
}

static int
get_gid(uint64_t *number, struct index_read *read, const struct name *n, const struct id16 *gid,
    struct larder_err *err)
{
	uint8_t key[16];
	struct row row;
	int rc;

	row_gid_key(key, gid, n->text, n->len);
	rc = table_get(&row, read, TABLE_GIDS, key, sizeof key, err);
	if (rc < 0)
		return rc;
	if (row_gid_decode(number, row.data, row.len, err) < 0)
		return env_bad_value(read->env, TABLE_GIDS, err);
	return LARDER_OK;
}

static int
put_gid(struct index_write *write, const struct name *n, const struct id16 *gid, uint64_t number,
    struct larder_err *err)
{
	uint8_t key[16], value[ROW_GID_MAX + ROW_CHECK_LEN];

	row_gid_key(key, gid, n->text, n->len);
	return table_put(
	    write, TABLE_GIDS, key, sizeof key, value, row_gid_encode(value, number), err);
}

static size_t
time_key(uint8_t key[ROW_KEY_MAX], const struct name *n, const struct index_version *version)
{
	memcpy(key, n->key, n->key_len);
	return row_time_key(
	    key, n->key_len, version->ended_ns == 0, version->created_ns, &version->gid);
}

static int
put_time(struct index_write *write, const struct name *n, const struct index_version *version,
    uint64_t number, struct larder_err *err)
{
	uint8_t key[ROW_KEY_MAX], value[ROW_TIME_MAX + ROW_CHECK_LEN];

	return table_put(write, TABLE_TIMES, key, time_key(key, n, version), value,
	    row_time_encode(value, number, version->ended_ns), err);
}

static int
drop_time(struct index_write *write, const struct name *n, const struct index_version *version,
    struct larder_err *err)
{
	uint8_t key[ROW_KEY_MAX];
	int rc;

	rc = table_drop(write, TABLE_TIMES, key, time_key(key, n, version), err);
	return rc == LARDER_ERR_NOT_FOUND ? env_bad_value(write->view.env, TABLE_TIMES, err) : rc;
}

/* ---- the latest ---- */

/* A row of times. */
struct moment {
	bool alive;
	int64_t created_ns, ended_ns;
	struct id16 gid;
	uint64_t number;
};

/* The cursor's row: 1 when it is of this name and this kind, 0 when the walk has left them. */
static int
take_moment(struct moment *out, const struct table_cursor *c, const struct name *n, bool alive,
    struct larder_err *err)
{
	if (!row_time_key_split(&out->alive, &out->created_ns, &out->gid, c->row.key,
		c->row.key_len, n->key, n->key_len) ||
	    out->alive != alive)
		return 0;
	if (row_time_decode(&out->number, &out->ended_ns, c->row.data, c->row.len, err) < 0)
		return env_bad_value(c->read->env, TABLE_TIMES, err);
	return 1;
}

/* The last one of that kind created at or before `at_ns`. */
static int
moment_at(struct moment *out, struct table_cursor *c, const struct name *n, bool alive,
    int64_t at_ns, struct larder_err *err)
{
	static const struct id16 highest = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	uint8_t key[ROW_KEY_MAX + 1];
	size_t len;
	int rc;

	memcpy(key, n->key, n->key_len);
	len = row_time_key(key, n->key_len, alive, at_ns, &highest);
	key[len++] = 0; /* just above the highest possible */
	rc = table_cursor_below(c, key, len, err);
	return rc <= 0 ? rc : take_moment(out, c, n, alive, err);
}

static bool
is_later(const struct moment *a, const struct moment *b)
{
	if (a->created_ns != b->created_ns)
		return a->created_ns > b->created_ns;
	return memcmp(a->gid.bytes, b->gid.bytes, ID16_LEN) > 0;
}

/*
 * The one that was the latest at `at_ns`: of those alive now the last one
 * created until then, or one that has ended since and is later than that.
 */
static int
latest_at(struct moment *out, struct index_read *read, const struct name *n, int64_t at_ns,
    struct larder_err *err)
{
	struct table_cursor c;
	struct moment ended;
	int rc, found = 0;

	rc = table_cursor_begin(&c, read, TABLE_TIMES, err);
	if (rc == 0)
		rc = found = moment_at(out, &c, n, true, at_ns, err);
	if (rc >= 0)
		rc = moment_at(&ended, &c, n, false, at_ns, err);
	while (rc == 1) {
		if (found == 1 && !is_later(&ended, out))
			break;
		if (at_ns < ended.ended_ns) {
			*out = ended;
			found = 1;
			break;
		}
		rc = table_cursor_previous(&c, err);
		if (rc == 1)
			rc = take_moment(&ended, &c, n, false, err);
	}
	table_cursor_end(&c);
	return rc < 0 ? rc : found;
}

/* Number of the last one alive; 0 when there is none. */
static int
find_latest(uint64_t *number, struct index_read *read, const struct name *n, struct larder_err *err)
{
	struct table_cursor c;
	struct moment last;
	int rc;

	rc = table_cursor_begin(&c, read, TABLE_TIMES, err);
	if (rc == 0)
		rc = moment_at(&last, &c, n, true, INT64_MAX, err);
	table_cursor_end(&c);
	if (rc >= 0)
		*number = rc == 1 ? last.number : 0;
	return rc < 0 ? rc : LARDER_OK;
}

/* ---- writing ---- */

/*
 * The version `number` becomes `version`; `old` is what it was, NULL when it is
 * new. `row` is the name's, and is brought up to date.
 */
static int
store(struct index_write *write, const struct name *n, struct row_name *row, uint64_t number,
    const struct index_version *old, const struct index_version *version, struct larder_err *err)
{
	int rc = LARDER_OK;

	if (old != NULL) {
		rc = drop_time(write, n, old, err);
		row->alive -= old->ended_ns == 0;
	} else {
		rc = put_gid(write, n, &version->gid, number, err);
		row->versions++;
		if (row->next <= number)
			row->next = number + 1;
	}
	row->alive += version->ended_ns == 0;
	if (rc == 0)
		rc = put_version(write, n, version, number, err);
	if (rc == 0)
		rc = put_time(write, n, version, number, err);
	if (rc == 0)
		rc = find_latest(&row->latest, &write->view, n, err);
	return rc < 0 ? rc : put_name(write, n, row, err);
}

static int
check_version(struct name *n, const struct index_version *version, struct larder_err *err)
{
	if (version->name == NULL || version->name[0] == '\0')
		return err_set(err, LARDER_ERR_USAGE, "index: a version without a name");
	if (!name_of(n, version->name))
		return err_set(err, LARDER_ERR_LIMIT,
		    "index: a name longer than NAME_LEN_MAX (%d bytes)", NAME_LEN_MAX);
	if (version->tag_count > TAGS_MAX)
		return err_set(
		    err, LARDER_ERR_LIMIT, "index: more tags than TAGS_MAX (%d)", TAGS_MAX);
	for (size_t i = 0; i < version->tag_count; i++)
		if (strnlen(version->tags[i].key, TAG_LEN_MAX + 1) > TAG_LEN_MAX ||
		    strnlen(version->tags[i].value, TAG_LEN_MAX + 1) > TAG_LEN_MAX)
			return err_set(err, LARDER_ERR_LIMIT,
			    "index: a tag longer than TAG_LEN_MAX (%d bytes)", TAG_LEN_MAX);
	return LARDER_OK;
}

/* The number that a new version gets. */
static int
choose_number(uint64_t *number, struct index_read *read, const struct name *n,
    const struct row_name *row, uint64_t wanted, struct larder_err *err)
{
	uint8_t key[ROW_KEY_MAX];
	struct row taken;
	int rc;

	*number = row->next;
	if (wanted != 0) {
		memcpy(key, n->key, n->key_len);
		rc = table_get(&taken, read, TABLE_VERSIONS, key,
		    row_version_key(key, n->key_len, wanted), err);
		if (rc < 0 && rc != LARDER_ERR_NOT_FOUND)
			return rc;
		if (rc == LARDER_ERR_NOT_FOUND)
			*number = wanted;
	}
	/* UINT64_MAX stands for "from the newest". */
	if (*number == UINT64_MAX)
		return err_set(err, LARDER_ERR_LIMIT, "index: all version numbers are used");
	return LARDER_OK;
}

int
index_version_put(uint64_t *number, struct index_write *write, const struct index_version *version,
    struct larder_err *err)
{
	struct index_read *view = &write->view;
	struct index_version_row old = { 0 };
	struct row_name row = { .next = 1 };
	struct name n;
	bool known;
	int rc;

	rc = check_version(&n, version, err);
	if (rc == 0)
		rc = get_name(&row, view, &n, err);
	if (rc < 0 && rc != LARDER_ERR_NOT_FOUND)
		return rc;
	rc = get_gid(number, view, &n, &version->gid, err);
	known = rc == 0;
	if (known)
		rc = get_promised(&old, view, &n, *number, err);
	else if (rc == LARDER_ERR_NOT_FOUND)
		rc = choose_number(number, view, &n, &row, version->number, err);
	if (rc == 0)
		rc = store(write, &n, &row, *number, known ? &old.version : NULL, version, err);
	index_version_release(&old);
	return rc;
}

int
index_version_end(struct index_write *write, const char *name, const struct id16 *gid,
    int64_t ended_ns, struct larder_err *err)
{
	struct index_read *view = &write->view;
	struct index_version_row old = { 0 };
	struct index_version version;
	struct row_name row;
	struct name n;
	uint64_t number;
	int rc;

	if (!name_of(&n, name))
		return LARDER_ERR_NOT_FOUND;
	rc = get_gid(&number, view, &n, gid, err);
	if (rc < 0)
		return rc;
	rc = get_promised(&old, view, &n, number, err);
	if (rc == 0) {
		rc = get_name(&row, view, &n, err);
		if (rc == LARDER_ERR_NOT_FOUND)
			rc = env_bad_value(view->env, TABLE_NAMES, err);
	}
	if (rc == 0) {
		version = old.version;
		version.ended_ns = ended_ns;
		rc = store(write, &n, &row, number, &old.version, &version, err);
	}
	index_version_release(&old);
	return rc;
}

/* ---- reading ---- */

static bool
was_alive(const struct index_version *version, int64_t at_ns)
{
	return version->created_ns <= at_ns &&
	       (version->ended_ns == 0 || at_ns < version->ended_ns);
}

int
name_latest(struct index_version_row *out, struct index_read *read, const struct name *n,
    const struct row_name *row, int64_t at_ns, struct larder_err *err)
{
	struct moment moment;
	uint64_t number = row->latest;
	int rc;

	if (at_ns != INT64_MAX) {
		rc = latest_at(&moment, read, n, at_ns, err);
		if (rc < 0)
			return rc;
		number = rc == 1 ? moment.number : 0;
	}
	return number == 0 ? LARDER_ERR_NOT_FOUND : get_promised(out, read, n, number, err);
}

int
index_version_get(struct index_version_row *out, struct index_read *read, const char *name,
    uint64_t number, int64_t at_ns, struct larder_err *err)
{
	struct row_name row;
	struct name n;
	int rc;

	if (!name_of(&n, name))
		return LARDER_ERR_NOT_FOUND;
	if (number != 0) {
		rc = get_version(out, read, &n, number, err);
		if (rc == 0 && !was_alive(&out->version, at_ns))
			rc = LARDER_ERR_NOT_FOUND;
		return rc;
	}
	rc = get_name(&row, read, &n, err);
	return rc < 0 ? rc : name_latest(out, read, &n, &row, at_ns, err);
}

int
index_version_before(struct index_version_row *out, struct index_read *read, const char *name,
    uint64_t below, struct larder_err *err)
{
	uint8_t key[ROW_KEY_MAX];
	struct table_cursor c;
	struct name n;
	uint64_t number;
	int rc;

	if (!name_of(&n, name))
		return 0;
	memcpy(key, n.key, n.key_len);
	rc = table_cursor_begin(&c, read, TABLE_VERSIONS, err);
	if (rc == 0)
		rc = table_cursor_below(&c, key, row_version_key(key, n.key_len, below), err);
	if (rc == 1 && !row_version_key_number(&number, c.row.key, c.row.key_len, n.key, n.key_len))
		rc = 0;
	if (rc == 1) {
		rc = decode_version(out, read, &n, number, &c.row, err);
		if (rc == 0)
			rc = 1;
	}
	table_cursor_end(&c);
	return rc;
}
