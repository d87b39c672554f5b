#ifndef LARDER_REACH_H
#define LARDER_REACH_H

/*
 * What an object refers to: whole directories as arrays, whatever number of
 * parts they were split into, and the chunks of a file in order.
 */
#include "cas/fetch.h"
#include "cas/object/attrs.h"
#include "cas/object/filelist.h"
#include "cas/object/tree.h"
#include "cas/types.h"

/* All entries of a directory, sorted; they point into the list's own storage. A zeroed list is
 * empty. */
struct tree_list {
	struct tree_entry *entries;
	size_t count, room;
	struct buf *parts;
	size_t part_count;
};
LARDER_MUST_USE int tree_load(struct tree_list *out, struct fetch_reader *reader,
    const struct larder_id *id, struct larder_err *err);
void tree_list_release(struct tree_list *list);
/* NULL when there is none with this name. */
const struct tree_entry *tree_list_find(
    const struct tree_list *list, const char *name, size_t name_len);

/* All rows of a directory's attributes, xattrs included, in storage of their own. */
struct attrs_list {
	struct attrs_row self;
	struct attrs_row *rows;
	size_t count, room;
	struct buf *parts;
	size_t part_count;
	struct attrs_xattr **xattrs; /* arrays that rows point to */
	size_t xattrs_count, xattrs_room;
};
LARDER_MUST_USE int attrs_load(struct attrs_list *out, struct fetch_reader *reader,
    const struct larder_id *id, struct larder_err *err);
void attrs_list_release(struct attrs_list *list);

/*
 * The chunks of a file list, depth first, in order: fn's non-zero answer stops
 * and is returned. `lists` (may be NULL) is told of each list object on the way.
 */
typedef int (*reach_chunk_fn)(
    void *context, const struct larder_id *id, uint64_t len, struct larder_err *err);
LARDER_MUST_USE int reach_file(struct fetch_reader *reader, const struct larder_id *list,
    reach_chunk_fn fn, reach_chunk_fn lists, void *context, struct larder_err *err);

#endif
