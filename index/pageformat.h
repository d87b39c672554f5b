#ifndef LARDER_INDEX_PAGEFORMAT_H
#define LARDER_INDEX_PAGEFORMAT_H

/* Pages of an LMDB 0.9 file: where things are (SCHEMA.md, "Pages"), in native byte order. */
#include <string.h>

#include "index/pagewalk.h"

enum {
	/* page header */
	PAGE_NUMBER = 0,
	PAGE_FLAGS = 10,
	PAGE_LOWER = 12, /* end of the pointers */
	PAGE_UPPER = 14, /* start of the nodes */
	PAGE_COUNT = 12, /* of an overflow page: how many there are */
	PAGE_BRANCH = 0x01,
	PAGE_LEAF = 0x02,
	PAGE_OVERFLOW = 0x04,
	PAGE_META = 0x08,

	/* node */
	NODE_LEN = 0,   /* leaf: of the value, 32 bits; branch: low 32 bits of the page number */
	NODE_FLAGS = 4, /* branch: bits 32 .. 47 of the page number */
	NODE_KEY_LEN = 6,
	NODE_HEADER_LEN = 8,
	NODE_BIG = 0x01,  /* the value stands in overflow pages; here is their number */
	NODE_TREE = 0x02, /* the value describes a tree */

	/* meta, behind the page header */
	META_MAGIC = 0,
	META_VERSION = 4,
	META_ADDRESS = 8,
	META_MAP_SIZE = 16,
	META_FREE = 24,
	META_MAIN = 72,
	META_LAST_PAGE = 120,
	META_TXN = 128,

	/* tree */
	TREE_LEN = 48,
	TREE_INTEGERKEY = 0x08, /* of the tree of free pages: its keys are transaction numbers */
};

static inline uint16_t
native16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t
native32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t
native64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline struct pagewalk_tree
tree_at(const uint8_t *p)
{
	return (struct pagewalk_tree){
		.pad = native32(p),
		.flags = native16(p + 4),
		.depth = native16(p + 6),
		.branch_pages = native64(p + 8),
		.leaf_pages = native64(p + 16),
		.overflow_pages = native64(p + 24),
		.entries = native64(p + 32),
		.root = native64(p + 40),
	};
}

/* Can such a tree be, when no page behind `last_page` can be in use? */
bool tree_plausible(const struct pagewalk_tree *tree, uint64_t last_page);

#endif
