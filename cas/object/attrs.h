#ifndef LARDER_ATTRS_H
#define LARDER_ATTRS_H

/*
 * Attributes: the circumstances of a directory, parallel to its tree: first the
 * directory's own row, then one row per tree entry in the same order. The rows
 * of subdirectories hold only the id of their own attrs object (whose first row
 * is theirs). A split directory has one attrs object per part (only the first
 * part's `self` row counts and is present) and a node that lists them.
 * Bytes: cas/OBJECTS.md, "Attrs". Canonical.
 */
#include "cas/base/buf.h"
#include "cas/base/cursor.h"
#include "cas/types.h"

struct attrs_tables;

enum {
	/* rows of one part, its own not counted: TREE_PART_ENTRIES_MAX */
	ATTRS_ROWS_MAX = 8192,
	/* a longer value is a chunk of its own and stands here by id */
	ATTRS_XATTR_INLINE_MAX = 256,
	/* what Linux allows */
	ATTRS_XATTR_NAME_MAX = 255,
	ATTRS_XATTR_VALUE_MAX = 65536,
	/* of one file: more than fit into the list of names that Linux gives (64 KiB) */
	ATTRS_XATTRS_MAX = 16384,
	/* a user's or group's name: Linux has 32, directories behind it more */
	ATTRS_OWNER_NAME_MAX = 255,
	/* bytes of one object, part or node: 8192 rows with four own xattrs each fit */
	ATTRS_LEN_MAX = 4 * 1024 * 1024,
};

struct attrs_xattr {
	const char *name; /* not terminated; sorted bytewise, each once */
	size_t name_len;
	const uint8_t *value; /* NULL when by id */
	size_t value_len; /* by id: the length of the chunk, more than ATTRS_XATTR_INLINE_MAX */
	struct larder_id id;
};

struct attrs_row {
	bool is_dir;            /* the row of a subdirectory: only `child` counts */
	struct larder_id child; /* its attrs object */

	uint32_t mode; /* permission, set-id and sticky bits: st_mode & 07777 */
	uint32_t uid, gid;
	const char *user, *group; /* names as they were known; not terminated; len 0 = unknown */
	size_t user_len, group_len;
	int64_t mtime_s;
	uint32_t mtime_ns; /* < 1,000,000,000 */
	bool sparse;       /* had holes: blocks of zeros are restored as holes */
	uint64_t link;     /* 0, or the same number for all names of one inode */
	const struct attrs_xattr *xattrs; /* decoded: lent until the next call */
	size_t xattr_count;
};

/*
 * `self` NULL for the later parts of a split directory. Asserts valid rows.
 * NOMEM; LIMIT beyond ATTRS_LEN_MAX and for owner names that are too long.
 */
LARDER_MUST_USE int attrs_encode(struct buf *out, const struct attrs_row *self,
    const struct attrs_row *rows, size_t count);
/* Two parts or more. NOMEM, LIMIT. */
LARDER_MUST_USE int attrs_node_encode(struct buf *out, const struct larder_id *parts, size_t count);

/*
 * Reading: attrs_open checks the head, says whether it is a node and fills
 * `self` (whose xattrs are lent until the first attrs_next). Then attrs_next or
 * attrs_node_next give one item at a time. Caller's storage; attrs_close frees
 * its tables. `data` is lent to the reader and its rows.
 */
struct attrs_reader {
	struct cursor cursor;
	bool node;
	bool has_self;
	uint64_t left;             /* rows or parts still to come */
	struct attrs_tables *tables; /* private to attrs.c */
	struct attrs_row self;
};
/* CORRUPT, VERSION, NOMEM; after an error attrs_close is allowed and not needed. */
LARDER_MUST_USE int attrs_open(struct attrs_reader *reader, const void *data, size_t len,
    struct larder_err *err);
/* 1, 0 at the end, CORRUPT with the offset, NOMEM. After an error the reader stays in error. */
LARDER_MUST_USE int attrs_next(struct attrs_reader *reader, struct attrs_row *row,
    struct larder_err *err);
LARDER_MUST_USE int attrs_node_next(struct attrs_reader *reader, struct larder_id *part,
    struct larder_err *err);
void attrs_close(struct attrs_reader *reader); /* a zeroed struct is fine */

#endif
