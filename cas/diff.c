/*
 * Two directories side by side, in the order of their names. See larder.h.
 *
 * 1. What has the same id on both sides is not opened; where the attributes have
 *    the same id too, not even those.
 * 2. A directory that is only on one side gives a line for itself and one for
 *    all that is in it; so does one that takes the place of something else.
 * 3. The thing compared itself has the path ".".
 * 4. A directory whose content changed is not a line: what changed in it is.
 *    Its attributes are, unless only its time has moved, as it does with every
 *    change of what is in it.
 */
#include "cas/diff.h"

#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/look.h"

struct differ {
	struct fetch_reader *reader;
	bool contents;
	larder_diff_fn fn;
	void *context;
	struct buf path;
};

/* An entry with its attributes, if there are any: `attrs` of a directory, else `row`. */
struct side {
	struct tree_entry e;
	const struct attrs_row *row;
	const struct larder_id *attrs;
};

static int
give(struct differ *d, enum larder_change change, enum tree_kind kind)
{
	struct larder_diff diff = {
		.path = d->path.len == 0 ? "." : look_path(&d->path),
		.change = change,
		.type = (enum larder_entry_type)kind,
	};

	return d->fn(d->context, &diff);
}

/* ---- attributes ---- */

static bool
same_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool
same_xattr(const struct attrs_xattr *a, const struct attrs_xattr *b)
{
	if (!same_text(a->name, a->name_len, b->name, b->name_len) ||
	    a->value_len != b->value_len || (a->value == NULL) != (b->value == NULL))
		return false;
	if (a->value == NULL)
		return id_equal(&a->id, &b->id);
	return a->value_len == 0 || memcmp(a->value, b->value, a->value_len) == 0;
}

/* Numbers of hard links mean something only inside one object: that there is one counts. */
static bool
same_row(const struct attrs_row *a, const struct attrs_row *b, bool times)
{
	if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid ||
	    a->sparse != b->sparse || (a->link != 0) != (b->link != 0) ||
	    a->xattr_count != b->xattr_count)
		return false;
	if (times && (a->mtime_s != b->mtime_s || a->mtime_ns != b->mtime_ns))
		return false;
	if (!same_text(a->user, a->user_len, b->user, b->user_len) ||
	    !same_text(a->group, a->group_len, b->group, b->group_len))
		return false;
	for (size_t i = 0; i < a->xattr_count; i++)
		if (!same_xattr(&a->xattrs[i], &b->xattrs[i]))
			return false;
	return true;
}

/* ---- entries ---- */

static int compare(struct differ *d, const struct side *a, const struct side *b, unsigned depth,
    struct larder_err *err);

static bool
same_content(const struct tree_entry *a, const struct tree_entry *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case TREE_FILE:
		return a->size == b->size && a->list == b->list &&
		       (a->size == 0 || id_equal(&a->id, &b->id));
	case TREE_DIR:
		return id_equal(&a->id, &b->id);
	case TREE_SYMLINK:
		return same_text(a->target, a->target_len, b->target, b->target_len);
	case TREE_CHAR:
	case TREE_BLOCK:
		return a->major == b->major && a->minor == b->minor;
	default:
		return true;
	}
}

/* Everything below a directory that is on one side only. */
static int
whole(struct differ *d, enum larder_change change, const struct larder_id *tree, unsigned depth,
    struct larder_err *err)
{
	size_t len = d->path.len;
	struct tree_list list;
	int rc;

	if (depth > LOOK_DEPTH_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "directories inside each other beyond %d (LOOK_DEPTH_MAX)", LOOK_DEPTH_MAX);
	rc = tree_load(&list, d->reader, tree, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < list.count && rc == LARDER_OK; i++) {
		const struct tree_entry *e = &list.entries[i];

		rc = look_path_push(&d->path, e->name, e->name_len, err);
		if (rc < 0)
			break;
		rc = give(d, change, e->kind);
		if (rc == LARDER_OK && e->kind == TREE_DIR)
			rc = whole(d, change, &e->id, depth + 1, err);
		look_path_cut(&d->path, len);
	}
	tree_list_release(&list);
	return rc;
}

/* The entry and, when it is a directory, all in it. */
static int
lone(struct differ *d, enum larder_change change, const struct tree_entry *e, unsigned depth,
    struct larder_err *err)
{
	int rc = give(d, change, e->kind);

	if (rc == LARDER_OK && e->kind == TREE_DIR)
		rc = whole(d, change, &e->id, depth + 1, err);
	return rc;
}

static struct side
side_of(const struct look_dir *dir, size_t i)
{
	struct side side = { .e = dir->tree.entries[i] };

	if (side.e.kind == TREE_DIR)
		side.attrs = look_dir_attrs(dir, i);
	else
		side.row = look_dir_row(dir, i);
	return side;
}

static int
merge(struct differ *d, const struct look_dir *a, const struct look_dir *b, unsigned depth,
    struct larder_err *err)
{
	size_t i = 0, k = 0, len = d->path.len;
	int rc = LARDER_OK;

	while ((i < a->tree.count || k < b->tree.count) && rc == LARDER_OK) {
		const struct tree_entry *x = i < a->tree.count ? &a->tree.entries[i] : NULL;
		const struct tree_entry *y = k < b->tree.count ? &b->tree.entries[k] : NULL;
		const struct tree_entry *named;
		int order = x == NULL   ? 1
			    : y == NULL ? -1
					: tree_name_compare(
					      x->name, x->name_len, y->name, y->name_len);

		named = order <= 0 ? x : y;
		rc = look_path_push(&d->path, named->name, named->name_len, err);
		if (rc < 0)
			break;
		if (order < 0) {
			rc = lone(d, LARDER_REMOVED, x, depth, err);
		} else if (order > 0) {
			rc = lone(d, LARDER_ADDED, y, depth, err);
		} else {
			struct side left = side_of(a, i), right = side_of(b, k);

			rc = compare(d, &left, &right, depth, err);
		}
		look_path_cut(&d->path, len);
		i += order <= 0;
		k += order >= 0;
	}
	return rc;
}

static int
compare_dirs(struct differ *d, const struct side *a, const struct side *b, unsigned depth,
    struct larder_err *err)
{
	bool attrs = !d->contents && a->attrs != NULL && b->attrs != NULL;
	bool same = id_equal(&a->e.id, &b->e.id);
	struct look_dir left = { 0 }, right = { 0 };
	int rc;

	if (same && (!attrs || id_equal(a->attrs, b->attrs)))
		return LARDER_OK;
	if (depth > LOOK_DEPTH_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "directories inside each other beyond %d (LOOK_DEPTH_MAX)", LOOK_DEPTH_MAX);
	rc = look_dir_load(&left, d->reader, &a->e.id, attrs ? a->attrs : NULL, err);
	if (rc == LARDER_OK)
		rc = look_dir_load(&right, d->reader, &b->e.id, attrs ? b->attrs : NULL, err);
	if (rc == LARDER_OK && attrs && !same_row(&left.attrs.self, &right.attrs.self, same))
		rc = give(d, LARDER_ATTRS, TREE_DIR);
	if (rc == LARDER_OK)
		rc = merge(d, &left, &right, depth, err);
	look_dir_release(&left);
	look_dir_release(&right);
	return rc;
}

static int
compare(struct differ *d, const struct side *a, const struct side *b, unsigned depth,
    struct larder_err *err)
{
	int rc;

	if (a->e.kind == TREE_DIR && b->e.kind == TREE_DIR)
		return compare_dirs(d, a, b, depth + 1, err);
	if (same_content(&a->e, &b->e)) {
		bool same = a->e.executable == b->e.executable;

		if (same && a->row != NULL && b->row != NULL)
			same = same_row(a->row, b->row, true);
		return same || d->contents ? LARDER_OK : give(d, LARDER_ATTRS, b->e.kind);
	}
	rc = give(d, LARDER_CHANGED, b->e.kind);
	if (rc == LARDER_OK && a->e.kind == TREE_DIR)
		rc = whole(d, LARDER_REMOVED, &a->e.id, depth + 1, err);
	if (rc == LARDER_OK && b->e.kind == TREE_DIR)
		rc = whole(d, LARDER_ADDED, &b->e.id, depth + 1, err);
	return rc;
}

/* ---- the call ---- */

static struct side
side_of_target(const struct spec_target *t)
{
	struct side side = {
		.e = {
			.kind = t->kind,
			.executable = t->executable,
			.list = t->list,
			.size = t->kind == TREE_FILE ? t->bytes : 0,
			.id = t->id,
			.target = t->target,
			.target_len = t->target_len,
			.major = t->major,
			.minor = t->minor,
		},
		.row = t->has_row ? &t->row : NULL,
		.attrs = t->has_attrs ? &t->attrs : NULL,
	};

	return side;
}

int
diff_targets(struct fetch_reader *reader, const struct spec_target *a, const struct spec_target *b,
    bool contents, larder_diff_fn fn, void *context, struct larder_err *err)
{
	struct differ d = { .reader = reader, .contents = contents, .fn = fn, .context = context };
	struct side left = side_of_target(a), right = side_of_target(b);
	int rc;

	/* a file that is a version by itself has no executable bit to differ in */
	if (a->whole != b->whole || a->has_row != b->has_row)
		left.e.executable = right.e.executable;
	rc = compare(&d, &left, &right, 0, err);
	buf_release(&d.path);
	return rc;
}

int
larder_diff(struct larder_store *store, const char *spec_a, const char *spec_b, int64_t at_ns,
    larder_diff_fn fn, void *context, struct larder_err *err)
{
	struct spec_target a = { 0 }, b = { 0 };
	struct fetch_reader *reader = NULL;
	int rc;

	if (store == NULL || spec_a == NULL || spec_b == NULL || fn == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a store, two specs and a function are needed");
	rc = store_enter(store, err);
	if (rc == LARDER_OK)
		rc = fetch_reader_open(&reader, store, err);
	if (rc == LARDER_OK)
		rc = spec_resolve(&a, store, reader, spec_a, at_ns, err);
	if (rc == LARDER_OK)
		rc = spec_resolve(&b, store, reader, spec_b, at_ns, err);
	if (rc == LARDER_OK)
		rc = diff_targets(reader, &a, &b, false, fn, context, err);
	spec_release(&a);
	spec_release(&b);
	fetch_reader_close(reader);
	return rc;
}
