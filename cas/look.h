#ifndef LARDER_LOOK_H
#define LARDER_LOOK_H

/*
 * Directories with their attributes beside them, and paths that grow and
 * shrink while one walks: for listing, diff, find, similar and check.
 */
#include "cas/reach.h"
#include "cas/types.h"

/* Directories inside directories beyond this are refused, so that no walk runs out of stack. */
enum { LOOK_DEPTH_MAX = 2048 };

/* A directory: entry i of the tree has row i of the attributes, if there are any. */
struct look_dir {
	struct tree_list tree;
	struct attrs_list attrs;
	bool has_attrs;
};
/* `attrs` may be NULL. CORRUPT also when the two do not belong together. */
LARDER_MUST_USE int look_dir_load(struct look_dir *out, struct fetch_reader *reader,
    const struct larder_id *tree, const struct larder_id *attrs, struct larder_err *err);
/* Is there one row for each entry, and of its kind? */
bool look_dir_fits(const struct look_dir *dir);
void look_dir_release(struct look_dir *dir); /* zeroed is fine */
/* The row of entry i; NULL without attributes. */
const struct attrs_row *look_dir_row(const struct look_dir *dir, size_t i);
/* The attributes of subdirectory i; NULL without attributes. */
const struct larder_id *look_dir_attrs(const struct look_dir *dir, size_t i);

/* Append "/name" (without the slash when the path is empty); a NUL stands behind path->len. */
LARDER_MUST_USE int look_path_push(struct buf *path, const char *name, size_t name_len,
    struct larder_err *err);
/* Back to a length it had before. */
void look_path_cut(struct buf *path, size_t len);
/* NUL-terminated: "" while nothing was pushed. */
const char *look_path(const struct buf *path);

#endif
