#ifndef LARDER_FILELIST_H
#define LARDER_FILELIST_H

/*
 * A file of more than one chunk as the list of its chunks, in order. Long lists
 * are cut into lists of their own at places that depend on the ids only, and a
 * list of level n + 1 lists the lists of level n, so that a change in the middle
 * of a large file changes few of them. The file's id is the id of its topmost
 * list. Bytes: cas/OBJECTS.md, "File list". Canonical.
 */
#include "cas/base/buf.h"
#include "cas/base/cursor.h"
#include "cas/types.h"

enum {
	FILELIST_LEVEL_MAX = 6,   /* levels 0 .. 5: more than any file has */
	FILELIST_ITEMS_MIN = 16,  /* a list may end from here on, */
	FILELIST_ITEMS_MAX = 4096 /* and must here */
};

struct filelist_item {
	struct larder_id id; /* level 0: a chunk; else a list of level - 1 */
	uint64_t len;        /* plain bytes under it, > 0 */
};

/* True when a list that has `count` items, the last of them `item`, ends here. */
bool filelist_ends(size_t count, const struct filelist_item *item);
/* 1 .. FILELIST_ITEMS_MAX items. Asserts its arguments. NOMEM, LIMIT. */
LARDER_MUST_USE int filelist_encode(struct buf *out, unsigned level,
    const struct filelist_item *items, size_t count);

struct filelist_reader {
	struct cursor cursor;
	unsigned level;
	uint64_t left; /* items still to come */
	uint64_t size; /* plain bytes of the items so far */
};
/* CORRUPT with the offset, VERSION for a format of the future. */
LARDER_MUST_USE int filelist_open(struct filelist_reader *reader, const void *data, size_t len,
    struct larder_err *err);
/* 1, 0 at the end, CORRUPT. After an error the reader stays in error. */
LARDER_MUST_USE int filelist_next(struct filelist_reader *reader, struct filelist_item *item,
    struct larder_err *err);

/*
 * Builds all levels while a file's chunks arrive in order. `emit` is called for
 * each finished list with its encoded bytes and stores them; *id is what it
 * answers (the SHA-256 of the bytes).
 */
typedef int (*filelist_emit_fn)(void *context, struct larder_id *id, const void *data, size_t len,
    struct larder_err *err);
struct filelist_builder {
	struct {
		struct filelist_item *items;
		size_t count;
	} level[FILELIST_LEVEL_MAX]; /* the open list of each level */
	unsigned levels;             /* that have been begun */
	uint64_t size;               /* plain bytes added so far */
	filelist_emit_fn emit;
	void *context;
};
void filelist_builder_init(struct filelist_builder *b, filelist_emit_fn emit, void *context);
LARDER_MUST_USE int filelist_builder_add(struct filelist_builder *b, const struct larder_id *chunk,
    uint64_t len, struct larder_err *err);
/*
 * Ends all open lists; *id is the topmost. At least one chunk must have been added.
 * A builder that has ended, or failed, is only good for release.
 */
LARDER_MUST_USE int filelist_builder_end(struct filelist_builder *b, struct larder_id *id,
    struct larder_err *err);
void filelist_builder_release(struct filelist_builder *b); /* a zeroed struct is fine */

#endif
