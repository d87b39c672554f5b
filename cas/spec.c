/*
 * Text -> name, version, path -> what lies there. See spec.h.
 */
#include "cas/spec.h"

#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/sha256.h"
#include "cas/object/entry.h"
#include "cas/object/filelist.h"
#include "index/index.h"
#include "pack/pack.h"

/* ---- text ---- */

static bool
is_digits(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return len > 0;
}

/* "name@3" -> 3, and name_len without it. */
static int
split_version(struct spec_text *out, struct larder_err *err)
{
	size_t at = out->name_len;
	uint64_t number = 0;

	while (at > 0 && out->name[at - 1] != '@')
		at--;
	if (at == 0 || !is_digits(out->name + at, out->name_len - at))
		return LARDER_OK;
	for (size_t i = at; i < out->name_len; i++) {
		unsigned digit = (unsigned)(out->name[i] - '0');

		if (number > (UINT64_MAX - digit) / 10)
			return err_set(err, LARDER_ERR_USAGE, "version number too large");
		number = number * 10 + digit;
	}
	if (number == 0)
		return err_set(err, LARDER_ERR_USAGE, "versions are counted from 1");
	out->version = number;
	out->name_len = at - 1;
	return LARDER_OK;
}

static int
check_path(const char *path, struct larder_err *err)
{
	size_t depth = 0;

	if (strlen(path) > PATH_LEN_MAX)
		return err_set(err, LARDER_ERR_USAGE, "path longer than %d bytes (PATH_LEN_MAX)",
		    PATH_LEN_MAX);
	while (*path != '\0') {
		size_t len = strcspn(path, "/");

		if (len == 0)
			return err_set(err, LARDER_ERR_USAGE, "path with an empty component");
		if (len <= 2 && memcmp(path, "..", len) == 0)
			return err_set(err, LARDER_ERR_USAGE, "path with the component '%.*s'",
			    (int)len, path);
		if (++depth > PATH_DEPTH_MAX)
			return err_set(err, LARDER_ERR_USAGE,
			    "path of more than %d components (PATH_DEPTH_MAX)", PATH_DEPTH_MAX);
		path += len;
		path += *path == '/';
	}
	return LARDER_OK;
}

static int
check_hex(const char *hex, size_t len, struct larder_err *err)
{
	struct larder_id lowest, highest;

	if (len < SPEC_ID_DIGITS_MIN)
		return err_set(
		    err, LARDER_ERR_USAGE, "an id needs at least %d digits", SPEC_ID_DIGITS_MIN);
	if (len > ID_HEX_LEN)
		return err_set(err, LARDER_ERR_USAGE, "an id has at most %d digits", ID_HEX_LEN);
	if (!id_prefix_range(&lowest, &highest, hex, len))
		return err_set(err, LARDER_ERR_USAGE, "an id is made of hexadecimal digits");
	return LARDER_OK;
}

void
spec_prefix(struct larder_err *err, const char *spec)
{
	enum { LONG = 200 };
	bool cut = strlen(spec) > LONG;

	err_prefix(err, "%.*s%s", LONG, spec, cut ? "..." : "");
}

int
spec_parse(struct spec_text *out, const char *spec, struct larder_err *err)
{
	struct spec_text text = { .name = spec };
	const char *slashes = strstr(spec, "//");
	int rc;

	text.name_len = slashes != NULL ? (size_t)(slashes - spec) : strlen(spec);
	text.head = spec;
	text.head_len = text.name_len;
	text.has_path = slashes != NULL;
	text.path = slashes != NULL ? slashes + 2 : "";
	text.is_id = strncmp(spec, "id:", 3) == 0;
	if (text.is_id) {
		text.name += 3;
		text.name_len -= 3;
		rc = check_hex(text.name, text.name_len, err);
	} else {
		rc = split_version(&text, err);
		if (rc == LARDER_OK)
			rc = entry_name_check(text.name, text.name_len, err);
	}
	if (rc == LARDER_OK)
		rc = check_path(text.path, err);
	if (rc < 0) {
		spec_prefix(err, *spec != '\0' ? spec : "(empty)");
		return rc;
	}
	*out = text;
	return LARDER_OK;
}

/* ---- names ---- */

static void
take_version(struct spec_target *out, const struct index_version *v)
{
	out->kind = v->kind == ENTRY_KIND_DIR ? TREE_DIR : TREE_FILE;
	out->list = v->list;
	out->id = v->id;
	out->has_attrs = v->kind == ENTRY_KIND_DIR && !id_is_zero(&v->attrs);
	out->attrs = v->attrs;
	out->bytes = v->bytes;
	out->files = v->files;
	out->version = v->number;
	out->created_ns = v->created_ns;
	out->has_sha256 = v->has_sha256;
	out->sha256 = v->sha256;
}

static int
find_version(struct spec_target *out, struct index_read *read, const struct spec_text *text,
    int64_t at_ns, struct larder_err *err)
{
	struct index_version_row row = { 0 };
	bool past = at_ns != 0 && at_ns != INT64_MAX;
	int rc;

	memcpy(out->name, text->name, text->name_len);
	out->name[text->name_len] = '\0';
	rc = index_version_get(
	    &row, read, out->name, text->version, at_ns == 0 ? INT64_MAX : at_ns, err);
	if (rc == LARDER_OK && row.version.kind == ENTRY_KIND_ARCHIVE)
		rc = err_set(err, LARDER_ERR_VERSION,
		    "%s: an archive that was taken apart, which needs a newer larder", out->name);
	else if (rc == LARDER_OK)
		take_version(out, &row.version);
	else if (rc == LARDER_ERR_NOT_FOUND)
		rc = err_set(err, rc, "%.*s: no such %s%s", (int)text->head_len, text->head,
		    text->version != 0 ? "version" : "name", past ? " at that time" : "");
	index_version_release(&row);
	return rc;
}

/* ---- ids ---- */

struct id_search {
	uint64_t matches;
	struct larder_id id;
	struct index_place place;
};

static int
count_id(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	struct id_search *search = context;

	(void)err;
	if (search->matches++ == 0) {
		search->id = *id;
		search->place = *place;
	}
	return 0;
}

/* Content of no bytes has an id and no chunk. */
static void
count_empty(
    struct id_search *search, const struct larder_id *lowest, const struct larder_id *highest)
{
	struct larder_id empty;

	sha256(&empty, NULL, 0);
	if (id_compare(&empty, lowest) < 0 || id_compare(&empty, highest) > 0)
		return;
	if (search->matches++ == 0) {
		search->id = empty;
		search->place = (struct index_place){ .type = PACK_TYPE_DATA };
	}
}

static int
list_size(
    uint64_t *size, struct fetch_reader *reader, const struct larder_id *id, struct larder_err *err)
{
	struct buf bytes = { 0 };
	struct filelist_reader list;
	struct filelist_item item;
	int rc;

	buf_init(&bytes, PACK_PLAIN_MAX);
	rc = fetch_chunk(&bytes, reader, id, err);
	if (rc == LARDER_OK)
		rc = filelist_open(&list, bytes.data, bytes.len, err);
	while (rc >= 0 && (rc = filelist_next(&list, &item, err)) == 1)
		;
	if (rc == LARDER_OK)
		*size = list.size;
	buf_release(&bytes);
	return rc;
}

static int
find_id(struct spec_target *out, struct index_read *read, struct fetch_reader *reader,
    const struct spec_text *text, struct larder_err *err)
{
	struct id_search search = { 0 };
	struct larder_id lowest, highest;
	int rc;

	if (!id_prefix_range(&lowest, &highest, text->name, text->name_len))
		return err_set(err, LARDER_ERR_USAGE, "an id is made of hexadecimal digits");
	rc = index_chunk_each(read, &lowest, &highest, count_id, &search, err);
	if (rc < 0)
		return rc;
	count_empty(&search, &lowest, &highest);
	if (search.matches == 0)
		return err_set(err, LARDER_ERR_NOT_FOUND, "id:%.*s: no such object",
		    (int)text->name_len, text->name);
	if (search.matches > 1)
		return err_set(err, LARDER_ERR_USAGE, "id:%.*s: %llu objects begin like that",
		    (int)text->name_len, text->name, (unsigned long long)search.matches);

	out->id = search.id;
	out->kind = search.place.type == PACK_TYPE_TREE ? TREE_DIR : TREE_FILE;
	out->list = search.place.type == PACK_TYPE_FILELIST;
	out->bytes = out->kind == TREE_DIR ? 0 : search.place.chunk_len;
	if (out->list)
		return list_size(&out->bytes, reader, &out->id, err);
	return LARDER_OK;
}

/* ---- paths ---- */

static void
take_entry(struct spec_target *out, const struct tree_entry *e, const struct attrs_row *row)
{
	out->kind = e->kind;
	out->list = e->list;
	out->executable = e->executable;
	out->bytes = e->size;
	out->id = e->id;
	out->target = e->target;
	out->target_len = e->target_len;
	out->major = e->major;
	out->minor = e->minor;
	out->has_attrs = row != NULL && row->is_dir;
	out->has_row = row != NULL && !row->is_dir;
	if (out->has_attrs)
		out->attrs = row->child;
	if (out->has_row)
		out->row = *row;
}

/* One component down. 1 = there is no such entry. */
static int
step(struct spec_target *out, struct fetch_reader *reader, const char *name, size_t len,
    struct larder_err *err)
{
	struct larder_id tree = out->id, attrs = out->attrs;
	const struct tree_entry *e;
	const struct attrs_row *row = NULL;
	int rc;

	if (out->kind != TREE_DIR)
		return 1;
	tree_list_release(&out->tree);
	attrs_list_release(&out->rows);
	rc = tree_load(&out->tree, reader, &tree, err);
	if (rc < 0)
		return rc;
	e = tree_list_find(&out->tree, name, len);
	if (e == NULL)
		return 1;
	if (out->has_attrs) {
		rc = attrs_load(&out->rows, reader, &attrs, err);
		if (rc < 0)
			return rc;
		if (out->rows.count != out->tree.count)
			return err_set(err, LARDER_ERR_CORRUPT,
			    "a directory of %zu entries with attributes of %zu", out->tree.count,
			    out->rows.count);
		row = &out->rows.rows[e - out->tree.entries];
		if (row->is_dir != (e->kind == TREE_DIR))
			return err_set(err, LARDER_ERR_CORRUPT,
			    "attributes that do not belong to their directory");
	}
	take_entry(out, e, row);
	return LARDER_OK;
}

static int
walk_path(
    struct spec_target *out, struct fetch_reader *reader, const char *path, struct larder_err *err)
{
	bool want_dir = false;
	int rc = LARDER_OK;

	out->whole = *path == '\0';
	if (out->whole)
		return LARDER_OK;
	out->files = 0;
	out->has_sha256 = false;
	while (*path != '\0' && rc == LARDER_OK) {
		size_t len = strcspn(path, "/");

		rc = step(out, reader, path, len, err);
		path += len;
		want_dir = *path == '/';
		path += want_dir;
	}
	if (rc == LARDER_OK && want_dir && out->kind != TREE_DIR)
		rc = 1;
	return rc == 1 ? err_set(err, LARDER_ERR_NOT_FOUND, "no such path") : rc;
}

int
spec_resolve(struct spec_target *out, struct larder_store *store, struct fetch_reader *reader,
    const char *spec, int64_t at_ns, struct larder_err *err)
{
	struct index_read *read = NULL;
	struct spec_text text;
	int rc;

	memset(out, 0, sizeof *out);
	rc = spec_parse(&text, spec, err);
	if (rc < 0)
		return rc;
	rc = index_read_begin(&read, store->index, err);
	if (rc < 0)
		return rc;
	rc = text.is_id ? find_id(out, read, reader, &text, err)
			: find_version(out, read, &text, at_ns, err);
	index_read_end(read);
	if (rc < 0)
		goto out;
	rc = walk_path(out, reader, text.path, err);
	if (rc < 0)
		spec_prefix(err, spec);
out:
	if (rc < 0)
		spec_release(out);
	return rc;
}

void
spec_release(struct spec_target *target)
{
	tree_list_release(&target->tree);
	attrs_list_release(&target->rows);
	memset(target, 0, sizeof *target);
}
