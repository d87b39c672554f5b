/*
 * The names most like one: how many of the bytes of both both have. See larder.h.
 *
 * 1. Bytes are equal when they stand in chunks of equal id: small files whole,
 *    large ones chunk by chunk.
 * 2. percent = 100 * (bytes of A that B has too + bytes of B that A has too)
 *    / (bytes of A + bytes of B), every file counted as often as it is there.
 * 3. A (what is compared) is in memory: its chunks, and which of them each of
 *    its directories and lists has in it. Where a candidate has one of these,
 *    it is not opened.
 */
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/idset.h"
#include "cas/base/mem.h"
#include "cas/diff.h"
#include "cas/look.h"
#include "cas/object/entry.h"
#include "index/index.h"

enum {
	PATHS_MAX = 20,
	LIMIT_DEFAULT = 10,
	LIMIT_MAX = 1000,
	/* of A: a large file that would make more is one piece; some 100 bytes each */
	PIECES_MAX = 512 * 1024,
	NODES_MAX = 512 * 1024,
};

/* A distinct content of A. */
struct content {
	uint64_t bytes; /* in A, all together */
	uint32_t seen_by; /* the candidate that has it too */
};

/* A directory or list of A: the pieces in it, and their bytes. */
struct node {
	size_t first, end; /* in pieces[] */
	uint64_t bytes;
};

struct candidate {
	char *name;
	double percent;
	struct spec_target target; /* without storage: what diff_targets needs of a version */
};

struct similar {
	struct fetch_reader *reader;

	struct idset ids; /* of A: content -> number in contents */
	struct content *contents;
	size_t content_count, content_room;
	uint32_t *pieces; /* numbers of contents, as they stand in A */
	size_t piece_count, piece_room;
	struct idset node_ids; /* -> number in nodes */
	struct node *nodes;
	size_t node_count, node_room;
	uint64_t bytes;

	/* of the candidate at hand */
	uint32_t round;
	uint64_t b_bytes, b_shared, a_shared;

	struct candidate *best; /* sorted, most similar first */
	size_t best_count, limit;
};

static int
grow(void **array, size_t count, size_t *room, size_t size, struct larder_err *err)
{
	size_t more = *room ? *room * 2 : 256;
	void *grown;

	if (count < *room)
		return LARDER_OK;
	grown = mem_resize(*array, more, size);
	if (grown == NULL)
		return err_nomem(err);
	*array = grown;
	*room = more;
	return LARDER_OK;
}

/* ---- A ---- */

static int
add_piece(struct similar *s, const struct larder_id *id, uint64_t len, struct larder_err *err)
{
	const uint64_t *known = idset_find(&s->ids, id);
	uint64_t number = known != NULL ? *known : s->content_count;
	int rc;

	rc = grow((void **)&s->pieces, s->piece_count, &s->piece_room, sizeof *s->pieces, err);
	if (rc < 0)
		return rc;
	if (known == NULL) {
		rc = grow((void **)&s->contents, s->content_count, &s->content_room,
		    sizeof *s->contents, err);
		if (rc < 0)
			return rc;
		if (idset_add(&s->ids, id, number) < 0)
			return err_nomem(err);
		s->contents[s->content_count++] = (struct content){ 0 };
	}
	s->contents[number].bytes += len;
	s->pieces[s->piece_count++] = (uint32_t)number;
	s->bytes += len;
	return LARDER_OK;
}

static int
add_chunk(void *context, const struct larder_id *id, uint64_t len, struct larder_err *err)
{
	struct similar *s = context;

	return add_piece(s, id, len, err);
}

static int
end_node(struct similar *s, const struct larder_id *id, size_t first, uint64_t bytes_before,
    struct larder_err *err)
{
	int rc;

	if (s->node_count >= NODES_MAX)
		return LARDER_OK;
	rc = grow((void **)&s->nodes, s->node_count, &s->node_room, sizeof *s->nodes, err);
	if (rc < 0)
		return rc;
	rc = idset_add(&s->node_ids, id, s->node_count);
	if (rc < 0)
		return err_nomem(err);
	if (rc == 1)
		s->nodes[s->node_count++] = (struct node){
			.first = first,
			.end = s->piece_count,
			.bytes = s->bytes - bytes_before,
		};
	return LARDER_OK;
}

static int
add_file(struct similar *s, const struct tree_entry *e, struct larder_err *err)
{
	size_t first = s->piece_count;
	uint64_t before = s->bytes;
	int rc;

	if (e->size == 0)
		return LARDER_OK;
	if (!e->list || s->piece_count + e->size / CHUNKER_MEAN_DEFAULT > PIECES_MAX)
		return add_piece(s, &e->id, e->size, err);
	rc = reach_file(s->reader, &e->id, add_chunk, NULL, s, err);
	return rc < 0 ? rc : end_node(s, &e->id, first, before, err);
}

static int
add_dir(struct similar *s, const struct larder_id *tree, unsigned depth, struct larder_err *err)
{
	size_t first = s->piece_count;
	uint64_t before = s->bytes;
	struct tree_list list;
	int rc;

	if (depth > LOOK_DEPTH_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "directories inside each other beyond %d (LOOK_DEPTH_MAX)", LOOK_DEPTH_MAX);
	rc = tree_load(&list, s->reader, tree, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < list.count && rc == LARDER_OK; i++) {
		const struct tree_entry *e = &list.entries[i];

		if (e->kind == TREE_DIR)
			rc = add_dir(s, &e->id, depth + 1, err);
		else if (e->kind == TREE_FILE)
			rc = add_file(s, e, err);
	}
	tree_list_release(&list);
	return rc < 0 ? rc : end_node(s, tree, first, before, err);
}

/* ---- a candidate ---- */

static void
share(struct similar *s, uint32_t number)
{
	struct content *content = &s->contents[number];

	if (content->seen_by == s->round)
		return;
	content->seen_by = s->round;
	s->a_shared += content->bytes;
}

static int
meet_piece(void *context, const struct larder_id *id, uint64_t len, struct larder_err *err)
{
	struct similar *s = context;
	const uint64_t *number = idset_find(&s->ids, id);

	(void)err;
	s->b_bytes += len;
	if (number != NULL) {
		s->b_shared += len;
		share(s, (uint32_t)*number);
	}
	return LARDER_OK;
}

/* True when A has this directory or list as a whole. */
static bool
meet_node(struct similar *s, const struct larder_id *id)
{
	const uint64_t *number = idset_find(&s->node_ids, id);
	const struct node *node;

	if (number == NULL)
		return false;
	node = &s->nodes[*number];
	for (size_t i = node->first; i < node->end; i++)
		share(s, s->pieces[i]);
	s->b_bytes += node->bytes;
	s->b_shared += node->bytes;
	return true;
}

static int
meet_file(struct similar *s, const struct tree_entry *e, struct larder_err *err)
{
	if (e->size == 0)
		return LARDER_OK;
	if (!e->list || idset_find(&s->ids, &e->id) != NULL)
		return meet_piece(s, &e->id, e->size, err);
	if (meet_node(s, &e->id))
		return LARDER_OK;
	return reach_file(s->reader, &e->id, meet_piece, NULL, s, err);
}

static int
meet_dir(struct similar *s, const struct larder_id *tree, unsigned depth, struct larder_err *err)
{
	struct tree_list list;
	int rc;

	if (meet_node(s, tree))
		return LARDER_OK;
	if (depth > LOOK_DEPTH_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "directories inside each other beyond %d (LOOK_DEPTH_MAX)", LOOK_DEPTH_MAX);
	rc = tree_load(&list, s->reader, tree, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < list.count && rc == LARDER_OK; i++) {
		const struct tree_entry *e = &list.entries[i];

		if (e->kind == TREE_DIR)
			rc = meet_dir(s, &e->id, depth + 1, err);
		else if (e->kind == TREE_FILE)
			rc = meet_file(s, e, err);
	}
	tree_list_release(&list);
	return rc;
}

/* Into its place among the best, if it has one. */
static int
rank(struct similar *s, const struct index_version *v, double percent, struct larder_err *err)
{
	size_t at = s->best_count;
	struct candidate *c;
	char *name;

	while (at > 0 && s->best[at - 1].percent < percent)
		at--;
	if (at == s->limit)
		return LARDER_OK;
	name = mem_strdup(v->name);
	if (name == NULL)
		return err_nomem(err);
	if (s->best_count == s->limit)
		mem_free(s->best[--s->best_count].name);
	memmove(&s->best[at + 1], &s->best[at], (s->best_count - at) * sizeof *s->best);
	s->best_count++;
	c = &s->best[at];
	*c = (struct candidate){ .name = name, .percent = percent };
	c->target.kind = v->kind == ENTRY_KIND_DIR ? TREE_DIR : TREE_FILE;
	c->target.list = v->list;
	c->target.id = v->id;
	c->target.bytes = v->bytes;
	c->target.whole = true;
	return LARDER_OK;
}

static int
meet(struct similar *s, const struct index_version *v, struct larder_err *err)
{
	struct tree_entry e = { .kind = TREE_FILE, .list = v->list, .size = v->bytes, .id = v->id };
	int rc;

	s->round++;
	s->b_bytes = s->b_shared = s->a_shared = 0;
	if (v->kind == ENTRY_KIND_DIR)
		rc = meet_dir(s, &v->id, 0, err);
	else
		rc = meet_file(s, &e, err);
	if (rc < 0) {
		err_prefix(err, "%s@%llu", v->name, (unsigned long long)v->number);
		return rc;
	}
	if (s->b_shared == 0)
		return LARDER_OK;
	return rank(s, v,
	    100.0 * (double)(s->a_shared + s->b_shared) / (double)(s->bytes + s->b_bytes), err);
}

static int
meet_names(struct similar *s, struct larder_store *store, const char *self, int64_t at_ns,
    struct larder_err *err)
{
	struct index_name_iter iter = { .at_ns = at_ns };
	struct index_version_row row = { 0 };
	struct index_read *read;
	int rc;

	do {
		rc = index_read_begin(&read, store->index, err);
		if (rc < 0)
			break;
		rc = index_name_next(&row, &iter, read, err);
		index_read_end(read);
		if (rc == 1 && strcmp(row.version.name, self) != 0) {
			rc = meet(s, &row.version, err);
			if (rc == LARDER_OK)
				rc = 1;
		}
	} while (rc == 1);
	index_version_release(&row);
	buf_release(&iter.last);
	return rc;
}

/* ---- the answer ---- */

struct differing {
	char *paths[PATHS_MAX];
	size_t count;
	uint64_t total;
};

static int
take_path(void *context, const struct larder_diff *diff)
{
	struct differing *d = context;

	if (diff->type == LARDER_ENTRY_DIR && diff->change != LARDER_CHANGED)
		return 0; /* what is in it counts */
	d->total++;
	if (d->count < PATHS_MAX) {
		d->paths[d->count] = mem_strdup(diff->path);
		if (d->paths[d->count] == NULL)
			return LARDER_ERR_NOMEM;
		d->count++;
	}
	return 0;
}

static int
answer(struct similar *s, const struct spec_target *a, const struct candidate *c,
    larder_similar_fn fn, void *context, struct larder_err *err)
{
	struct differing d = { .count = 0 };
	const char *paths[PATHS_MAX];
	int rc;

	rc = diff_targets(s->reader, a, &c->target, true, take_path, &d, err);
	if (rc == LARDER_ERR_NOMEM)
		rc = err_nomem(err);
	if (rc == LARDER_OK) {
		struct larder_similar similar = {
			.name = c->name,
			.percent = c->percent,
			.paths = paths,
			.path_count = d.count,
			.paths_total = d.total,
		};

		for (size_t i = 0; i < d.count; i++)
			paths[i] = d.paths[i];
		rc = fn(context, &similar);
	}
	for (size_t i = 0; i < d.count; i++)
		mem_free(d.paths[i]);
	return rc;
}

static void
release(struct similar *s)
{
	for (size_t i = 0; i < s->best_count; i++)
		mem_free(s->best[i].name);
	mem_free(s->best);
	mem_free(s->contents);
	mem_free(s->pieces);
	mem_free(s->nodes);
	idset_release(&s->ids);
	idset_release(&s->node_ids);
	fetch_reader_close(s->reader);
}

static int
take_a(struct similar *s, const struct spec_target *a, const char *spec, struct larder_err *err)
{
	struct tree_entry e = { .kind = TREE_FILE, .list = a->list, .size = a->bytes, .id = a->id };

	if (a->kind == TREE_DIR)
		return add_dir(s, &a->id, 0, err);
	if (a->kind == TREE_FILE)
		return add_file(s, &e, err);
	return err_set(err, LARDER_ERR_USAGE, "%s: neither a file nor a directory", spec);
}

int
larder_similar(struct larder_store *store, const char *spec, unsigned limit, int64_t at_ns,
    larder_similar_fn fn, void *context, struct larder_err *err)
{
	struct similar s = { .limit = limit == 0 ? LIMIT_DEFAULT : limit };
	struct spec_target a = { 0 };
	int rc;

	if (store == NULL || spec == NULL || fn == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a store, a spec and a function are needed");
	rc = store_enter(store, err);
	if (rc < 0)
		return rc;
	if (s.limit > LIMIT_MAX)
		s.limit = LIMIT_MAX;
	idset_init(&s.ids, SIZE_MAX);
	idset_init(&s.node_ids, SIZE_MAX);
	s.best = mem_array(s.limit, sizeof *s.best);
	if (s.best == NULL)
		rc = err_nomem(err);
	if (rc == LARDER_OK)
		rc = fetch_reader_open(&s.reader, store, err);
	if (rc == LARDER_OK)
		rc = spec_resolve(&a, store, s.reader, spec, at_ns, err);
	if (rc == LARDER_OK)
		rc = take_a(&s, &a, spec, err);
	if (rc == LARDER_OK)
		rc = meet_names(&s, store, a.name, at_ns == 0 ? INT64_MAX : at_ns, err);
	for (size_t i = 0; i < s.best_count && rc == LARDER_OK; i++)
		rc = answer(&s, &a, &s.best[i], fn, context, err);
	spec_release(&a);
	release(&s);
	return rc;
}
