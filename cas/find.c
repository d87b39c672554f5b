/*
 * Where a path or a content stands, over all versions of all names. See larder.h.
 *
 * 1. What was searched in vain is remembered (`vain`), so that a thousand
 *    versions that share a directory cost one search of it. With a glob that has
 *    a slash the answer depends on where a directory stands, and so does the key.
 * 2. What is remembered is bounded: when it is full it is forgotten, which costs
 *    time only.
 * 3. A large file is found by the id of its list, of a list inside it, and of
 *    each of its chunks.
 */
#include <fnmatch.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/idset.h"
#include "cas/base/mem.h"
#include "cas/base/sha256.h"
#include "cas/look.h"
#include "cas/object/entry.h"
#include "index/index.h"
#include "pack/pack.h"

enum { VAIN_MAX = 256 * 1024 }; /* some 40 bytes each, twice as much room */

struct finder {
	struct fetch_reader *reader;
	const char *glob; /* NULL = any */
	bool glob_is_path;
	const struct larder_id *content; /* NULL = any */
	bool content_is_empty;   /* the content of no bytes */
	struct index_place place; /* of the content */
	struct idset vain;       /* trees without a hit; lists: 1 = has it, 0 = has not */
	const struct index_version *version;
	larder_found_fn fn;
	void *context;
	struct buf path;
	uint64_t hits;
};

static int
remember(struct finder *f, const struct larder_id *key, uint64_t value, struct larder_err *err)
{
	int rc = idset_add(&f->vain, key, value);

	if (rc == LARDER_ERR_LIMIT) {
		idset_clear(&f->vain);
		rc = idset_add(&f->vain, key, value);
	}
	return rc < 0 ? err_nomem(err) : LARDER_OK;
}

/* ---- does it match? ---- */

static const char *
last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

/* For the version itself, its name; else the path inside. */
static bool
path_matches(const struct finder *f)
{
	const char *path = f->path.len == 0 ? f->version->name : look_path(&f->path);

	if (f->glob == NULL)
		return true;
	if (!f->glob_is_path)
		return fnmatch(f->glob, last_component(path), 0) == 0;
	return fnmatch(f->glob[0] == '/' ? f->glob + 1 : f->glob, path, FNM_PATHNAME) == 0;
}

static int
is_content(void *context, const struct larder_id *id, uint64_t len, struct larder_err *err)
{
	const struct finder *f = context;

	(void)len;
	(void)err;
	return id_equal(id, f->content);
}

/* 1, 0 */
static int
list_has(struct finder *f, const struct larder_id *list, struct larder_err *err)
{
	const uint64_t *known = idset_find(&f->vain, list);
	int has, rc;

	if (known != NULL)
		return *known != 0;
	has = reach_file(f->reader, list, is_content, is_content, f, err);
	if (has < 0)
		return has;
	rc = remember(f, list, (uint64_t)has, err);
	return rc < 0 ? rc : has;
}

static int
content_matches(struct finder *f, const struct tree_entry *e, struct larder_err *err)
{
	if (f->content == NULL)
		return 1;
	if (e->kind == TREE_FILE && e->size == 0)
		return f->content_is_empty;
	if (e->kind != TREE_FILE && e->kind != TREE_DIR)
		return 0;
	if (id_equal(&e->id, f->content))
		return 1;
	if (e->kind != TREE_FILE || !e->list)
		return 0;
	if (f->place.type == PACK_TYPE_DATA && e->size < f->place.chunk_len)
		return 0;
	if (f->place.type != PACK_TYPE_DATA && f->place.type != PACK_TYPE_FILELIST)
		return 0;
	return list_has(f, &e->id, err);
}

static int
look_at(struct finder *f, const struct tree_entry *e, struct larder_err *err)
{
	struct larder_found found = {
		.name = f->version->name,
		.version = f->version->number,
		.path = look_path(&f->path),
		.type = (enum larder_entry_type)e->kind,
		.bytes = e->size,
	};
	int rc;

	if (!path_matches(f))
		return LARDER_OK;
	rc = content_matches(f, e, err);
	if (rc != 1)
		return rc;
	if (e->kind == TREE_DIR || (e->kind == TREE_FILE && e->size > 0))
		found.id = e->id;
	f->hits++;
	return f->fn(f->context, &found);
}

/* ---- walking ---- */

static void
vain_key(struct larder_id *out, const struct finder *f, const struct larder_id *tree)
{
	struct sha256 hash;

	if (f->glob == NULL || !f->glob_is_path) {
		*out = *tree;
		return;
	}
	sha256_init(&hash);
	sha256_update(&hash, tree->bytes, sizeof tree->bytes);
	sha256_update(&hash, look_path(&f->path), f->path.len);
	sha256_final(&hash, out);
}

static int
search(struct finder *f, const struct larder_id *tree, unsigned depth, struct larder_err *err)
{
	size_t len = f->path.len;
	uint64_t hits = f->hits;
	struct larder_id key;
	struct tree_list list;
	int rc;

	if (depth > LOOK_DEPTH_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "directories inside each other beyond %d (LOOK_DEPTH_MAX)", LOOK_DEPTH_MAX);
	vain_key(&key, f, tree);
	if (idset_find(&f->vain, &key) != NULL)
		return LARDER_OK;
	rc = tree_load(&list, f->reader, tree, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < list.count && rc == LARDER_OK; i++) {
		struct tree_entry *e = &list.entries[i];

		rc = look_path_push(&f->path, e->name, e->name_len, err);
		if (rc < 0)
			break;
		rc = look_at(f, e, err);
		if (rc == LARDER_OK && e->kind == TREE_DIR)
			rc = search(f, &e->id, depth + 1, err);
		look_path_cut(&f->path, len);
	}
	tree_list_release(&list);
	if (rc == LARDER_OK && f->hits == hits)
		rc = remember(f, &key, 0, err);
	return rc;
}

static int
search_version(struct finder *f, const struct index_version *v, struct larder_err *err)
{
	struct tree_entry e = {
		.kind = v->kind == ENTRY_KIND_DIR ? TREE_DIR : TREE_FILE,
		.list = v->list,
		.size = v->kind == ENTRY_KIND_DIR ? 0 : v->bytes,
		.id = v->id,
	};
	int rc;

	f->version = v;
	rc = look_at(f, &e, err);
	if (rc == LARDER_OK && e.kind == TREE_DIR)
		rc = search(f, &e.id, 0, err);
	if (rc < 0)
		err_prefix(err, "%s@%llu", v->name, (unsigned long long)v->number);
	return rc;
}

/* The version before `below` that was there at this time: 1, 0. */
static int
next_version(struct index_version_row *row, struct larder_store *store, const char *name,
    uint64_t below, int64_t at_ns, struct larder_err *err)
{
	const struct index_version *v = &row->version;
	struct index_read *read;
	bool there = false;
	int rc;

	rc = index_read_begin(&read, store->index, err);
	if (rc < 0)
		return rc;
	while (!there && (rc = index_version_before(row, read, name, below, err)) == 1) {
		below = v->number;
		there = at_ns == INT64_MAX ? v->ended_ns == 0
					   : v->created_ns <= at_ns &&
						 (v->ended_ns == 0 || at_ns < v->ended_ns);
	}
	index_read_end(read);
	return rc;
}

static int
search_names(struct finder *f, struct larder_store *store, const char *prefix, int64_t at_ns,
    struct larder_err *err)
{
	struct index_name_iter iter = { .prefix = prefix, .at_ns = at_ns };
	struct index_version_row latest = { 0 }, row = { 0 };
	struct index_read *read;
	int rc;

	for (;;) {
		uint64_t below = UINT64_MAX;

		rc = index_read_begin(&read, store->index, err);
		if (rc < 0)
			break;
		rc = index_name_next(&latest, &iter, read, err);
		index_read_end(read);
		if (rc != 1)
			break;
		while ((rc = next_version(&row, store, latest.version.name, below, at_ns, err)) ==
		       1) {
			below = row.version.number;
			rc = search_version(f, &row.version, err);
			if (rc != 0)
				break;
		}
		if (rc != 0)
			break;
	}
	index_version_release(&latest);
	index_version_release(&row);
	buf_release(&iter.last);
	return rc;
}

int
larder_find(struct larder_store *store, const char *glob, const char *prefix,
    const struct larder_id *content, int64_t at_ns, larder_found_fn fn, void *context,
    struct larder_err *err)
{
	struct finder f = { .glob = glob, .content = content, .fn = fn, .context = context };
	struct larder_id empty;
	int rc;

	if (store == NULL || fn == NULL || (glob == NULL && content == NULL))
		return err_set(
		    err, LARDER_ERR_USAGE, "a store, a function and a glob or an id are needed");
	rc = store_enter(store, err);
	if (rc < 0)
		return rc;
	idset_init(&f.vain, VAIN_MAX);
	f.glob_is_path = glob != NULL && strchr(glob, '/') != NULL;
	rc = fetch_reader_open(&f.reader, store, err);
	if (rc == LARDER_OK && content != NULL) {
		sha256(&empty, NULL, 0);
		f.content_is_empty = id_equal(&empty, content);
		if (!f.content_is_empty)
			rc = fetch_place(&f.place, f.reader, content, err);
	}
	if (rc == LARDER_OK)
		rc = search_names(&f, store, prefix, at_ns == 0 ? INT64_MAX : at_ns, err);
	else if (rc == LARDER_ERR_NOT_FOUND)
		rc = LARDER_OK; /* what is nowhere in the store is in no name */
	fetch_reader_close(f.reader);
	idset_release(&f.vain);
	buf_release(&f.path);
	return rc;
}
