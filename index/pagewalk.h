#ifndef LARDER_INDEX_PAGEWALK_H
#define LARDER_INDEX_PAGEWALK_H

/*
 * The pages of an LMDB 0.9 file, read by pread and believed only when every
 * bound was checked: before LMDB, which believes what it maps, sees them.
 *
 * The file is native: integers have the machine's byte order and 8-byte page
 * numbers (SCHEMA.md, "Pages").
 */
#include "cas/types.h"

enum {
	PAGEWALK_HEADER_LEN = 16,
	PAGEWALK_META_LEN = 136, /* behind the page header */
	PAGEWALK_PAGE_MIN = 4096,
	PAGEWALK_PAGE_MAX = 65536,
	PAGEWALK_DEPTH_MAX = 32, /* LMDB's own limit */
	PAGEWALK_TREES_MAX = 32, /* tables in one file */
	PAGEWALK_TREE_NAME_MAX = 31,
};

/* A tree, as a meta page or a row of the main tree describes it. */
struct pagewalk_tree {
	uint32_t pad; /* of the tree of free pages: the page size */
	uint16_t flags, depth;
	uint64_t branch_pages, leaf_pages, overflow_pages;
	uint64_t entries;
	uint64_t root; /* PAGEWALK_NO_PAGE: empty */
};
#define PAGEWALK_NO_PAGE UINT64_MAX

struct pagewalk_meta {
	uint32_t page_size;
	uint64_t map_size;
	uint64_t last_page;
	uint64_t txn; /* the transaction that wrote it */
	struct pagewalk_tree free_pages, main;
};

/* One meta page of the file, checked against itself and the file's length. */
LARDER_MUST_USE int pagewalk_meta_decode(struct pagewalk_meta *out, const uint8_t *page, size_t len,
    uint64_t number, uint64_t file_len, struct larder_err *err);
/*
 * Both meta pages, newest first, checked against each other too. For files that nobody writes to.
 * CORRUPT with the reason.
 */
LARDER_MUST_USE int pagewalk_metas(struct pagewalk_meta out[2], int fd, struct larder_err *err);

/*
 * Walk everything that `meta` leads to. Checked: each page's number, kind and
 * bounds; that nodes fill it exactly; that keys rise, within a page and between
 * what its parents promise; that each page is reached at most once and is not
 * also listed as free; the figures of each tree.
 *
 * Damage goes to `found`, and the walk goes on beside it. `row` gets each row:
 * those of the main tree first (`tree` NULL), then table by table; pointers
 * are lent for the call. Returns CORRUPT when anything was found, the first of
 * it being in err; IO and NOMEM end the walk.
 *
 * Memory: a bit per page of the file, a page per level, the longest value.
 */
struct pagewalk_sink {
	void *context;
	void (*found)(void *context, const char *sentence); /* may be NULL */
	void (*row)(void *context, const char *tree, const uint8_t *key, size_t key_len,
	    const uint8_t *value, size_t value_len); /* may be NULL */
	size_t value_max;                            /* a longer one is damage, and is not read */
};
LARDER_MUST_USE int pagewalk(int fd, const struct pagewalk_meta *meta,
    const struct pagewalk_sink *sink, struct larder_err *err);

#endif
