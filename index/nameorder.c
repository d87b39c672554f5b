/*
 * Names in bytewise order, also those longer than a key: such names that share
 * their first ROW_NAME_HEAD_LEN bytes are a group, whose keys lie together in no
 * order, and which is read through for each step. Short names and groups follow
 * each other in key order. Finding a name is as fast in a group as elsewhere.
 */
#include <string.h>

#include "index/names.h"

/* A name found by a walk: its text is lent by the row it came from. */
struct found {
	const char *text;
	size_t len;
	struct row_name row;
};

static int
compare_texts(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static int
take_name(struct found *out, const struct table_cursor *c, struct larder_err *err)
{
	struct env *env = c->read->env;

	if (row_name_decode(&out->row, c->row.data, c->row.len, err) < 0 ||
	    (out->row.name_len > 0) != (c->row.key_len > ROW_NAME_HEAD_LEN) ||
	    (out->row.name_len > 0 &&
		(c->row.key_len != ROW_NAME_KEY_MAX ||
		    memcmp(out->row.name, c->row.key, ROW_NAME_HEAD_LEN) != 0)))
		return env_bad_value(env, TABLE_NAMES, err);
	out->text = out->row.name_len > 0 ? out->row.name : (const char *)c->row.key;
	out->len = out->row.name_len > 0 ? out->row.name_len : c->row.key_len;
	return 1;
}

static bool
in_group(const struct table_cursor *c, const uint8_t *head)
{
	return c->row.key_len == ROW_NAME_KEY_MAX &&
	       memcmp(c->row.key, head, ROW_NAME_HEAD_LEN) == 0;
}

/*
 * The cursor is on a row of a group. The first name of it in bytewise order that
 * is above `last` (last_len 0: the first of all), if there is one: 1. Then or
 * otherwise (0) the cursor stands on the first row behind the group, or *at_end.
 */
static int
first_of_group(struct found *out, struct table_cursor *c, const char *last, size_t last_len,
    bool *at_end, struct larder_err *err)
{
	uint8_t head[ROW_NAME_HEAD_LEN];
	struct found each;
	int rc = 1, any = 0;

	memcpy(head, c->row.key, sizeof head);
	while (rc == 1 && in_group(c, head)) {
		rc = take_name(&each, c, err);
		if (rc < 0)
			return rc;
		if ((last_len == 0 || compare_texts(each.text, each.len, last, last_len) > 0) &&
		    (!any || compare_texts(each.text, each.len, out->text, out->len) < 0)) {
			*out = each;
			any = 1;
		}
		rc = table_cursor_next(c, err);
	}
	*at_end = rc == 0;
	return rc < 0 ? rc : any;
}

/* The cursor's row, or the first of the group that begins there. */
static int
name_here(struct found *out, struct table_cursor *c, struct larder_err *err)
{
	bool at_end;

	if (c->row.key_len <= ROW_NAME_HEAD_LEN)
		return take_name(out, c, err);
	if (c->row.key_len != ROW_NAME_KEY_MAX)
		return env_bad_value(c->read->env, TABLE_NAMES, err);
	return first_of_group(out, c, "", 0, &at_end, err);
}

/* The first name above `last`. */
static int
name_above(struct found *out, struct table_cursor *c, const char *last, size_t last_len,
    struct larder_err *err)
{
	uint8_t key[ROW_NAME_KEY_MAX] = { 0 };
	bool at_end;
	int rc;

	if (last_len <= ROW_NAME_HEAD_LEN) {
		/* Nothing lies between a name and the same with a NUL behind. */
		memcpy(key, last, last_len);
		rc = table_cursor_seek(c, key, last_len + 1, err);
		return rc == 1 ? name_here(out, c, err) : rc;
	}
	memcpy(key, last, ROW_NAME_HEAD_LEN);
	rc = table_cursor_seek(c, key, sizeof key, err);
	if (rc != 1 || !in_group(c, key))
		return rc == 1 ? name_here(out, c, err) : rc;
	rc = first_of_group(out, c, last, last_len, &at_end, err);
	if (rc != 0 || at_end)
		return rc;
	return name_here(out, c, err);
}

/* The first name that is not below `prefix`. */
static int
name_from(struct found *out, struct table_cursor *c, const char *prefix, size_t prefix_len,
    struct larder_err *err)
{
	char below[NAME_LEN_MAX + 1];
	int rc;

	if (prefix_len == 0) {
		rc = table_cursor_seek(c, NULL, 0, err);
		return rc == 1 ? name_here(out, c, err) : rc;
	}
	if (prefix_len <= ROW_NAME_HEAD_LEN) {
		rc = table_cursor_seek(c, prefix, prefix_len, err);
		return rc == 1 ? name_here(out, c, err) : rc;
	}
	/* Names have no NUL, so the one before in order is: a byte less, then the highest bytes. */
	memcpy(below, prefix, prefix_len);
	below[prefix_len - 1] = (char)((unsigned char)below[prefix_len - 1] - 1);
	memset(below + prefix_len, 0xff, sizeof below - prefix_len);
	return name_above(out, c, below, sizeof below, err);
}

static int
remember(struct index_name_iter *iter, const struct found *found, struct larder_err *err)
{
	int rc;

	buf_clear(&iter->last);
	rc = buf_append(&iter->last, found->text, found->len);
	return rc < 0 ? buf_err(&iter->last, rc, err) : LARDER_OK;
}

/* One name further, whether it has a version or not: 1 with its row, iter->last being its text. */
static int
advance(struct row_name *row, struct index_name_iter *iter, struct table_cursor *c,
    struct larder_err *err)
{
	const char *prefix = iter->prefix != NULL ? iter->prefix : "";
	size_t prefix_len = strnlen(prefix, NAME_LEN_MAX + 1);
	const char *last = (const char *)iter->last.data;
	struct found found;
	int rc;

	if (prefix_len > NAME_LEN_MAX)
		return 0;
	rc = iter->last.len > 0 ? name_above(&found, c, last, iter->last.len, err)
				: name_from(&found, c, prefix, prefix_len, err);
	if (rc <= 0)
		return rc;
	if (found.len < prefix_len || memcmp(found.text, prefix, prefix_len) != 0)
		return 0;
	*row = found.row;
	rc = remember(iter, &found, err);
	return rc < 0 ? rc : 1;
}

int
index_name_next(struct index_version_row *out, struct index_name_iter *iter,
    struct index_read *read, struct larder_err *err)
{
	struct table_cursor c;
	int rc;

	rc = table_cursor_begin(&c, read, TABLE_NAMES, err);
	if (rc == 0)
		rc = 1;
	while (rc == 1) {
		struct row_name row;
		struct name n;

		rc = advance(&row, iter, &c, err);
		if (rc != 1)
			break;
		name_set(&n, (const char *)iter->last.data, iter->last.len);
		rc = name_latest(out, read, &n, &row, iter->at_ns, err);
		if (rc == 0) {
			rc = 1;
			break;
		}
		if (rc == LARDER_ERR_NOT_FOUND)
			rc = 1; /* all its versions have ended, or began later */
	}
	table_cursor_end(&c);
	return rc;
}
