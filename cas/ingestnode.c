/*
 * A directory on its way into the store: the node, what was there before, and
 * its tree and attributes once all in it is known.
 *
 * A node is completed by whoever finishes the last thing in it, and that one
 * goes on with the parent; no worker waits for another.
 */
#include "cas/ingest.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"

enum { SPILL_BUF = 256 * 1024 };

/* ---- what was there before ---- */

/* The directory in the name's previous version, by way of its parents. NULL: none. */
static const struct tree_list *
before(struct ingest *in, unsigned worker, struct ingest_node *node)
{
	struct larder_id id;
	bool found = false;

	if (!in->has_before || node->lone_file)
		return NULL;
	pthread_mutex_lock(&node->before_lock);
	if (!node->before_asked) {
		node->before_asked = true;
		if (node->parent == NULL) {
			id = in->before_id;
			found = true;
		} else {
			const struct walk_entry *e = &node->parent->dir.entries[node->slot];
			const struct tree_list *up = before(in, worker, node->parent);
			const struct tree_entry *was =
			    up == NULL ? NULL : tree_list_find(up, e->name, e->name_len);

			if (was != NULL && was->kind == TREE_DIR) {
				id = was->id;
				found = true;
			}
		}
		/* a hint only: what cannot be read is no base */
		if (found && tree_load(&node->before, in->workers[worker].reader, &id, NULL) < 0)
			memset(&node->before, 0, sizeof node->before);
	}
	pthread_mutex_unlock(&node->before_lock);
	return &node->before;
}

/* The ids of the directory's own tree and attributes there. */
bool
ingest_before_tree(
    struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_id *tree)
{
	const struct tree_list *up;
	const struct tree_entry *was;
	const struct walk_entry *e;

	if (node->seen) {
		*tree = node->was.tree;
		return true;
	}
	if (!in->has_before)
		return false;
	if (node->parent == NULL) {
		*tree = in->before_id;
		return true;
	}
	e = &node->parent->dir.entries[node->slot];
	up = before(in, worker, node->parent);
	was = up == NULL ? NULL : tree_list_find(up, e->name, e->name_len);
	if (was == NULL || was->kind != TREE_DIR)
		return false;
	*tree = was->id;
	return true;
}

const struct larder_id *
ingest_base(struct ingest *in, unsigned worker, struct ingest_node *node, size_t slot)
{
	const struct walk_entry *e = &node->dir.entries[slot];
	const struct tree_entry *was = NULL;
	const struct tree_list *list;

	if (node->lone_file)
		return in->was_chunk ? &in->before_id : NULL;
	if (node->was_loaded)
		was = tree_list_find(&node->was_tree, e->name, e->name_len);
	if (was == NULL) {
		list = before(in, worker, node);
		was = list == NULL ? NULL : tree_list_find(list, e->name, e->name_len);
	}
	if (was == NULL || was->kind != TREE_FILE || was->list || was->size == 0)
		return NULL;
	return &was->id;
}

/* The remembered row's tree and attributes, for the entries that did not change. */
int
ingest_load_was(
    struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
{
	struct fetch_reader *reader = in->workers[worker].reader;
	int rc;

	if (node->was_loaded)
		return LARDER_OK;
	rc = tree_load(&node->was_tree, reader, &node->was.tree, err);
	if (rc == LARDER_OK)
		rc = attrs_load(&node->was_attrs, reader, &node->was.attrs, err);
	if (rc == LARDER_OK && node->was_tree.count != node->was_attrs.count)
		rc = err_set(err, LARDER_ERR_CORRUPT, "tree and attrs of different length");
	if (rc < 0) {
		tree_list_release(&node->was_tree);
		attrs_list_release(&node->was_attrs);
		return rc;
	}
	node->was_loaded = true;
	return LARDER_OK;
}

/* ---- nodes ---- */

void
ingest_node_drop(struct pool_task *task)
{
	struct ingest_node *node = (struct ingest_node *)task;

	for (size_t i = 0; node->files != NULL && i < node->dir.count; i++) {
		mem_free(node->files[i].target);
		if (node->files[i].xattrs != NULL) {
			walk_xattrs_release(node->files[i].xattrs);
			mem_free(node->files[i].xattrs);
		}
	}
	mem_free(node->files);
	walk_dir_release(&node->dir);
	walk_xattrs_release(&node->self_xattrs);
	remember_release(&node->was);
	tree_list_release(&node->was_tree);
	attrs_list_release(&node->was_attrs);
	tree_list_release(&node->before);
	pthread_mutex_destroy(&node->before_lock);
	pthread_mutex_lock(&node->in->nodes_lock);
	if (node->previous != NULL)
		node->previous->next = node->next;
	else
		node->in->nodes = node->next;
	if (node->next != NULL)
		node->next->previous = node->previous;
	pthread_mutex_unlock(&node->in->nodes_lock);
	mem_free(node->path);
	mem_free(node);
}

struct ingest_node *
ingest_node_new(struct ingest *in, struct ingest_node *parent, size_t slot, const char *name)
{
	struct ingest_node *node = mem_zalloc(sizeof *node);
	const char *above = parent != NULL ? parent->path : "";
	size_t above_len = strlen(above), name_len = strlen(name);

	if (node == NULL)
		return NULL;
	pthread_mutex_init(&node->before_lock, NULL);
	node->task.drop = ingest_node_drop;
	node->in = in;
	pthread_mutex_lock(&in->nodes_lock);
	node->next = in->nodes;
	if (node->next != NULL)
		node->next->previous = node;
	in->nodes = node;
	pthread_mutex_unlock(&in->nodes_lock);
	node->parent = parent;
	node->depth = parent != NULL ? parent->depth + 1 : 0;
	node->slot = slot;
	atomic_init(&node->pending, 1);
	node->path = mem_alloc(above_len + name_len + 2);
	if (node->path == NULL) {
		ingest_node_drop(&node->task);
		return NULL;
	}
	memcpy(node->path, above, above_len);
	if (above_len > 0)
		node->path[above_len++] = '/';
	memcpy(node->path + above_len, name, name_len + 1);
	return node;
}

/* ---- completing a directory ---- */

bool
ingest_is_executable(const struct walk_entry *e)
{
	return e->kind == TREE_FILE && (e->st.mode & 0100) != 0;
}

/* Two names of one inode share a number; 0: it has only one name. */
static uint64_t
link_number(const struct ingest *in, const struct walk_entry *e)
{
	uint64_t n;

	if (e->kind == TREE_DIR || e->st.nlink < 2)
		return 0;
	n = e->st.dev == in->rules.root_dev ? e->st.ino : walk_mix(e->st.dev, e->st.ino);
	return n ? n : 1;
}

static void
fill_tree_entry(struct tree_entry *out, const struct walk_entry *e, const struct ingest_file *file)
{
	memset(out, 0, sizeof *out);
	out->name = e->name;
	out->name_len = e->name_len;
	out->kind = (enum tree_kind)e->kind;
	out->executable = file->executable;
	out->list = file->list;
	out->size = e->kind == TREE_FILE ? file->size : 0;
	out->id = file->id;
	if (e->kind == TREE_SYMLINK && file->target != NULL) {
		out->target = file->target;
		out->target_len = strlen(file->target);
	}
	if (e->kind == TREE_CHAR || e->kind == TREE_BLOCK) {
		out->major = major(e->st.rdev);
		out->minor = minor(e->st.rdev);
	}
}

static void
fill_row(struct ingest *in, struct attrs_row *row, const struct walk_stat *st,
    const struct walk_xattrs *xattrs)
{
	memset(row, 0, sizeof *row);
	row->mode = st->mode & 07777;
	row->uid = st->uid;
	row->gid = st->gid;
	row->user = walk_owner_name(&in->owners, st->uid, false);
	row->user_len = strlen(row->user);
	row->group = walk_owner_name(&in->owners, st->gid, true);
	row->group_len = strlen(row->group);
	row->mtime_s = st->mtime_s;
	row->mtime_ns = st->mtime_ns;
	if (xattrs != NULL) {
		row->xattrs = xattrs->list;
		row->xattr_count = xattrs->count;
	}
}

/* Long values of extended attributes are chunks of their own. */
static int
store_xattrs(struct ingest *in, unsigned worker, struct walk_xattrs *xattrs, struct larder_err *err)
{
	int rc = LARDER_OK;

	for (size_t i = 0; i < xattrs->count && rc == LARDER_OK; i++) {
		struct attrs_xattr *x = &xattrs->list[i];

		if (x->value == NULL || x->value_len <= ATTRS_XATTR_INLINE_MAX)
			continue;
		rc = ingest_object(
		    in, worker, &x->id, PACK_TYPE_DATA, x->value, x->value_len, NULL, err);
		x->value = NULL;
	}
	return rc;
}

/* The entries that stay, as the two parallel arrays that are encoded. Returns how many. */
static size_t
fill_arrays(
    struct ingest *in, struct ingest_node *node, struct tree_entry *entries, struct attrs_row *rows)
{
	size_t count = 0;

	for (size_t i = 0; i < node->dir.count; i++) {
		const struct walk_entry *e = &node->dir.entries[i];
		const struct ingest_file *file = &node->files[i];

		if (file->left_out)
			continue;
		fill_tree_entry(&entries[count], e, file);
		if (file->known_attrs != NULL) {
			rows[count] = *file->known_attrs;
		} else if (e->kind == TREE_DIR) {
			memset(&rows[count], 0, sizeof rows[count]);
			rows[count].is_dir = true;
			rows[count].child = file->attrs;
		} else {
			fill_row(in, &rows[count], &e->st, file->xattrs);
			rows[count].sparse = file->sparse;
			rows[count].link = link_number(in, e);
		}
		count++;
	}
	return count;
}

/* Parts and, when there are several, the nodes that list them. */
static int
encode_parts(struct ingest *in, unsigned worker, struct ingest_node *node,
    const struct tree_entry *entries, const struct attrs_row *rows, size_t count,
    const struct attrs_row *self, struct larder_err *err)
{
	struct buf *bytes = &in->workers[worker].bytes;
	size_t parts = 0, at = 0, end;
	struct tree_part *tree_parts = NULL;
	struct larder_id *attrs_parts = NULL, base_tree;
	bool has_base = ingest_before_tree(in, worker, node, &base_tree);
	int rc = LARDER_OK;

	do {
		end = tree_part_end(entries, at, count);
		parts++;
		at = end;
	} while (at < count);
	tree_parts = mem_zarray(parts, sizeof *tree_parts);
	attrs_parts = mem_zarray(parts, sizeof *attrs_parts);
	if (tree_parts == NULL || attrs_parts == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	at = 0;
	for (size_t i = 0; i < parts && rc == LARDER_OK; i++) {
		end = tree_part_end(entries, at, count);
		tree_parts[i].first = count > 0 ? entries[at].name : "";
		tree_parts[i].first_len = count > 0 ? entries[at].name_len : 0;
		buf_clear(bytes);
		rc = tree_encode(bytes, entries + at, end - at);
		if (rc < 0) {
			rc = buf_err(bytes, rc, err);
			break;
		}
		rc = ingest_object(in, worker, &tree_parts[i].id, PACK_TYPE_TREE, bytes->data,
		    bytes->len, has_base && parts == 1 ? &base_tree : NULL, err);
		if (rc < 0)
			break;
		buf_clear(bytes);
		rc = attrs_encode(bytes, i == 0 ? self : NULL, rows + at, end - at);
		if (rc < 0) {
			rc = buf_err(bytes, rc, err);
			break;
		}
		rc = ingest_object(in, worker, &attrs_parts[i], PACK_TYPE_ATTRS, bytes->data,
		    bytes->len, node->seen && parts == 1 ? &node->was.attrs : NULL, err);
		at = end;
	}
	node->tree = tree_parts[0].id;
	node->attrs = attrs_parts[0];
	if (rc == LARDER_OK && parts > 1) {
		buf_clear(bytes);
		rc = tree_node_encode(bytes, tree_parts, parts);
		rc = rc < 0 ? buf_err(bytes, rc, err)
			    : ingest_object(in, worker, &node->tree, PACK_TYPE_TREE, bytes->data,
				  bytes->len, NULL, err);
		if (rc == LARDER_OK) {
			buf_clear(bytes);
			rc = attrs_node_encode(bytes, attrs_parts, parts);
			rc = rc < 0 ? buf_err(bytes, rc, err)
				    : ingest_object(in, worker, &node->attrs, PACK_TYPE_ATTRS,
					  bytes->data, bytes->len, NULL, err);
		}
	}
out:
	mem_free(tree_parts);
	mem_free(attrs_parts);
	return rc;
}

/* A clean directory with changed subdirectories: its files are what they were. */
static int
take_over_files(
    struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
{
	int rc = ingest_load_was(in, worker, node, err);

	for (size_t i = 0; i < node->dir.count && rc == LARDER_OK; i++) {
		const struct walk_entry *e = &node->dir.entries[i];
		const struct tree_entry *was;

		if (e->kind == TREE_DIR)
			continue;
		was = tree_list_find(&node->was_tree, e->name, e->name_len);
		if (was == NULL)
			return err_set(err, LARDER_ERR_CORRUPT,
			    "the remembered tree of %s lacks %s", node->path, e->name);
		node->files[i].id = was->id;
		node->files[i].size = was->size;
		node->files[i].list = was->list;
		node->files[i].executable = was->executable;
		node->files[i].known_attrs = &node->was_attrs.rows[was - node->was_tree.entries];
		if (was->kind == TREE_SYMLINK && node->files[i].target == NULL) {
			node->files[i].target = mem_alloc(was->target_len + 1);
			if (node->files[i].target == NULL)
				return err_nomem(err);
			memcpy(node->files[i].target, was->target, was->target_len);
			node->files[i].target[was->target_len] = 0;
		}
	}
	return rc;
}

static void
children_hash(uint8_t out[16], const struct ingest_node *node)
{
	struct larder_id digest;
	struct sha256 stream;

	sha256_init(&stream);
	for (size_t i = 0; i < node->dir.count; i++) {
		if (node->dir.entries[i].kind != TREE_DIR || node->files[i].left_out)
			continue;
		sha256_update(&stream, node->files[i].id.bytes, LARDER_ID_LEN);
		sha256_update(&stream, node->files[i].attrs.bytes, LARDER_ID_LEN);
	}
	sha256_final(&stream, &digest);
	memcpy(out, digest.bytes, 16);
}

int
ingest_spill_flush(struct ingest *in, struct larder_err *err)
{
	int rc = LARDER_OK;

	if (in->spill.len > 0)
		rc = file_pwrite_all(in->spill_fd, in->spill.data, in->spill.len, in->spill_len,
		    "tmp/ (remembered rows)", err);
	in->spill_len += in->spill.len;
	buf_clear(&in->spill);
	return rc;
}

/* Keep the row for the last commit: length, key, bytes. */
static int
remember(struct ingest *in, unsigned worker, const uint8_t key[REMEMBER_KEY_LEN],
    const struct remember *row, struct larder_err *err)
{
	struct buf *bytes = &in->workers[worker].row;
	int rc;

	buf_clear(bytes);
	if (in->options->dry_run || remember_encode(bytes, row) < 0)
		return LARDER_OK;
	pthread_mutex_lock(&in->spill_lock);
	rc = buf_append_le32(&in->spill, (uint32_t)bytes->len);
	if (rc == LARDER_OK)
		rc = buf_append(&in->spill, key, REMEMBER_KEY_LEN);
	if (rc == LARDER_OK)
		rc = buf_append(&in->spill, bytes->data, bytes->len);
	rc = rc < 0                       ? buf_err(&in->spill, rc, err)
	     : in->spill.len >= SPILL_BUF ? ingest_spill_flush(in, err)
					  : LARDER_OK;
	pthread_mutex_unlock(&in->spill_lock);
	return rc;
}

static int
remember_dir(struct ingest *in, unsigned worker, struct ingest_node *node,
    const uint8_t children[16], struct larder_err *err)
{
	struct remember row = { .tree = node->tree,
		.attrs = node->attrs,
		.names = node->names,
		.self = node->self_print,
		.files = atomic_load(&node->files_below),
		.bytes = atomic_load(&node->bytes_below) };
	int rc;

	memcpy(row.children, children, 16);
	row.prints = mem_array(node->dir.count ? node->dir.count : 1, sizeof *row.prints);
	if (row.prints == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < node->dir.count; i++)
		if (node->dir.entries[i].kind != TREE_DIR)
			row.prints[row.print_count++] =
			    node->files[i].left_out ? 0 : node->files[i].print;
	rc = remember(in, worker, node->key, &row, err);
	mem_free(row.prints);
	return rc;
}

static int
encode_node(struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
{
	size_t room = node->dir.count ? node->dir.count : 1;
	struct tree_entry *entries = mem_array(room, sizeof *entries);
	struct attrs_row *rows = mem_array(room, sizeof *rows);
	struct attrs_row self;
	size_t count;
	int rc = LARDER_OK;

	if (entries == NULL || rows == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	for (size_t i = 0; i < node->dir.count && rc == LARDER_OK; i++)
		if (node->files[i].xattrs != NULL)
			rc = store_xattrs(in, worker, node->files[i].xattrs, err);
	if (rc == LARDER_OK)
		rc = store_xattrs(in, worker, &node->self_xattrs, err);
	if (rc < 0)
		goto out;
	count = fill_arrays(in, node, entries, rows);
	if (node->clean)
		self = node->was_attrs.self;
	else
		fill_row(in, &self, &node->self, &node->self_xattrs);
	rc = encode_parts(in, worker, node, entries, rows, count, &self, err);
out:
	mem_free(entries);
	mem_free(rows);
	return rc;
}

/* All in this directory is known: its tree and attributes. */
static int
complete_dir(struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
{
	uint64_t files = 0, bytes = 0;
	uint8_t children[16];
	int rc;

	children_hash(children, node);
	if (node->clean && memcmp(children, node->was.children, 16) == 0) {
		node->tree = node->was.tree;
		node->attrs = node->was.attrs;
		atomic_store(&node->files_below, node->was.files);
		atomic_store(&node->bytes_below, node->was.bytes);
		return LARDER_OK;
	}
	if (node->clean) {
		rc = take_over_files(in, worker, node, err);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < node->dir.count; i++)
		if (node->dir.entries[i].kind != TREE_DIR && !node->files[i].left_out) {
			files++;
			bytes += node->files[i].size;
		}
	atomic_fetch_add(&node->files_below, files);
	atomic_fetch_add(&node->bytes_below, bytes);
	rc = encode_node(in, worker, node, err);
	if (rc == LARDER_OK)
		rc = remember_dir(in, worker, node, children, err);
	return rc;
}

static int
complete_top(struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
{
	struct ingest_file *file = node->files;
	struct remember row = { .file = true };

	in->done = !node->left_out;
	in->is_dir = !node->lone_file;
	if (!node->lone_file) {
		in->id = node->tree;
		in->attrs = node->attrs;
		in->total_files = atomic_load(&node->files_below);
		in->total_bytes = atomic_load(&node->bytes_below);
		return LARDER_OK;
	}
	if (file->size == 0)
		sha256(&file->id, "", 0);
	in->done = !file->left_out;
	in->id = file->id;
	in->list = file->list;
	in->total_files = 1;
	in->total_bytes = file->size;
	if (!file->list) {
		in->has_sha256 = true;
		in->sha256 = file->id;
	}
	row.self = file->print;
	row.id = file->id;
	row.list = file->list;
	row.size = file->size;
	if (file->print == 0 || node->clean)
		return LARDER_OK;
	return remember(in, worker, node->key, &row, err);
}

int
ingest_node_done(
    struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
{
	while (node != NULL && atomic_fetch_sub(&node->pending, 1) == 1) {
		struct ingest_node *parent = node->parent;
		int rc = LARDER_OK;

		if (!node->left_out && !node->lone_file)
			rc = complete_dir(in, worker, node, err);
		if (rc == LARDER_OK && parent == NULL)
			rc = complete_top(in, worker, node, err);
		if (rc == LARDER_OK && parent != NULL) {
			struct ingest_file *slot = &parent->files[node->slot];

			slot->id = node->tree;
			slot->attrs = node->attrs;
			slot->left_out = node->left_out;
			atomic_fetch_add(&parent->files_below, atomic_load(&node->files_below));
			atomic_fetch_add(&parent->bytes_below, atomic_load(&node->bytes_below));
		}
		ingest_node_drop(&node->task);
		if (rc < 0)
			return rc;
		node = parent;
	}
	return LARDER_OK;
}
