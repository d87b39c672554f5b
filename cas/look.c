/*
 * What is inside a directory, with attributes beside it. See look.h, larder.h.
 *
 * No read transaction is open while the caller's function runs: directories are
 * loaded whole (reach.c), and what is given out lives in our own storage.
 */
#include "cas/look.h"

#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/spec.h"

/* ---- directories ---- */

bool
look_dir_fits(const struct look_dir *dir)
{
	if (dir->attrs.count != dir->tree.count)
		return false;
	for (size_t i = 0; i < dir->tree.count; i++)
		if (dir->attrs.rows[i].is_dir != (dir->tree.entries[i].kind == TREE_DIR))
			return false;
	return true;
}

int
look_dir_load(struct look_dir *out, struct fetch_reader *reader, const struct larder_id *tree,
    const struct larder_id *attrs, struct larder_err *err)
{
	char hex[ID_HEX_LEN + 1];
	int rc;

	memset(out, 0, sizeof *out);
	rc = tree_load(&out->tree, reader, tree, err);
	if (rc == LARDER_OK && attrs != NULL) {
		rc = attrs_load(&out->attrs, reader, attrs, err);
		out->has_attrs = rc == LARDER_OK;
	}
	if (out->has_attrs && !look_dir_fits(out)) {
		id_to_hex(hex, attrs);
		rc = err_set(
		    err, LARDER_ERR_CORRUPT, "attrs %s do not belong to their directory", hex);
	}
	if (rc < 0)
		look_dir_release(out);
	return rc;
}

void
look_dir_release(struct look_dir *dir)
{
	tree_list_release(&dir->tree);
	attrs_list_release(&dir->attrs);
	dir->has_attrs = false;
}

const struct attrs_row *
look_dir_row(const struct look_dir *dir, size_t i)
{
	return dir->has_attrs ? &dir->attrs.rows[i] : NULL;
}

const struct larder_id *
look_dir_attrs(const struct look_dir *dir, size_t i)
{
	return dir->has_attrs ? &dir->attrs.rows[i].child : NULL;
}

/* ---- paths ---- */

int
look_path_push(struct buf *path, const char *name, size_t name_len, struct larder_err *err)
{
	size_t len = path->len;
	int rc = buf_reserve(path, name_len + 2);

	if (rc < 0)
		return buf_err(path, rc, err);
	if (len > 0)
		path->data[len++] = '/';
	memcpy(path->data + len, name, name_len);
	path->len = len + name_len;
	path->data[path->len] = '\0';
	return LARDER_OK;
}

void
look_path_cut(struct buf *path, size_t len)
{
	if (path->data == NULL)
		return;
	path->len = len;
	path->data[len] = '\0';
}

const char *
look_path(const struct buf *path)
{
	return path->data == NULL ? "" : (const char *)path->data;
}

/* ---- listing ---- */

struct listing {
	struct fetch_reader *reader;
	bool recursive;
	larder_entry_fn fn;
	void *context;
	struct buf path;
	struct buf target;
	struct buf user, group;
};

/* The bytes with a NUL behind them, in `room`. */
static int
terminated(const char **out, struct buf *room, const char *s, size_t len, struct larder_err *err)
{
	int rc;

	buf_clear(room);
	rc = buf_append(room, s, len);
	if (rc == LARDER_OK)
		rc = buf_append_u8(room, 0);
	if (rc < 0)
		return buf_err(room, rc, err);
	*out = (const char *)room->data;
	return LARDER_OK;
}

static int64_t
nanoseconds(int64_t s, uint32_t ns)
{
	if (s > (INT64_MAX - 999999999) / 1000000000)
		return INT64_MAX;
	if (s < INT64_MIN / 1000000000)
		return INT64_MIN;
	return s * 1000000000 + ns;
}

static int
take_row(struct larder_entry *out, struct listing *in, const struct attrs_row *row,
    struct larder_err *err)
{
	int rc;

	out->mode = row->mode;
	out->uid = row->uid;
	out->gid = row->gid;
	out->mtime_ns = nanoseconds(row->mtime_s, row->mtime_ns);
	rc = terminated(&out->user, &in->user, row->user, row->user_len, err);
	if (rc == LARDER_OK)
		rc = terminated(&out->group, &in->group, row->group, row->group_len, err);
	return rc;
}

static int
give(struct listing *in, const struct tree_entry *e, const struct attrs_row *row,
    struct larder_err *err)
{
	struct larder_entry entry = {
		.path = look_path(&in->path),
		.type = (enum larder_entry_type)e->kind,
		.executable = e->executable,
		.bytes = e->kind == TREE_FILE ? e->size : 0,
		.user = "",
		.group = "",
		.target = "",
	};
	int rc = LARDER_OK;

	if (e->kind == TREE_DIR || (e->kind == TREE_FILE && e->size > 0))
		entry.id = e->id;
	if (row != NULL)
		rc = take_row(&entry, in, row, err);
	if (rc == LARDER_OK && e->kind == TREE_SYMLINK)
		rc = terminated(&entry.target, &in->target, e->target, e->target_len, err);
	return rc < 0 ? rc : in->fn(in->context, &entry);
}

static int list_dir(struct listing *in, const struct look_dir *dir, unsigned depth,
    struct larder_err *err);

/* A subdirectory: its own row stands in its own attributes. */
static int
list_subdir(struct listing *in, const struct look_dir *dir, size_t i, unsigned depth,
    struct larder_err *err)
{
	const struct tree_entry *e = &dir->tree.entries[i];
	const struct larder_id *attrs = look_dir_attrs(dir, i);
	struct look_dir below = { 0 };
	int rc = LARDER_OK;

	if (in->recursive) {
		rc = look_dir_load(&below, in->reader, &e->id, attrs, err);
	} else if (attrs != NULL) {
		rc = attrs_load(&below.attrs, in->reader, attrs, err);
		below.has_attrs = rc == LARDER_OK;
	}
	if (rc == LARDER_OK)
		rc = give(in, e, below.has_attrs ? &below.attrs.self : NULL, err);
	if (rc == LARDER_OK && in->recursive)
		rc = list_dir(in, &below, depth + 1, err);
	look_dir_release(&below);
	return rc;
}

static int
list_dir(struct listing *in, const struct look_dir *dir, unsigned depth, struct larder_err *err)
{
	size_t len = in->path.len;
	int rc = LARDER_OK;

	if (depth > LOOK_DEPTH_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "directories inside each other beyond %d (LOOK_DEPTH_MAX)", LOOK_DEPTH_MAX);
	for (size_t i = 0; i < dir->tree.count && rc == LARDER_OK; i++) {
		const struct tree_entry *e = &dir->tree.entries[i];

		rc = look_path_push(&in->path, e->name, e->name_len, err);
		if (rc < 0)
			return rc;
		rc = e->kind == TREE_DIR ? list_subdir(in, dir, i, depth, err)
					 : give(in, e, look_dir_row(dir, i), err);
		look_path_cut(&in->path, len);
	}
	return rc;
}

int
larder_entries(struct larder_store *store, const char *spec, int64_t at_ns, bool recursive,
    larder_entry_fn fn, void *context, struct larder_err *err)
{
	struct listing in = { .recursive = recursive, .fn = fn, .context = context };
	struct spec_target target = { 0 };
	struct look_dir dir = { 0 };
	int rc;

	if (store == NULL || spec == NULL || fn == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a store, a spec and a function are needed");
	rc = store_enter(store, err);
	if (rc == LARDER_OK)
		rc = fetch_reader_open(&in.reader, store, err);
	if (rc == LARDER_OK)
		rc = spec_resolve(&target, store, in.reader, spec, at_ns, err);
	if (rc < 0)
		goto out;
	if (target.kind != TREE_DIR) {
		rc = err_set(err, LARDER_ERR_USAGE, "%s: not a directory", spec);
		goto out;
	}
	rc = look_dir_load(
	    &dir, in.reader, &target.id, target.has_attrs ? &target.attrs : NULL, err);
	if (rc < 0) {
		err_prefix(err, "%s", spec);
		goto out;
	}
	rc = list_dir(&in, &dir, 0, err);
out:
	look_dir_release(&dir);
	spec_release(&target);
	fetch_reader_close(in.reader);
	buf_release(&in.path);
	buf_release(&in.target);
	buf_release(&in.user);
	buf_release(&in.group);
	return rc;
}
