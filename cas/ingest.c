/*
 * Put: a file, a directory or a stream becomes the next version of a name.
 *
 * 1. Directories are looked at depth first, by any worker; a directory is
 *    complete when all in it is, and whoever completes it encodes its tree and
 *    attributes and goes on with its parent.
 * 2. A file whose stat agrees with what was remembered is not read; a directory
 *    in which nothing changed is not even encoded.
 * 3. What is remembered is written by the commit that makes everything durable,
 *    never before: a row therefore never refers to what is not in the store.
 * 4. The version stands in the last journal entry, after all packs it needs.
 *
 * Files: smallfile.c, bigfile.c. Which chunks share a segment: group.c.
 */
#include "cas/ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/base/random.h"
#include "cas/object/entry.h"

enum {
	FRESH_MAX = 256 * 1024, /* ids a generation; 40 bytes each and slack */
	SPILL_BUF = 256 * 1024,
	SPILL_ROWS = 20000,     /* remembered rows in one index transaction */
	PROGRESS_NS = 100 * 1000 * 1000,
	IN_FLIGHT_MAX = 48 * 1024 * 1024,
};

/* ---- what the user hears ---- */

void
ingest_path(char *out, size_t room, const struct ingest *in, const struct ingest_node *node,
    const char *name)
{
	const char *below = node != NULL && !node->lone_file ? node->path : "";
	bool named = name != NULL && name[0] != 0 && (node == NULL || !node->lone_file);

	snprintf(out, room, "%s%s%s%s%s", in->top, below[0] ? "/" : "", below, named ? "/" : "",
	    named ? name : "");
}

void
ingest_item(struct ingest *in, const struct ingest_node *node, const char *name,
    enum larder_status status, const char *message)
{
	char path[2 * PATH_LEN_MAX];
	struct larder_item item = { .path = path, .status = status, .message = message };

	atomic_fetch_add(&in->skipped, 1);
	if (in->options->watch.on_item == NULL)
		return;
	ingest_path(path, sizeof path, in, node, name);
	pthread_mutex_lock(&in->watch_lock);
	in->options->watch.on_item(in->options->watch.context, &item);
	pthread_mutex_unlock(&in->watch_lock);
}

void
ingest_progress(struct ingest *in)
{
	const struct larder_watch *watch = &in->options->watch;
	struct larder_progress progress = { 0 };
	int64_t now;

	if (watch->on_progress == NULL || pthread_mutex_trylock(&in->watch_lock) != 0)
		return;
	now = clock_mono_ns();
	if (now >= in->progress_due_ns) {
		in->progress_due_ns = now + PROGRESS_NS;
		progress.files_done = atomic_load(&in->files);
		progress.bytes_done = atomic_load(&in->bytes);
		progress.bytes_new = atomic_load(&in->new_bytes);
		progress.bytes_known = atomic_load(&in->known_bytes);
		watch->on_progress(watch->context, &progress);
	}
	pthread_mutex_unlock(&in->watch_lock);
}

static void
bad_entry(void *context, const char *name, int sys_errno)
{
	void **both = context;

	ingest_item(both[0], both[1], name, LARDER_ERR_IO, strerror(sys_errno));
}

/* ---- chunks and objects ---- */

int
ingest_admit(struct ingest *in, unsigned worker, const struct larder_id *id,
    struct larder_err *err)
{
	struct index_place place;
	bool known;
	int rc;

	pthread_mutex_lock(&in->fresh_lock);
	known = idset_find(&in->fresh[0], id) != NULL || idset_find(&in->fresh[1], id) != NULL;
	pthread_mutex_unlock(&in->fresh_lock);
	if (known)
		return 0;
	rc = index_chunk_get(&place, in->workers[worker].read, id, err);
	if (rc != LARDER_ERR_NOT_FOUND)
		return rc; /* OK = 0: known */

	/* Two workers may have come this far with the same id: the first one has it. */
	pthread_mutex_lock(&in->fresh_lock);
	if (in->fresh[0].count >= FRESH_MAX) {
		struct idset older = in->fresh[1];

		/* what leaves here was committed long ago: a quarter of a million chunks came after it */
		in->fresh[1] = in->fresh[0];
		in->fresh[0] = older;
		idset_clear(&in->fresh[0]);
	}
	rc = idset_find(&in->fresh[1], id) != NULL ? 0 : idset_add(&in->fresh[0], id, 0);
	pthread_mutex_unlock(&in->fresh_lock);
	return rc < 0 ? err_nomem(err) : rc;
}

int
ingest_object(struct ingest *in, unsigned worker, struct larder_id *id, enum pack_type type,
    const void *data, size_t len, const struct larder_id *base, struct larder_err *err)
{
	struct group_chunk chunk = {
		.type = type, .id = id, .data = data, .len = (uint32_t)len, .name = "", .base = base
	};
	int rc;

	sha256(id, data, len);
	rc = ingest_admit(in, worker, id, err);
	if (rc == 1)
		rc = group_add(in->group, &chunk, err);
	return rc < 0 ? rc : LARDER_OK;
}

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
			const struct tree_entry *was
			    = up == NULL ? NULL : tree_list_find(up, e->name, e->name_len);

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
static bool
before_ids(struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_id *tree)
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
static int
load_was(struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
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

static void
node_drop(struct pool_task *task)
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

static struct ingest_node *
node_new(struct ingest *in, struct ingest_node *parent, size_t slot, const char *name)
{
	struct ingest_node *node = mem_zalloc(sizeof *node);
	const char *above = parent != NULL ? parent->path : "";
	size_t above_len = strlen(above), name_len = strlen(name);

	if (node == NULL)
		return NULL;
	pthread_mutex_init(&node->before_lock, NULL);
	node->task.drop = node_drop;
	node->in = in;
	pthread_mutex_lock(&in->nodes_lock);
	node->next = in->nodes;
	if (node->next != NULL)
		node->next->previous = node;
	in->nodes = node;
	pthread_mutex_unlock(&in->nodes_lock);
	node->parent = parent;
	node->slot = slot;
	atomic_init(&node->pending, 1);
	node->path = mem_alloc(above_len + name_len + 2);
	if (node->path == NULL) {
		node_drop(&node->task);
		return NULL;
	}
	memcpy(node->path, above, above_len);
	if (above_len > 0)
		node->path[above_len++] = '/';
	memcpy(node->path + above_len, name, name_len + 1);
	return node;
}

/* ---- completing a directory ---- */

static bool
is_executable(const struct walk_entry *e)
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
store_xattrs(struct ingest *in, unsigned worker, struct walk_xattrs *xattrs,
    struct larder_err *err)
{
	int rc = LARDER_OK;

	for (size_t i = 0; i < xattrs->count && rc == LARDER_OK; i++) {
		struct attrs_xattr *x = &xattrs->list[i];

		if (x->value == NULL || x->value_len <= ATTRS_XATTR_INLINE_MAX)
			continue;
		rc = ingest_object(in, worker, &x->id, PACK_TYPE_DATA, x->value, x->value_len, NULL,
		    err);
		x->value = NULL;
	}
	return rc;
}

/* The entries that stay, as the two parallel arrays that are encoded. Returns how many. */
static size_t
fill_arrays(struct ingest *in, struct ingest_node *node, struct tree_entry *entries,
    struct attrs_row *rows)
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
	bool has_base = before_ids(in, worker, node, &base_tree);
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
take_over_files(struct ingest *in, unsigned worker, struct ingest_node *node,
    struct larder_err *err)
{
	int rc = load_was(in, worker, node, err);

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
		node->files[i].known_attrs
		    = &node->was_attrs.rows[was - node->was_tree.entries];
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

static int
spill_flush(struct ingest *in, struct larder_err *err)
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
	rc = rc < 0 ? buf_err(&in->spill, rc, err)
	            : in->spill.len >= SPILL_BUF ? spill_flush(in, err) : LARDER_OK;
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
			row.prints[row.print_count++]
			    = node->files[i].left_out ? 0 : node->files[i].print;
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
ingest_node_done(struct ingest *in, unsigned worker, struct ingest_node *node,
    struct larder_err *err)
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
		node_drop(&node->task);
		if (rc < 0)
			return rc;
		node = parent;
	}
	return LARDER_OK;
}

/* ---- looking at a directory ---- */

/* Open below the top without following a symlink anywhere on the way. */
static int
open_below(int top_fd, const char *path, int flags)
{
	static atomic_bool have_openat2 = true;
	struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	int fd;

	if (atomic_load_explicit(&have_openat2, memory_order_relaxed)) {
		fd = (int)syscall(SYS_openat2, top_fd, path, &how, sizeof how);
		if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
			return fd;
		if (errno == ENOSYS)
			atomic_store(&have_openat2, false);
	}
	return openat(top_fd, path, flags | O_CLOEXEC | O_NOFOLLOW);
}

void
ingest_file_read(struct ingest *in, struct ingest_node *node, size_t slot,
    const struct walk_stat *was, int fd, int64_t looked_ns, uint64_t read_len)
{
	struct ingest_file *file = &node->files[slot];
	struct stat st;

	file->sparse = was->blocks * 512 < read_len;
	file->print = walk_fingerprint(was, looked_ns);
	if (fstat(fd, &st) < 0)
		return;
	if (read_len == was->size && (uint64_t)st.st_size == was->size
	    && (int64_t)st.st_mtim.tv_sec == was->mtime_s
	    && (uint32_t)st.st_mtim.tv_nsec == was->mtime_ns)
		return;
	file->print = 0;
	ingest_item(in, node, node->dir.entries[slot].name, LARDER_ERR_PARTIAL,
	    "changed while it was read; stored as read");
}

static struct walk_xattrs *
entry_xattrs(struct ingest *in, struct ingest_node *node, size_t slot, int fd, int dir_fd, int *rc,
    struct larder_err *err)
{
	struct walk_xattrs found, *kept;

	*rc = walk_xattrs_read(&found, fd, dir_fd, node->dir.entries[slot].name, err);
	if (*rc < 0)
		return NULL;
	if (*rc == 1)
		ingest_item(in, node, node->dir.entries[slot].name, LARDER_ERR_PARTIAL,
		    "some of its extended attributes could not be read");
	*rc = LARDER_OK;
	if (found.count == 0) {
		walk_xattrs_release(&found);
		return NULL;
	}
	kept = mem_alloc(sizeof *kept);
	if (kept == NULL) {
		walk_xattrs_release(&found);
		*rc = err_nomem(err);
		return NULL;
	}
	*kept = found;
	return kept;
}

/* A regular file that has to be read. */
static int
take_file(struct ingest *in, unsigned worker, struct ingest_node *node, size_t slot, int dir_fd,
    int64_t looked_ns, struct larder_err *err)
{
	struct walk_entry *e = &node->dir.entries[slot];
	struct ingest_file *file = &node->files[slot];
	struct stat st;
	int fd, rc;

	fd = openat(dir_fd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		file->left_out = true;
		if (errno != ENOENT)
			ingest_item(in, node, e->name, LARDER_ERR_IO, strerror(errno));
		if (fd >= 0)
			close(fd);
		return LARDER_OK;
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		file->left_out = true;
		ingest_item(in, node, e->name, LARDER_ERR_PARTIAL, "changed its kind while it was looked at");
		return LARDER_OK;
	}
	walk_stat_from(&e->st, &st);
	e->stat_known = true;
	file->executable = is_executable(e);
	file->xattrs = entry_xattrs(in, node, slot, fd, dir_fd, &rc, err);
	if (rc == LARDER_OK && e->st.size > SMALL_FILE_MAX)
		return big_start(in, node, slot, fd, looked_ns, err);
	if (rc == LARDER_OK)
		rc = small_read(in, worker, node, slot, fd, looked_ns, err);
	if (rc == 1) { /* it grew meanwhile */
		if (fstat(fd, &st) == 0)
			walk_stat_from(&e->st, &st);
		return big_start(in, node, slot, fd, looked_ns, err);
	}
	close(fd);
	return rc;
}

static int
take_symlink(struct ingest *in, struct ingest_node *node, size_t slot, int dir_fd,
    struct larder_err *err)
{
	struct walk_entry *e = &node->dir.entries[slot];
	char target[PATH_LEN_MAX + 1];
	ssize_t len = readlinkat(dir_fd, e->name, target, sizeof target);

	if (len <= 0 || len > PATH_LEN_MAX) {
		node->files[slot].left_out = true;
		ingest_item(in, node, e->name, len > 0 ? LARDER_ERR_LIMIT : LARDER_ERR_IO,
		    len > 0 ? "its target is too long" : strerror(errno));
		return LARDER_OK;
	}
	node->files[slot].target = mem_alloc((size_t)len + 1);
	if (node->files[slot].target == NULL)
		return err_nomem(err);
	memcpy(node->files[slot].target, target, (size_t)len);
	node->files[slot].target[len] = 0;
	return LARDER_OK;
}

static int look_task(void *context, void *arg, unsigned worker, struct larder_err *err);

static int
take_dir(struct ingest *in, struct ingest_node *node, size_t slot, struct larder_err *err)
{
	struct walk_entry *e = &node->dir.entries[slot];
	struct ingest_node *child;

	if (strlen(node->path) + e->name_len + 2 > PATH_LEN_MAX) {
		node->files[slot].left_out = true;
		ingest_item(in, node, e->name, LARDER_ERR_LIMIT, "its path is longer than 4,096 bytes");
		return LARDER_OK;
	}
	if (e->st.dev == in->rules.store_dev && e->st.ino == in->rules.store_ino) {
		node->files[slot].left_out = true;
		ingest_item(in, node, e->name, LARDER_ERR_PARTIAL, "is the store itself; left out");
		return LARDER_OK;
	}
	child = node_new(in, node, slot, e->name);
	if (child == NULL)
		return err_nomem(err);
	atomic_fetch_add(&node->pending, 1);
	if (pool_submit(in->pool, RANK_DIR, look_task, child) < 0) {
		node_drop(&child->task);
		return err_nomem(err);
	}
	return LARDER_OK;
}

/* Fingerprints of the entries, and whether all of them are the remembered ones. */
static void
compare_with_seen(struct ingest_node *node, int64_t looked_ns)
{
	size_t print = 0;
	bool clean = node->seen && node->names == node->was.names && node->self_print != 0
	    && node->self_print == node->was.self;

	for (size_t i = 0; i < node->dir.count; i++) {
		const struct walk_entry *e = &node->dir.entries[i];

		if (e->kind == TREE_DIR)
			continue;
		if (e->stat_known)
			node->files[i].print = walk_fingerprint(&e->st, looked_ns);
		if (clean)
			clean = print < node->was.print_count && node->files[i].print != 0
			    && node->files[i].print == node->was.prints[print];
		print++;
	}
	node->clean = clean && print == node->was.print_count;
}

/*
 * The remembered entry of this name, when it is unchanged. Prints stand in the
 * order of the remembered names, directories left out; `at` walks along.
 */
static bool
is_unchanged(struct ingest_node *node, size_t slot, size_t *at, size_t *print)
{
	const struct walk_entry *e = &node->dir.entries[slot];
	struct ingest_file *file = &node->files[slot];

	for (; *at < node->was_tree.count; (*at)++) {
		const struct tree_entry *was = &node->was_tree.entries[*at];
		int order = tree_name_compare(was->name, was->name_len, e->name, e->name_len);

		if (order > 0)
			return false;
		if (order == 0) {
			if (was->kind != (enum tree_kind)e->kind || *print >= node->was.print_count
			    || file->print == 0 || file->print != node->was.prints[*print])
				return false;
			file->id = was->id;
			file->size = was->size;
			file->list = was->list;
			file->executable = was->executable;
			file->known_attrs = &node->was_attrs.rows[*at];
			return true;
		}
		if (was->kind != TREE_DIR)
			(*print)++;
	}
	return false;
}

/* Entries of an opened directory, each taken as what it is. */
static int
take_entries(struct ingest *in, unsigned worker, struct ingest_node *node, int fd,
    int64_t looked_ns, struct larder_err *err)
{
	size_t at = 0, print = 0;
	int rc = LARDER_OK;

	for (size_t i = 0; i < node->dir.count && rc == LARDER_OK; i++) {
		struct walk_entry *e = &node->dir.entries[i];
		bool unchanged;

		if (e->kind == TREE_DIR)
			continue; /* below, in reverse */
		if (node->clean)
			continue;
		unchanged = node->was_loaded && is_unchanged(node, i, &at, &print);
		if (e->kind == TREE_SYMLINK)
			rc = take_symlink(in, node, i, fd, err);
		else if (unchanged)
			atomic_fetch_add_explicit(&in->files, 1, memory_order_relaxed);
		else if (e->kind == TREE_FILE)
			rc = take_file(in, worker, node, i, fd, looked_ns, err);
		if (rc == LARDER_OK && !unchanged && e->kind != TREE_FILE)
			node->files[i].xattrs = entry_xattrs(in, node, i, -1, fd, &rc, err);
	}
	/* the last one submitted is the first one run: so they come in the order of their names */
	for (size_t i = node->dir.count; i-- > 0 && rc == LARDER_OK;)
		if (node->dir.entries[i].kind == TREE_DIR)
			rc = take_dir(in, node, i, err);
	return rc;
}

/* The row remembered for this directory, if what it refers to is there. */
static int
recall(struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
{
	struct ingest_worker *w = &in->workers[worker];
	struct index_place place;
	int rc;

	remember_key(node->key, in->top, node->path, &in->rules_id);
	rc = index_seen_get(&w->row, w->read, node->key, err);
	if (rc == LARDER_ERR_NOT_FOUND)
		return LARDER_OK;
	if (rc < 0)
		return rc;
	rc = remember_decode(&node->was, w->row.data, w->row.len);
	if (rc == LARDER_ERR_NOMEM)
		return err_nomem(err);
	if (rc < 0 || node->was.file != node->lone_file) {
		remember_release(&node->was);
		return LARDER_OK;
	}
	if (node->lone_file) {
		node->seen = node->was.list || node->was.size > 0
		    ? index_chunk_get(&place, w->read, &node->was.id, err) == LARDER_OK
		    : true;
		return LARDER_OK;
	}
	node->seen = index_chunk_get(&place, w->read, &node->was.tree, err) == LARDER_OK
	    && index_chunk_get(&place, w->read, &node->was.attrs, err) == LARDER_OK;
	return LARDER_OK;
}

static int
look(struct ingest *in, unsigned worker, struct ingest_node *node, int fd, struct larder_err *err)
{
	void *both[2] = { in, node };
	int64_t looked_ns = clock_now_ns();
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "stat %s", node->path);
	walk_stat_from(&node->self, &st);
	rc = recall(in, worker, node, err);
	if (rc < 0)
		return rc;
	if (node->parent != NULL && in->rules.one_file_system && node->self.dev != in->rules.root_dev) {
		node->seen = false; /* another file system: an empty directory stands for it */
	} else {
		rc = walk_dir_read(&node->dir, fd, node->path, &in->rules, node->seen, bad_entry,
		    both, err);
		if (rc < 0)
			return rc;
	}
	node->files = mem_zarray(node->dir.count ? node->dir.count : 1, sizeof *node->files);
	if (node->files == NULL)
		return err_nomem(err);
	node->self_print = walk_fingerprint(&node->self, looked_ns);
	for (size_t i = 0; i < node->dir.count; i++) {
		const struct walk_entry *e = &node->dir.entries[i];

		for (uint32_t n = 0; n < e->name_len; n += 8) {
			uint64_t word = 0;

			memcpy(&word, e->name + n, e->name_len - n < 8 ? e->name_len - n : 8);
			node->names = walk_mix(node->names, word);
		}
		node->names = walk_mix(node->names, (uint64_t)e->name_len << 8 | e->kind);
	}
	compare_with_seen(node, looked_ns);
	if (node->seen && !node->clean && load_was(in, worker, node, NULL) < 0)
		node->was_loaded = false; /* then everything is read again */
	if (!node->clean) {
		rc = walk_xattrs_read(&node->self_xattrs, fd, -1, "", err);
		if (rc < 0)
			return rc;
	} else {
		atomic_fetch_add_explicit(&in->files, node->was.print_count, memory_order_relaxed);
	}
	return take_entries(in, worker, node, fd, looked_ns, err);
}

static int
look_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct ingest *in = context;
	struct ingest_node *node = arg;
	int fd, rc = LARDER_OK;

	fd = open_below(in->top_fd, node->path[0] ? node->path : ".", O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		node->left_out = true;
		if (errno != ENOENT)
			ingest_item(in, node, "", LARDER_ERR_IO, strerror(errno));
	} else {
		rc = look(in, worker, node, fd, err);
		close(fd);
	}
	ingest_progress(in);
	if (rc == LARDER_OK)
		rc = ingest_node_done(in, worker, node, err);
	return rc;
}

/* ---- a single file ---- */

static int
lone_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct ingest *in = context;
	struct ingest_node *node = arg;
	struct walk_entry *e = &node->dir.entries[0];
	int64_t looked_ns = clock_now_ns();
	struct stat st;
	int rc;

	if (fstat(in->top_fd, &st) < 0)
		return err_sys(err, "stat %s", in->top);
	walk_stat_from(&e->st, &st);
	node->files[0].print = walk_fingerprint(&e->st, looked_ns);
	rc = recall(in, worker, node, err);
	if (rc < 0)
		return rc;
	if (node->seen && node->files[0].print != 0 && node->files[0].print == node->was.self
	    && !in->options->sha256) {
		node->clean = true;
		node->files[0].id = node->was.id;
		node->files[0].list = node->was.list;
		node->files[0].size = node->was.size;
		rc = LARDER_OK;
	} else {
		int fd = fcntl(in->top_fd, F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return err_sys(err, "open %s", in->top);
		node->files[0].print = 0;
		rc = 1;
		if (e->st.size <= SMALL_FILE_MAX)
			rc = small_read(in, worker, node, 0, fd, looked_ns, err);
		if (rc == 1) {
			rc = big_start(in, node, 0, fd, looked_ns, err);
			fd = -1;
		}
		if (fd >= 0)
			close(fd);
		if (rc < 0)
			return rc;
	}
	return ingest_node_done(in, worker, node, err);
}

static struct ingest_node *
lone_node(struct ingest *in, const char *name)
{
	struct ingest_node *node = node_new(in, NULL, 0, "");

	if (node == NULL)
		return NULL;
	node->lone_file = true;
	node->dir.entries = mem_zarray(1, sizeof *node->dir.entries);
	node->files = mem_zarray(1, sizeof *node->files);
	if (node->dir.entries == NULL || node->files == NULL
	    || buf_append(&node->dir.names, name, strlen(name) + 1) < 0) {
		node_drop(&node->task);
		return NULL;
	}
	node->dir.count = 1;
	node->dir.entries[0].name = (const char *)node->dir.names.data;
	node->dir.entries[0].name_len = (uint32_t)strlen(name);
	node->dir.entries[0].kind = TREE_FILE;
	return node;
}

/* ---- the call ---- */

static int
idle(void *context, unsigned worker, struct larder_err *err)
{
	return small_flush(context, worker, err);
}

static void
drop(void *context, void *arg)
{
	struct pool_task *task = arg;

	(void)context;
	task->drop(task);
}

static int
workers_open(struct ingest *in, struct larder_err *err)
{
	int rc = LARDER_OK;

	in->worker_count = pool_workers(in->pool);
	in->workers = mem_zarray(in->worker_count, sizeof *in->workers);
	if (in->workers == NULL)
		return err_nomem(err);
	for (unsigned i = 0; i < in->worker_count && rc == LARDER_OK; i++) {
		struct ingest_worker *w = &in->workers[i];

		buf_init(&w->bytes, PACK_PLAIN_MAX);
		buf_init(&w->row, 64 * KIB);
		w->batch = mem_alloc(BATCH_LEN + 2 * SMALL_FILE_MAX + 256);
		if (w->batch == NULL)
			return err_nomem(err);
		rc = index_read_begin(&w->read, in->store->index, err);
		if (rc == LARDER_OK)
			rc = fetch_reader_open(&w->reader, in->store, err);
	}
	return rc;
}

static int
spill_open(struct ingest *in, struct larder_err *err)
{
	char name[64], hex[ID16_HEX_LEN + 1];
	struct id16 id;
	int rc;

	rc = id16_random(&id, err);
	if (rc < 0)
		return rc;
	id16_to_hex(hex, &id);
	snprintf(name, sizeof name, "tmp/seen-%s", hex);
	rc = file_open(&in->spill_fd, in->store->root_fd, name, O_RDWR | O_CREAT | O_EXCL, 0600, err);
	if (rc == LARDER_OK)
		rc = file_unlink(in->store->root_fd, name, err);
	return rc;
}

/* What the exclusions are, as part of the key of what is remembered. */
static void
hash_rules(struct ingest *in)
{
	struct sha256 stream;
	uint8_t flag = in->rules.one_file_system;

	sha256_init(&stream);
	sha256_update(&stream, &flag, 1);
	for (size_t i = 0; i < in->rules.exclude_count; i++)
		sha256_update(&stream, in->rules.exclude[i], strlen(in->rules.exclude[i]) + 1);
	sha256_final(&stream, &in->rules_id);
}

static int
load_before(struct ingest *in, const char *name, struct larder_err *err)
{
	struct index_version_row row = { 0 };
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, in->store->index, err);
	if (rc == LARDER_OK) {
		rc = index_version_get(&row, read, name, 0, INT64_MAX, err);
		if (rc == LARDER_OK) {
			in->has_before = row.version.kind == ENTRY_KIND_DIR;
			in->was_chunk = row.version.kind == ENTRY_KIND_FILE && !row.version.list
			    && row.version.bytes > 0;
			in->before_id = row.version.id;
		} else if (rc == LARDER_ERR_NOT_FOUND) {
			rc = LARDER_OK;
		}
	}
	index_version_release(&row);
	index_read_end(read);
	return rc;
}

static void
ingest_close(struct ingest *in)
{
	pool_close(in->pool);
	big_abandon(in);
	while (in->nodes != NULL) /* after a failure */
		node_drop(&in->nodes->task);
	group_close(in->group);
	packer_close(in->packer);
	for (unsigned i = 0; in->workers != NULL && i < in->worker_count; i++) {
		struct ingest_worker *w = &in->workers[i];

		index_read_end(w->read);
		fetch_reader_close(w->reader);
		mem_free(w->batch);
		buf_release(&w->bytes);
		buf_release(&w->row);
	}
	mem_free(in->workers);
	walk_owners_release(&in->owners);
	idset_release(&in->fresh[0]);
	idset_release(&in->fresh[1]);
	buf_release(&in->spill);
	file_close(in->spill_fd);
	if (in->top_fd >= 0)
		close(in->top_fd);
	pthread_mutex_destroy(&in->fresh_lock);
	pthread_mutex_destroy(&in->spill_lock);
	pthread_mutex_destroy(&in->watch_lock);
	pthread_mutex_destroy(&in->bigs_lock);
	pthread_mutex_destroy(&in->nodes_lock);
	mem_free(in->top);
}

static int
ingest_open(struct ingest *in, struct larder_store *store, const char *name,
    const struct larder_put_options *options, struct larder_err *err)
{
	struct pool_options pool = { .workers = store->threads,
		.order = { POOL_FIFO, POOL_FIFO, POOL_LIFO },
		.bytes_max = IN_FLIGHT_MAX,
		.context = in,
		.drop = drop,
		.idle = idle,
		.cancel = options->watch.cancel };
	struct stat st;
	int rc;

	in->store = store;
	in->options = options;
	in->spill_fd = -1;
	pthread_mutex_init(&in->fresh_lock, NULL);
	pthread_mutex_init(&in->spill_lock, NULL);
	pthread_mutex_init(&in->watch_lock, NULL);
	pthread_mutex_init(&in->bigs_lock, NULL);
	pthread_mutex_init(&in->nodes_lock, NULL);
	walk_owners_init(&in->owners);
	idset_init(&in->fresh[0], 2 * FRESH_MAX);
	idset_init(&in->fresh[1], 2 * FRESH_MAX);
	buf_init(&in->spill, 4 * MIB);
	in->overlap = chunker_most(&store->chunker, UINT64_MAX);
	in->rules.exclude = options->exclude;
	in->rules.exclude_count = options->exclude_count;
	in->rules.one_file_system = options->one_file_system;
	if (fstat(store->root_fd, &st) < 0)
		return err_sys(err, "stat the store");
	in->rules.store_dev = (uint64_t)st.st_dev;
	in->rules.store_ino = (uint64_t)st.st_ino;
	hash_rules(in);
	rc = load_before(in, name, err);
	if (rc == LARDER_OK)
		rc = pool_open(&in->pool, &pool, err);
	if (rc == LARDER_OK)
		rc = workers_open(in, err);
	if (rc == LARDER_OK)
		rc = packer_open(&in->packer, store, options->dry_run, err);
	if (rc == LARDER_OK)
		rc = group_open(&in->group, store, in->pool, RANK_COMPRESS, in->packer, err);
	if (rc == LARDER_OK && !options->dry_run)
		rc = spill_open(in, err);
	return rc;
}

/* Everything that is still gathered goes on its way; nothing is left in memory afterwards. */
static int
drain(struct ingest *in, struct larder_err *err)
{
	int rc;

	do {
		rc = pool_wait(in->pool, err);
		if (rc < 0)
			return rc;
		rc = group_flush(in->group, err);
	} while (rc == 1);
	return rc;
}

/* ---- the end: version, commit, result ---- */

/* Rows from..: as many as one transaction should change. */
struct spill_reader {
	struct ingest *in;
	uint64_t at;
	uint64_t taken; /* bytes of the rows of one run; set anew by each, since a transaction may be run again */
};

static int
write_spill(void *context, struct index_write *write, struct larder_err *err)
{
	struct spill_reader *r = context;
	uint64_t at = r->at;
	struct buf bytes = { 0 };
	uint8_t head[4 + REMEMBER_KEY_LEN];
	unsigned rows = 0;
	int rc = LARDER_OK;

	buf_init(&bytes, 64 * KIB);
	while (rc == LARDER_OK && at < r->in->spill_len && rows < SPILL_ROWS) {
		uint32_t len;

		rc = file_pread_all(r->in->spill_fd, head, sizeof head, at, "tmp/", err);
		if (rc < 0)
			break;
		len = get_le32(head);
		rc = buf_resize(&bytes, len);
		rc = rc < 0 ? buf_err(&bytes, rc, err)
		            : file_pread_all(r->in->spill_fd, bytes.data, len, at + sizeof head,
		                  "tmp/", err);
		if (rc == LARDER_OK)
			rc = index_seen_put(write, head + 4, bytes.data, len, err);
		at += sizeof head + len;
		rows++;
	}
	buf_release(&bytes);
	r->taken = at - r->at;
	return rc;
}

static int
compare_tags(const void *a, const void *b)
{
	const struct entry_tag *x = a, *y = b;

	return tree_name_compare(x->key, x->key_len, y->key, y->key_len);
}

/* The VERSION operation; tags sorted, each key once. */
static int
version_operation(struct buf *body, const struct ingest *in, const char *name, uint64_t number,
    const struct id16 *gid, struct larder_err *err)
{
	const struct larder_put_options *o = in->options;
	struct entry_tag tags[TAGS_MAX];
	struct entry_version v = { .name = name,
		.name_len = strlen(name),
		.gid = *gid,
		.number = number,
		.kind = in->is_dir ? ENTRY_KIND_DIR : ENTRY_KIND_FILE,
		.list = in->list,
		.id = in->id,
		.attrs = in->attrs,
		.bytes = in->total_bytes,
		.new_bytes = atomic_load(&in->new_bytes),
		.stored_bytes = packer_stored_bytes(in->packer),
		.files = in->total_files,
		.has_sha256 = in->has_sha256,
		.sha256 = in->sha256,
		.tags = tags,
		.tag_count = o->tag_count };
	int rc;

	for (size_t i = 0; i < o->tag_count; i++)
		tags[i] = (struct entry_tag) { .key = o->tags[i].key,
			.value = o->tags[i].value,
			.key_len = strlen(o->tags[i].key),
			.value_len = strlen(o->tags[i].value) };
	qsort(tags, o->tag_count, sizeof tags[0], compare_tags);
	rc = entry_op_version(body, &v);
	return rc < 0 ? buf_err(body, rc, err) : LARDER_OK;
}

/* Is this what the name's latest version says already? Fills the version's number then; else the next one. */
static int
compare_with_latest(struct ingest *in, const char *name, struct larder_put_result *result,
    struct larder_err *err)
{
	struct index_version_row row = { 0 };
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, in->store->index, err);
	if (rc < 0)
		return rc;
	rc = index_version_get(&row, read, name, 0, INT64_MAX, err);
	if (rc == LARDER_OK) {
		const struct index_version *v = &row.version;

		result->unchanged = id_equal(&v->id, &in->id)
		    && v->kind == (in->is_dir ? ENTRY_KIND_DIR : ENTRY_KIND_FILE)
		    && (!in->is_dir || id_equal(&v->attrs, &in->attrs));
		result->version = v->number;
	}
	if ((rc == LARDER_OK && !result->unchanged) || rc == LARDER_ERR_NOT_FOUND) {
		rc = index_version_before(&row, read, name, UINT64_MAX, err);
		result->version = rc == 1 ? row.version.number + 1 : 1;
	}
	index_version_release(&row);
	index_read_end(read);
	return rc < 0 ? rc : LARDER_OK;
}

/* Two puts of one name at once may have wanted one number: ask which one ours got. */
static int
number_given(struct ingest *in, const char *name, const struct id16 *gid, uint64_t *number,
    struct larder_err *err)
{
	struct index_version_row row = { 0 };
	struct index_read *read = NULL;
	uint64_t below = UINT64_MAX;
	int rc;

	rc = index_read_begin(&read, in->store->index, err);
	if (rc == LARDER_OK)
		while ((rc = index_version_before(&row, read, name, below, err)) == 1) {
			below = row.version.number;
			if (memcmp(&row.version.gid, gid, sizeof *gid) == 0) {
				*number = below;
				break;
			}
		}
	index_version_release(&row);
	index_read_end(read);
	return rc < 0 ? rc : LARDER_OK;
}

static int
write_all_spill(struct ingest *in, uint64_t from, struct larder_err *err)
{
	struct spill_reader reader = { .in = in, .at = from };
	struct commit commit = { .hints = write_spill, .context = &reader };
	int rc = LARDER_OK;

	while (rc == LARDER_OK && reader.at < in->spill_len) {
		rc = commit_hints(in->store, &commit, err);
		reader.at += reader.taken;
	}
	return rc;
}

static int
ingest_end(struct ingest *in, const char *name, struct larder_put_result *result,
    struct larder_err *err)
{
	struct spill_reader first = { .in = in };
	struct buf body = { 0 };
	struct id16 gid;
	int rc;

	rc = compare_with_latest(in, name, result, err);
	if (rc == LARDER_OK && !in->options->dry_run)
		rc = spill_flush(in, err);
	if (rc == LARDER_OK && !result->unchanged && !in->options->dry_run) {
		rc = id16_random(&gid, err);
		if (rc == LARDER_OK)
			rc = version_operation(&body, in, name, result->version, &gid, err);
	}
	if (rc == LARDER_OK)
		rc = packer_end(in->packer, &body, in->spill_len > 0 ? write_spill : NULL, &first,
		    err);
	if (rc == LARDER_OK)
		rc = write_all_spill(in, first.taken, err);
	if (rc == LARDER_OK && !result->unchanged && !in->options->dry_run)
		rc = number_given(in, name, &gid, &result->version, err);
	buf_release(&body);
	if (rc < 0)
		return rc;

	result->kind = in->is_dir ? LARDER_KIND_DIR : LARDER_KIND_FILE;
	result->id = in->id;
	result->bytes = in->total_bytes;
	result->new_bytes = atomic_load(&in->new_bytes);
	result->stored_bytes = packer_stored_bytes(in->packer);
	result->files = in->total_files;
	result->has_sha256 = in->has_sha256;
	result->sha256 = in->sha256;
	result->skipped = atomic_load(&in->skipped);
	if (result->skipped > 0)
		return err_set(err, LARDER_ERR_PARTIAL,
		    "%llu inputs were left out or changed while they were read",
		    (unsigned long long)result->skipped);
	return LARDER_OK;
}

static int
check_options(const char *name, const struct larder_put_options *options, struct larder_err *err)
{
	if (name == NULL || (options->tags == NULL && options->tag_count > 0))
		return err_set(err, LARDER_ERR_USAGE, "a name is needed");
	if (options->tag_count > TAGS_MAX)
		return err_set(err, LARDER_ERR_LIMIT, "%zu tags; at most %d (TAGS_MAX)",
		    options->tag_count, TAGS_MAX);
	for (size_t i = 0; i < options->tag_count; i++) {
		const struct larder_tag *t = &options->tags[i];

		if (t->key == NULL || t->value == NULL || t->key[0] == 0)
			return err_set(err, LARDER_ERR_USAGE, "a tag needs a key and a value");
		if (strlen(t->key) > TAG_LEN_MAX || strlen(t->value) > TAG_LEN_MAX)
			return err_set(err, LARDER_ERR_LIMIT,
			    "tag %.40s: longer than %d bytes (TAG_LEN_MAX)", t->key, TAG_LEN_MAX);
		for (size_t j = 0; j < i; j++)
			if (strcmp(options->tags[j].key, t->key) == 0)
				return err_set(err, LARDER_ERR_USAGE, "tag %s is given twice", t->key);
	}
	return entry_name_check(name, strlen(name), err);
}

/* Common to both calls: options as we know them, name, an empty result. */
static int
begin(struct larder_put_options *known, struct larder_store *store, const char *name,
    const struct larder_put_options *options, struct larder_put_result *result,
    struct larder_err *err)
{
	struct larder_put_options defaults = LARDER_PUT_OPTIONS_INIT;
	int rc = store_enter(store, err);

	if (rc < 0)
		return rc;
	*known = defaults;
	if (options != NULL)
		memcpy(known, options,
		    options->size < sizeof *known ? options->size : sizeof *known);
	memset(result, 0, sizeof *result);
	return check_options(name, known, err);
}

/* The top as an open descriptor and an absolute path; its kind decides what runs. */
static int
open_top(struct ingest *in, const char *path, struct ingest_node **node, pool_fn *task,
    struct larder_err *err)
{
	char absolute[PATH_MAX];
	const char *slash;
	struct stat st;

	in->top_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (in->top_fd < 0)
		return err_sys(err, "open %s", path);
	if (fstat(in->top_fd, &st) < 0)
		return err_sys(err, "stat %s", path);
	if (realpath(path, absolute) == NULL)
		return err_sys(err, "%s", path);
	in->top = mem_strdup(absolute);
	if (in->top == NULL)
		return err_nomem(err);
	in->rules.root_dev = (uint64_t)st.st_dev;
	if (S_ISDIR(st.st_mode)) {
		if ((uint64_t)st.st_dev == in->rules.store_dev
		    && (uint64_t)st.st_ino == in->rules.store_ino)
			return err_set(err, LARDER_ERR_USAGE, "%s is the store itself", path);
		*node = node_new(in, NULL, 0, "");
		*task = look_task;
	} else if (S_ISREG(st.st_mode)) {
		slash = strrchr(absolute, '/');
		*node = lone_node(in, slash ? slash + 1 : absolute);
		*task = lone_task;
	} else {
		return err_set(err, LARDER_ERR_USAGE,
		    "%s is neither a file nor a directory; give a pipe as -", path);
	}
	return *node == NULL ? err_nomem(err) : LARDER_OK;
}

int
larder_put(struct larder_store *store, const char *name, const char *path,
    const struct larder_put_options *options, struct larder_put_result *result,
    struct larder_err *err)
{
	struct larder_put_options known;
	struct ingest_node *node = NULL;
	struct ingest *in = NULL;
	pool_fn task;
	int rc;

	rc = begin(&known, store, name, options, result, err);
	if (rc < 0)
		return rc;
	in = mem_zalloc(sizeof *in);
	if (in == NULL)
		return err_nomem(err);
	in->top_fd = -1;
	rc = ingest_open(in, store, name, &known, err);
	if (rc == LARDER_OK)
		rc = open_top(in, path, &node, &task, err);
	if (rc == LARDER_OK && pool_submit(in->pool, RANK_DIR, task, node) < 0)
		rc = err_nomem(err);
	if (rc == LARDER_OK)
		rc = drain(in, err);
	if (rc == LARDER_OK && !in->done)
		rc = err_set(err, LARDER_ERR_IO, "%s could not be read", path);
	if (rc == LARDER_OK)
		rc = ingest_end(in, name, result, err);
	ingest_close(in);
	mem_free(in);
	return rc;
}

/* ---- a stream ---- */

struct stream_task {
	struct pool_task task;
	struct ingest_node *node;
	uint8_t *head;
	size_t head_len;
};

static void
stream_drop(struct pool_task *task)
{
	mem_free(task);
}

static int
stream_small_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct stream_task *t = arg;
	struct ingest_node *node = t->node;
	int rc = small_add(context, worker, node, 0, t->head, t->head_len, err);

	mem_free(t);
	if (rc == LARDER_OK)
		rc = ingest_node_done(context, worker, node, err);
	return rc;
}

static int
stream_done_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct stream_task *t = arg;
	struct ingest_node *node = t->node;

	mem_free(t);
	return ingest_node_done(context, worker, node, err);
}

static int
put_stream(struct ingest *in, int fd, struct larder_err *err)
{
	struct ingest_node *node = lone_node(in, "");
	struct stream_task *t = mem_zalloc(sizeof *t);
	uint8_t *head = mem_alloc(SMALL_FILE_MAX + 1);
	size_t len = 0;
	bool small;
	int rc = LARDER_OK;

	if (node == NULL || t == NULL || head == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	while (len <= SMALL_FILE_MAX) {
		ssize_t n = read(fd, head + len, SMALL_FILE_MAX + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			rc = err_sys(err, "read the input");
			goto out;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	t->task.drop = stream_drop;
	t->node = node;
	t->head = head;
	t->head_len = len;
	small = len <= SMALL_FILE_MAX;
	if (!small) {
		rc = big_stream(in, node, 0, fd, head, len, err);
		if (rc < 0)
			pool_fail(in->pool, rc, err);
	}
	if (rc == LARDER_OK
	    && pool_submit(in->pool, RANK_DIR, small ? stream_small_task : stream_done_task, t) < 0)
		rc = err_nomem(err);
	if (rc == LARDER_OK) {
		t = NULL;
		rc = drain(in, err);
	} else {
		struct larder_err second;

		/* workers may still use the node */
		int ignored = pool_wait(in->pool, &second);

		(void)ignored;
	}
out:
	mem_free(t);
	mem_free(head);
	return rc;
}

int
larder_put_fd(struct larder_store *store, const char *name, int fd,
    const struct larder_put_options *options, struct larder_put_result *result,
    struct larder_err *err)
{
	struct larder_put_options known;
	struct ingest *in;
	int rc;

	rc = begin(&known, store, name, options, result, err);
	if (rc < 0)
		return rc;
	in = mem_zalloc(sizeof *in);
	if (in == NULL)
		return err_nomem(err);
	in->top_fd = -1;
	rc = ingest_open(in, store, name, &known, err);
	if (rc == LARDER_OK && (in->top = mem_strdup("standard input")) == NULL)
		rc = err_nomem(err);
	if (rc == LARDER_OK)
		rc = put_stream(in, fd, err);
	if (rc == LARDER_OK)
		rc = ingest_end(in, name, result, err);
	ingest_close(in);
	mem_free(in);
	return rc;
}
