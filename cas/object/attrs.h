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

/* A value of more than ATTRS_XATTR_INLINE_MAX bytes is a chunk of its own and stands here by id. */
enum { ATTRS_XATTR_INLINE_MAX = 256, ATTRS_XATTR_NAME_MAX = 255, ATTRS_XATTR_VALUE_MAX = 65536 };

struct attrs_xattr {
	const char *name; /* not terminated; sorted bytewise, each once */
	size_t name_len;
	const uint8_t *value; /* NULL when by id */
	size_t value_len;
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
	const struct attrs_xattr *xattrs; /* when encoding; when decoding lent until the next call */
	size_t xattr_count;
};

/* `self` NULL for the later parts of a split directory. Asserts valid rows. NOMEM, LIMIT. */
LARDER_MUST_USE int attrs_encode(struct buf *out, const struct attrs_row *self,
    const struct attrs_row *rows, size_t count);
LARDER_MUST_USE int attrs_node_encode(struct buf *out, const struct larder_id *parts, size_t count);

struct attrs_reader; /* caller's storage below; attrs_close frees its tables */
struct attrs_reader {
	struct cursor cursor;
	bool node;
	bool has_self;
	uint64_t left;
	void *tables;        /* owners and modes seen, row before: private to attrs.c */
	struct attrs_row self;
};
LARDER_MUST_USE int attrs_open(struct attrs_reader *reader, const void *data, size_t len,
    struct larder_err *err);
/* 1, 0 at the end, CORRUPT */
LARDER_MUST_USE int attrs_next(struct attrs_reader *reader, struct attrs_row *row,
    struct larder_err *err);
LARDER_MUST_USE int attrs_node_next(struct attrs_reader *reader, struct larder_id *part,
    struct larder_err *err);
void attrs_close(struct attrs_reader *reader); /* a zeroed struct is fine */

#endif
