/*
 * Directories as arrays, files as chunks. See reach.h.
 *
 * Everything read here came through fetch, which verified it; what decodes
 * wrongly all the same is CORRUPT, with the object's id in the sentence.
 */
#include "cas/reach.h"

#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"

/* One more element in a growing array; NULL when out of memory. */
static void *
grow(void **array, size_t count, size_t *room, size_t size)
{
	if (count == *room) {
		size_t more = *room ? *room * 2 : 16;
		void *grown = mem_resize(*array, more, size);

		if (grown == NULL)
			return NULL;
		*array = grown;
		*room = more;
	}
	return (char *)*array + count * size;
}

/* The object's bytes in a new part of the list's storage. */
static int
load_part(struct buf **parts, size_t *part_count, struct fetch_reader *reader,
    const struct larder_id *id, struct larder_err *err)
{
	struct buf *grown = mem_resize(*parts, *part_count + 1, sizeof **parts);

	if (grown == NULL)
		return err_nomem(err);
	*parts = grown;
	memset(&grown[*part_count], 0, sizeof *grown);
	buf_init(&grown[*part_count], PACK_PLAIN_MAX);
	(*part_count)++;
	return fetch_chunk(&grown[*part_count - 1], reader, id, err);
}

static int
name_object(int rc, const char *what, const struct larder_id *id, struct larder_err *err)
{
	char hex[ID_HEX_LEN + 1];

	if (rc < 0) {
		id_to_hex(hex, id);
		err_prefix(err, "%s %s", what, hex);
	}
	return rc;
}

/* ---- trees ---- */

static int
add_entries(struct tree_list *out, struct tree_reader *tree, struct larder_err *err)
{
	int rc;

	for (;;) {
		struct tree_entry *e =
		    grow((void **)&out->entries, out->count, &out->room, sizeof *out->entries);

		if (e == NULL)
			return err_nomem(err);
		rc = tree_next(tree, e, err);
		if (rc <= 0)
			return rc;
		out->count++;
	}
}

static int
load_tree_node(struct tree_list *out, struct fetch_reader *reader, struct tree_reader *node,
    struct larder_err *err)
{
	struct tree_part part;
	struct tree_reader tree;
	int rc;

	while ((rc = tree_node_next(node, &part, err)) == 1) {
		const struct buf *bytes;

		rc = load_part(&out->parts, &out->part_count, reader, &part.id, err);
		if (rc < 0)
			return rc;
		bytes = &out->parts[out->part_count - 1];
		rc = tree_open(&tree, bytes->data, bytes->len, err);
		if (rc == LARDER_OK && tree.node)
			rc = err_set(
			    err, LARDER_ERR_CORRUPT, "a part that is itself a list of parts");
		if (rc == LARDER_OK)
			rc = add_entries(out, &tree, err);
		if (rc < 0)
			return name_object(rc, "tree part", &part.id, err);
	}
	return rc;
}

int
tree_load(struct tree_list *out, struct fetch_reader *reader, const struct larder_id *id,
    struct larder_err *err)
{
	struct tree_reader tree;
	int rc;

	memset(out, 0, sizeof *out);
	rc = load_part(&out->parts, &out->part_count, reader, id, err);
	if (rc == LARDER_OK)
		rc = tree_open(&tree, out->parts[0].data, out->parts[0].len, err);
	if (rc == LARDER_OK && tree.node)
		rc = load_tree_node(out, reader, &tree, err);
	else if (rc == LARDER_OK)
		rc = add_entries(out, &tree, err);
	if (rc < 0)
		tree_list_release(out);
	return name_object(rc, "tree", id, err);
}

void
tree_list_release(struct tree_list *list)
{
	for (size_t i = 0; i < list->part_count; i++)
		buf_release(&list->parts[i]);
	mem_free(list->parts);
	mem_free(list->entries);
	memset(list, 0, sizeof *list);
}

const struct tree_entry *
tree_list_find(const struct tree_list *list, const char *name, size_t name_len)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct tree_entry *e = &list->entries[mid];
		int order = tree_name_compare(e->name, e->name_len, name, name_len);

		if (order == 0)
			return e;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* ---- attrs ---- */

/* The reader lends a row's xattrs until its next call: keep a copy of the array (its strings stay
 * in the part). */
static int
keep_xattrs(struct attrs_list *out, struct attrs_row *row, struct larder_err *err)
{
	struct attrs_xattr **slot, *copy;

	if (row->xattr_count == 0)
		return LARDER_OK;
	slot = grow((void **)&out->xattrs, out->xattrs_count, &out->xattrs_room, sizeof *slot);
	copy = mem_array(row->xattr_count, sizeof *copy);
	if (slot == NULL || copy == NULL) {
		mem_free(copy);
		return err_nomem(err);
	}
	memcpy(copy, row->xattrs, row->xattr_count * sizeof *copy);
	*slot = copy;
	out->xattrs_count++;
	row->xattrs = copy;
	return LARDER_OK;
}

static int
add_rows(struct attrs_list *out, struct attrs_reader *attrs, struct larder_err *err)
{
	int rc;

	for (;;) {
		struct attrs_row *row =
		    grow((void **)&out->rows, out->count, &out->room, sizeof *out->rows);

		if (row == NULL)
			return err_nomem(err);
		rc = attrs_next(attrs, row, err);
		if (rc <= 0)
			return rc;
		rc = keep_xattrs(out, row, err);
		if (rc < 0)
			return rc;
		out->count++;
	}
}

/* One leaf object, already loaded as the last part. */
static int
add_leaf(struct attrs_list *out, bool first, struct larder_err *err)
{
	const struct buf *bytes = &out->parts[out->part_count - 1];
	struct attrs_reader attrs;
	int rc;

	memset(&attrs, 0, sizeof attrs);
	rc = attrs_open(&attrs, bytes->data, bytes->len, err);
	if (rc == LARDER_OK && (attrs.node || attrs.has_self != first))
		rc = err_set(err, LARDER_ERR_CORRUPT, "not the part that belongs here");
	if (rc == LARDER_OK && first) {
		out->self = attrs.self;
		rc = keep_xattrs(out, &out->self, err);
	}
	if (rc == LARDER_OK)
		rc = add_rows(out, &attrs, err);
	attrs_close(&attrs);
	return rc;
}

int
attrs_load(struct attrs_list *out, struct fetch_reader *reader, const struct larder_id *id,
    struct larder_err *err)
{
	struct attrs_reader node;
	struct larder_id part;
	bool first = true;
	int rc;

	memset(out, 0, sizeof *out);
	memset(&node, 0, sizeof node);
	rc = load_part(&out->parts, &out->part_count, reader, id, err);
	if (rc == LARDER_OK)
		rc = attrs_open(&node, out->parts[0].data, out->parts[0].len, err);
	if (rc == LARDER_OK && !node.node)
		rc = add_leaf(out, true, err);
	else if (rc == LARDER_OK)
		while ((rc = attrs_node_next(&node, &part, err)) == 1) {
			rc = load_part(&out->parts, &out->part_count, reader, &part, err);
			if (rc == LARDER_OK)
				rc = add_leaf(out, first, err);
			if (rc < 0)
				break;
			first = false;
		}
	attrs_close(&node);
	if (rc < 0)
		attrs_list_release(out);
	return name_object(rc, "attrs", id, err);
}

void
attrs_list_release(struct attrs_list *list)
{
	for (size_t i = 0; i < list->part_count; i++)
		buf_release(&list->parts[i]);
	for (size_t i = 0; i < list->xattrs_count; i++)
		mem_free(list->xattrs[i]);
	mem_free(list->xattrs);
	mem_free(list->parts);
	mem_free(list->rows);
	memset(list, 0, sizeof *list);
}

/* ---- files ---- */

static int
reach_list(struct fetch_reader *reader, const struct larder_id *id, int level_expected,
    reach_chunk_fn fn, reach_chunk_fn lists, void *context, struct larder_err *err)
{
	struct buf bytes = { 0 };
	struct filelist_reader list;
	struct filelist_item item;
	int rc;

	buf_init(&bytes, PACK_PLAIN_MAX);
	rc = fetch_chunk(&bytes, reader, id, err);
	if (rc == LARDER_OK)
		rc = filelist_open(&list, bytes.data, bytes.len, err);
	if (rc == LARDER_OK && level_expected >= 0 && list.level != (unsigned)level_expected)
		rc = err_set(err, LARDER_ERR_CORRUPT, "a list of level %u where %d belongs",
		    list.level, level_expected);
	if (rc < 0) {
		name_object(rc, "file list", id, err);
		goto out;
	}
	if (lists != NULL) {
		rc = lists(context, id, bytes.len, err);
		if (rc != 0)
			goto out;
	}
	while ((rc = filelist_next(&list, &item, err)) == 1) {
		rc = list.level == 0 ? fn(context, &item.id, item.len, err)
				     : reach_list(reader, &item.id, (int)list.level - 1, fn, lists,
					   context, err);
		if (rc != 0)
			break;
	}
out:
	buf_release(&bytes);
	return rc;
}

int
reach_file(struct fetch_reader *reader, const struct larder_id *list, reach_chunk_fn fn,
    reach_chunk_fn lists, void *context, struct larder_err *err)
{
	return reach_list(reader, list, -1, fn, lists, context, err);
}
