/*
 * What versions refer to, all the way down. See check.h.
 *
 * 1. Every object that is referred to must be in the index with the type and the
 *    length it is referred to with; directories and lists must decode, and their
 *    attributes must fit them. Bytes of chunks are not read here.
 * 2. What was found sound is remembered (`sound`) and not looked at again, under
 *    whatever name: a thousand versions cost what changed between them. What is
 *    not sound is walked each time, because each time it hits another name.
 * 3. What is remembered is bounded: when it is full it is forgotten.
 */
#include <stdio.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/base/sha256.h"
#include "cas/check.h"
#include "cas/look.h"
#include "pack/pack.h"

enum {
	SOUND_MAX = 512 * 1024, /* some 40 bytes each, up to three times that as room */
	LIST_BATCH = 1024,      /* chunks of a list looked up together */
};

struct check_walk {
	struct check *c;
	struct fetch_reader *reader;
	struct idset sound; /* directories, lists, and chunks with their lengths */
	const struct entry_version *version;
	struct buf path;
	uint64_t serial; /* of the place at hand: a damage hits it once */

	/* the list at hand: chunks that wait to be looked up */
	struct larder_id ids[LIST_BATCH];
	uint64_t lens[LIST_BATCH];
	size_t batched;
	bool list_sound;
};

/* A reference: what is expected there. `len` 0: any. */
struct reference {
	const struct larder_id *id;
	uint64_t len;
	enum pack_type type;
};

/* What something is known to be sound as: the same bytes may be referred to as another thing. */
enum sound_as { SOUND_CHUNK, SOUND_LIST, SOUND_DIR };

static bool
is_sound(const struct check_walk *w, const struct larder_id *key, enum sound_as as, uint64_t len)
{
	const uint64_t *known = idset_find(&w->sound, key);

	return known != NULL && *known == (len << 2 | as);
}

static int
remember(struct check_walk *w, const struct larder_id *key, enum sound_as as, uint64_t len,
    struct larder_err *err)
{
	uint64_t value = len << 2 | as;
	int rc = idset_add(&w->sound, key, value);

	if (rc == LARDER_ERR_LIMIT) {
		idset_clear(&w->sound);
		rc = idset_add(&w->sound, key, value);
	}
	return rc < 0 ? err_nomem(err) : LARDER_OK;
}

/* ---- damage ---- */

/* Damage number `number` hits the place at hand. */
static int
hit(struct check_walk *w, uint64_t number, struct larder_err *err)
{
	const struct entry_version *v = w->version;
	struct damage *d;
	char *name;
	size_t len;

	if (number >= w->c->damage_count)
		return LARDER_OK;
	d = &w->c->damages[number];
	if (d->hit_last == w->serial)
		return LARDER_OK;
	d->hit_last = w->serial;
	d->names_total++;
	if (d->name_count == CHECK_NAMES_MAX)
		return LARDER_OK;
	len = v->name_len + w->path.len + 32;
	name = mem_alloc(len);
	if (name == NULL)
		return err_nomem(err);
	snprintf(name, len, "%.*s@%llu%s%s", (int)v->name_len, v->name,
	    (unsigned long long)v->number, w->path.len > 0 ? "//" : "", look_path(&w->path));
	d->names[d->name_count++] = name;
	return LARDER_OK;
}

/*
 * A damage that is found here, of this object: it hits the place at hand, and later ones where
 * `key` is met again: the object's id if nobody can read it, else wrong_key() of it.
 */
static int
found(struct check_walk *w, const struct larder_id *id, const struct larder_id *key,
    const char *what, struct larder_err *err)
{
	const uint64_t *known = idset_find(&w->c->bad, key);
	char hex[ID_HEX_LEN + 1];
	uint64_t number;
	int rc;

	if (known != NULL)
		return hit(w, *known, err);
	id_to_hex(hex, id);
	if (strstr(what, hex) != NULL)
		rc = check_damage(w->c, &number, err, "%s", what);
	else
		rc = check_damage(w->c, &number, err, "object %s: %s", hex, what);
	if (rc == LARDER_OK)
		rc = check_bad(w->c, key, number, err);
	return rc < 0 ? rc : hit(w, number, err);
}

/*
 * An object that is sound in itself, and not what it is referred to as: the key is made of both,
 * since others may refer to it as what it is.
 */
static struct larder_id
wrong_key(const struct larder_id *id, unsigned what, uint64_t len)
{
	struct larder_id key = *id;

	for (size_t i = 0; i < sizeof len; i++)
		key.bytes[8 + i] ^= (uint8_t)(len >> (8 * i));
	key.bytes[16] ^= (uint8_t)(what + 1);
	return key;
}

enum { WRONG_LEVEL = 0x80, WRONG_SIZE = 0x81 }; /* beside the types of pack.h */

static const char *
type_name(unsigned type)
{
	static const char *const names[PACK_TYPE_COUNT] = {
		[PACK_TYPE_DATA] = "data",
		[PACK_TYPE_TREE] = "a tree",
		[PACK_TYPE_ATTRS] = "attributes",
		[PACK_TYPE_FILELIST] = "a file list",
		[PACK_TYPE_RECIPE] = "a recipe",
		[PACK_TYPE_ENTRY] = "a journal entry",
		[PACK_TYPE_RECORD] = "a record",
	};

	return type < PACK_TYPE_COUNT ? names[type] : "of no known type";
}

/* ---- references ---- */

/* 1 sound, 0 not (and that has been written down). */
static int
judge(struct check_walk *w, const struct reference *r, const struct index_place *place,
    struct larder_err *err)
{
	const uint64_t *number = idset_find(&w->c->bad, r->id);
	struct larder_id key = wrong_key(r->id, r->type, r->len);
	char what[160];
	int rc;

	if (number != NULL) {
		rc = hit(w, *number, err);
		return rc < 0 ? rc : 0;
	}
	if (place->pack == 0) {
		rc = found(w, r->id, r->id, "is referred to and not in the store", err);
	} else if (place->type != r->type) {
		snprintf(what, sizeof what, "is %s where %s is referred to", type_name(place->type),
		    type_name(r->type));
		rc = found(w, r->id, &key, what, err);
	} else if (r->len != 0 && place->chunk_len != r->len) {
		snprintf(what, sizeof what, "has %u bytes where %llu are referred to",
		    place->chunk_len, (unsigned long long)r->len);
		rc = found(w, r->id, &key, what, err);
	} else {
		return 1;
	}
	return rc < 0 ? rc : 0;
}

/* One object: 1 sound, 0 not. */
static int
check_one(struct check_walk *w, const struct larder_id *id, enum pack_type type, uint64_t len,
    struct larder_err *err)
{
	struct reference r = { id, len, type };
	struct larder_err why = { 0 };
	struct index_place place;
	int rc = fetch_places(&place, w->reader, id, 1, &why);

	if (rc == LARDER_OK)
		return judge(w, &r, &place, err);
	rc = check_index_failed(w->c, rc, &why, err);
	return rc < 0 ? rc : 0;
}


/* An object that is there and yet cannot be read: 0, or the failure of the check. */
static int
cannot_read(struct check_walk *w, const struct larder_id *id, int status,
    const struct larder_err *why, struct larder_err *err)
{
	if (check_is_damage(status))
		return found(w, id, id, why->message, err);
	if (err != NULL)
		*err = *why;
	return status;
}

/* ---- file lists ---- */

static int check_list(struct check_walk *w, const struct larder_id *id, uint64_t size, int level,
    struct larder_err *err);

static int
flush_list(struct check_walk *w, struct larder_err *err)
{
	struct index_place places[LIST_BATCH];
	struct larder_err why = { 0 };
	int rc = fetch_places(places, w->reader, w->ids, w->batched, &why);

	if (rc < 0) {
		w->list_sound = false;
		w->batched = 0;
		return check_index_failed(w->c, rc, &why, err);
	}
	for (size_t i = 0; i < w->batched; i++) {
		struct reference r = { &w->ids[i], w->lens[i], PACK_TYPE_DATA };

		rc = judge(w, &r, &places[i], err);
		if (rc < 0)
			return rc;
		w->list_sound = w->list_sound && rc == 1;
	}
	w->batched = 0;
	return check_progress(w->c, 0, 0, err);
}

/* A list that says about itself what it should: its items, down to the chunks. 1 sound, 0 not. */
static int
check_items(struct check_walk *w, const struct larder_id *id, struct filelist_reader *list,
    struct larder_err *err)
{
	struct filelist_item item;
	struct larder_err why = { 0 };
	bool sound = true;
	int rc;

	w->list_sound = true;
	w->batched = 0;
	while ((rc = filelist_next(list, &item, &why)) == 1) {
		if (list->level > 0) {
			rc = check_list(w, &item.id, item.len, (int)list->level - 1, err);
			sound = sound && rc == 1;
		} else if (!is_sound(w, &item.id, SOUND_CHUNK, item.len)) {
			w->ids[w->batched] = item.id;
			w->lens[w->batched] = item.len;
			rc = ++w->batched == LIST_BATCH ? flush_list(w, err) : LARDER_OK;
		}
		if (rc < 0)
			return rc;
	}
	if (rc == LARDER_OK && list->level == 0) {
		rc = flush_list(w, err);
		return rc < 0 ? rc : w->list_sound;
	}
	if (rc == LARDER_OK)
		return sound;
	return found(w, id, id, why.message, err);
}

/* `size`: what it should have; `level`: the same, or -1 for the topmost list of a file. */
static int
check_list(struct check_walk *w, const struct larder_id *id, uint64_t size, int level,
    struct larder_err *err)
{
	struct filelist_reader list;
	struct larder_err why = { 0 };
	struct buf bytes = { 0 };
	struct larder_id key;
	char what[160];
	bool sound;
	int rc;

	if (is_sound(w, id, SOUND_LIST, size))
		return 1;
	rc = check_one(w, id, PACK_TYPE_FILELIST, 0, err);
	if (rc != 1)
		return rc;
	buf_init(&bytes, PACK_PLAIN_MAX);
	rc = fetch_chunk(&bytes, w->reader, id, &why);
	if (rc == LARDER_OK)
		rc = filelist_open(&list, bytes.data, bytes.len, &why);
	if (rc < 0) {
		rc = cannot_read(w, id, rc, &why, err);
		goto out;
	}
	if (level >= 0 && list.level != (unsigned)level) {
		snprintf(what, sizeof what, "a list of level %u where %d belongs", list.level, level);
		key = wrong_key(id, WRONG_LEVEL, (uint64_t)level);
		rc = found(w, id, &key, what, err);
		goto out;
	}
	rc = check_items(w, id, &list, err);
	if (rc < 0)
		goto out;
	sound = rc == 1;
	if (list.left == 0 && list.size != size) {
		snprintf(what, sizeof what, "a list of %llu bytes where %llu are referred to",
		    (unsigned long long)list.size, (unsigned long long)size);
		key = wrong_key(id, WRONG_SIZE, size);
		rc = found(w, id, &key, what, err);
	} else if (sound) {
		rc = remember(w, id, SOUND_LIST, size, err);
		rc = rc < 0 ? rc : 1;
	}
out:
	buf_release(&bytes);
	return rc;
}

/* ---- directories ---- */

/* The parts of a directory that was split, one by one: 1 sound, 0 not. */
static int
check_tree_parts(struct check_walk *w, const void *data, size_t len, struct larder_err *err)
{
	struct tree_reader tree;
	struct tree_part part;
	int sound = 1, rc;

	if (tree_open(&tree, data, len, NULL) < 0 || !tree.node)
		return 1;
	while (tree_node_next(&tree, &part, NULL) == 1) {
		rc = check_one(w, &part.id, PACK_TYPE_TREE, 0, err);
		if (rc < 0)
			return rc;
		sound = sound && rc == 1;
	}
	return sound;
}

static int
check_attrs_parts(struct check_walk *w, const void *data, size_t len, struct larder_err *err)
{
	struct attrs_reader attrs;
	struct larder_id part;
	int sound = 1, rc = LARDER_OK;

	memset(&attrs, 0, sizeof attrs);
	if (attrs_open(&attrs, data, len, NULL) == LARDER_OK && attrs.node) {
		while (rc >= 0 && attrs_node_next(&attrs, &part, NULL) == 1) {
			rc = check_one(w, &part, PACK_TYPE_ATTRS, 0, err);
			sound = sound && rc == 1;
		}
	}
	attrs_close(&attrs);
	return rc < 0 ? rc : sound;
}

/* What has no parts is sound. So is what cannot be read here: who loads it says so. */
static int
check_parts(struct check_walk *w, const struct larder_id *id, enum pack_type type,
    struct larder_err *err)
{
	struct buf bytes = { 0 };
	int rc;

	buf_init(&bytes, PACK_PLAIN_MAX);
	rc = fetch_chunk(&bytes, w->reader, id, NULL);
	if (rc < 0)
		rc = rc == LARDER_ERR_NOMEM ? err_nomem(err) : 1;
	else if (type == PACK_TYPE_TREE)
		rc = check_tree_parts(w, bytes.data, bytes.len, err);
	else
		rc = check_attrs_parts(w, bytes.data, bytes.len, err);
	buf_release(&bytes);
	return rc;
}

/* Entries into `out`: 1 sound, 0 not. */
static int
load_tree(struct tree_list *out, struct check_walk *w, const struct larder_id *id,
    struct larder_err *err)
{
	struct larder_err why = { 0 };
	int rc, sound = check_one(w, id, PACK_TYPE_TREE, 0, err);

	if (sound != 1)
		return sound;
	rc = tree_load(out, w->reader, id, &why);
	if (rc < 0 || out->part_count > 1)
		sound = check_parts(w, id, PACK_TYPE_TREE, err);
	if (rc < 0 && sound == 1)
		return cannot_read(w, id, rc, &why, err);
	return sound;
}

static int
load_attrs(struct attrs_list *out, struct check_walk *w, const struct larder_id *id,
    struct larder_err *err)
{
	struct larder_err why = { 0 };
	int rc, sound = check_one(w, id, PACK_TYPE_ATTRS, 0, err);

	if (sound != 1)
		return sound;
	rc = attrs_load(out, w->reader, id, &why);
	if (rc < 0 || out->part_count > 1)
		sound = check_parts(w, id, PACK_TYPE_ATTRS, err);
	if (rc < 0 && sound == 1)
		return cannot_read(w, id, rc, &why, err);
	return sound;
}

/* Tree and attributes are checked as a pair: the key is made of both. */
static struct larder_id
pair_key(const struct larder_id *tree, const struct larder_id *attrs)
{
	struct larder_id key = *tree;

	for (size_t i = 0; attrs != NULL && i < LARDER_ID_LEN; i++)
		key.bytes[i] ^= attrs->bytes[i];
	return key;
}

/* What of both can be read; with attributes only if they fit. 1 sound, 0 not. */
static int
load(struct look_dir *out, struct check_walk *w, const struct larder_id *tree,
    const struct larder_id *attrs, struct larder_err *err)
{
	int sound, rc;

	sound = load_tree(&out->tree, w, tree, err);
	if (sound < 0 || attrs == NULL)
		return sound;
	rc = load_attrs(&out->attrs, w, attrs, err);
	if (rc < 0)
		return rc;
	out->has_attrs = sound == 1 && rc == 1;
	if (out->has_attrs && !look_dir_fits(out)) {
		struct larder_id key = pair_key(tree, attrs);

		out->has_attrs = false;
		return found(
		    w, attrs, &key, "attributes that do not belong to their directory", err);
	}
	return sound == 1 && rc == 1;
}

/* Values of extended attributes that are chunks of their own. */
static int
check_xattrs(struct check_walk *w, const struct attrs_row *row, bool *sound,
    struct larder_err *err)
{
	for (size_t i = 0; i < row->xattr_count; i++) {
		const struct attrs_xattr *x = &row->xattrs[i];
		int rc;

		if (x->value != NULL || x->value_len == 0)
			continue;
		rc = check_one(w, &x->id, PACK_TYPE_DATA, x->value_len, err);
		if (rc < 0)
			return rc;
		*sound = *sound && rc == 1;
	}
	return LARDER_OK;
}

/* The small files of a directory, looked up together. */
struct lookups {
	struct larder_id *ids;
	struct index_place *places;
	size_t *entries;
	size_t count;
};

static void
release_lookups(struct lookups *l)
{
	mem_free(l->ids);
	mem_free(l->places);
	mem_free(l->entries);
}

/* Those that are not known to be sound. */
static int
look_up_files(struct lookups *l, struct check_walk *w, const struct look_dir *dir,
    struct larder_err *err)
{
	struct larder_err why = { 0 };
	int rc;

	memset(l, 0, sizeof *l);
	if (dir->tree.count == 0)
		return LARDER_OK;
	l->ids = mem_array(dir->tree.count, sizeof *l->ids);
	l->places = mem_zarray(dir->tree.count, sizeof *l->places);
	l->entries = mem_array(dir->tree.count, sizeof *l->entries);
	if (l->ids == NULL || l->places == NULL || l->entries == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < dir->tree.count; i++) {
		const struct tree_entry *e = &dir->tree.entries[i];

		if (e->kind != TREE_FILE || e->size == 0 || e->list ||
		    is_sound(w, &e->id, SOUND_CHUNK, e->size))
			continue;
		l->ids[l->count] = e->id;
		l->entries[l->count++] = i;
	}
	if (l->count == 0)
		return LARDER_OK;
	rc = fetch_places(l->places, w->reader, l->ids, l->count, &why);
	if (rc < 0) {
		l->count = 0;
		return check_index_failed(w->c, rc, &why, err);
	}
	return LARDER_OK;
}

static int check_dir(struct check_walk *w, const struct larder_id *tree,
    const struct larder_id *attrs, unsigned depth, struct larder_err *err);

/* 1 sound, 0 not. */
static int
check_entry(struct check_walk *w, const struct look_dir *dir, size_t i,
    const struct index_place *place, unsigned depth, struct larder_err *err)
{
	const struct tree_entry *e = &dir->tree.entries[i];
	const struct attrs_row *row = look_dir_row(dir, i);
	bool xattrs_sound = true;
	int sound = 1, rc;

	w->serial++;
	if (e->kind == TREE_DIR)
		return check_dir(w, &e->id, look_dir_attrs(dir, i), depth + 1, err);
	if (e->kind == TREE_FILE && e->list) {
		sound = check_list(w, &e->id, e->size, -1, err);
	} else if (place != NULL) {
		struct reference r = { &e->id, e->size, PACK_TYPE_DATA };

		sound = judge(w, &r, place, err);
		if (sound == 1) {
			rc = remember(w, &e->id, SOUND_CHUNK, e->size, err);
			if (rc < 0)
				return rc;
		}
	}
	if (sound >= 0 && row != NULL) {
		rc = check_xattrs(w, row, &xattrs_sound, err);
		if (rc < 0)
			return rc;
	}
	return sound < 0 ? sound : sound == 1 && xattrs_sound;
}

/* 1 sound, 0 not. */
static int
check_entries(struct check_walk *w, const struct look_dir *dir, unsigned depth,
    struct larder_err *err)
{
	size_t len = w->path.len, next = 0;
	struct lookups files;
	int sound = 1, rc;

	rc = look_up_files(&files, w, dir, err);
	for (size_t i = 0; i < dir->tree.count && rc >= 0; i++) {
		const struct tree_entry *e = &dir->tree.entries[i];
		bool asked = next < files.count && files.entries[next] == i;

		rc = look_path_push(&w->path, e->name, e->name_len, err);
		if (rc < 0)
			break;
		rc = check_entry(w, dir, i, asked ? &files.places[next] : NULL, depth, err);
		look_path_cut(&w->path, len);
		next += asked;
		sound = sound && rc == 1;
	}
	release_lookups(&files);
	return rc < 0 ? rc : sound;
}

static int
check_dir(struct check_walk *w, const struct larder_id *tree, const struct larder_id *attrs,
    unsigned depth, struct larder_err *err)
{
	struct larder_id key = pair_key(tree, attrs);
	struct look_dir dir = { 0 };
	bool xattrs_sound = true;
	int sound, rc;

	if (is_sound(w, &key, SOUND_DIR, 0))
		return 1;
	if (depth > LOOK_DEPTH_MAX) {
		rc = found(w, tree, tree, "directories inside each other beyond LOOK_DEPTH_MAX", err);
		return rc < 0 ? rc : 0;
	}
	rc = check_progress(w->c, 0, 0, err);
	if (rc < 0)
		return rc;
	rc = sound = load(&dir, w, tree, attrs, err);
	if (rc >= 0 && dir.has_attrs)
		rc = check_xattrs(w, &dir.attrs.self, &xattrs_sound, err);
	if (rc >= 0)
		rc = check_entries(w, &dir, depth, err);
	if (rc == 1 && sound == 1 && xattrs_sound)
		rc = remember(w, &key, SOUND_DIR, 0, err) < 0 ? LARDER_ERR_NOMEM : 1;
	else if (rc == 1)
		rc = 0;
	look_dir_release(&dir);
	return rc;
}

/* ---- versions ---- */

static int
check_file(struct check_walk *w, const struct entry_version *v, struct larder_err *err)
{
	struct larder_id empty, key;
	int rc;

	if (v->bytes > 0)
		return v->list ? check_list(w, &v->id, v->bytes, -1, err)
			       : check_one(w, &v->id, PACK_TYPE_DATA, v->bytes, err);
	sha256(&empty, NULL, 0);
	if (id_equal(&v->id, &empty))
		return 1;
	key = wrong_key(&v->id, PACK_TYPE_DATA, 0);
	rc = found(w, &v->id, &key, "is not the id of no bytes", err);
	return rc < 0 ? rc : 0;
}

static int
check_version(void *context, const struct entry_version *v, struct larder_err *err)
{
	struct check_walk *w = context;
	int rc;

	w->version = v;
	w->serial++;
	w->c->result.versions++;
	if (v->kind == ENTRY_KIND_DIR)
		rc = check_dir(w, &v->id, id_is_zero(&v->attrs) ? NULL : &v->attrs, 0, err);
	else
		rc = check_file(w, v, err);
	return rc < 0 ? rc : LARDER_OK;
}

int
check_trees(struct check *c, struct larder_err *err)
{
	struct check_walk *w = mem_zalloc(sizeof *w);
	int rc;

	if (w == NULL)
		return err_nomem(err);
	w->c = c;
	idset_init(&w->sound, SOUND_MAX);
	rc = fetch_reader_open(&w->reader, c->store, err);
	if (rc == LARDER_OK)
		rc = check_each_version(c, check_version, w, err);
	fetch_reader_close(w->reader);
	idset_release(&w->sound);
	buf_release(&w->path);
	mem_free(w);
	return rc;
}
