#ifndef LARDER_TREE_H
#define LARDER_TREE_H

/*
 * A tree says what a directory holds: names, kinds, executable bit, content;
 * nothing about owners, times or modes (attrs.h). The same content has the same
 * tree id wherever it was unpacked. Bytes: cas/OBJECTS.md, "Tree". Canonical:
 * what decodes has exactly one encoding; entries are sorted by name, bytewise,
 * each name once, no "", ".", "..", no '/', no NUL, at most COMPONENT_LEN_MAX.
 *
 * A directory of many entries is split into parts at places that depend on the
 * names only (tree_part_end), so that an insertion changes one part; the tree is
 * then a *node* that lists its parts. Attrs are split at the same places.
 */
#include "cas/base/buf.h"
#include "cas/base/cursor.h"
#include "cas/base/limits.h"
#include "cas/types.h"

enum {
	/* entries of one part: it may end from the first number on, and must at the second */
	TREE_PART_ENTRIES_MIN = 1024,
	TREE_PART_ENTRIES_MAX = 8192,
	/* bytes of one part: it is a chunk like any other */
	TREE_PART_LEN_MAX = CHUNK_MAX,
	/* bytes of a node: parts of some 100 million entries with names of usual length */
	TREE_NODE_LEN_MAX = 4 * 1024 * 1024,
};

/* On disk: never renumber. */
enum tree_kind {
	TREE_FILE = 0,
	TREE_DIR = 1,
	TREE_SYMLINK = 2,
	TREE_FIFO = 3,
	TREE_CHAR = 4,
	TREE_BLOCK = 5,
	TREE_SOCKET = 6,
	TREE_KIND_COUNT
};

struct tree_entry {
	const char *name; /* not terminated; lent until the data goes */
	size_t name_len;
	enum tree_kind kind;
	bool executable;     /* FILE: owner's x bit */
	bool list;           /* FILE: id is a file list (filelist.h), not one chunk */
	uint64_t size;       /* FILE: plain bytes */
	struct larder_id id; /* FILE with size > 0, DIR */
	const char *target;  /* SYMLINK: not terminated; 1 .. PATH_LEN_MAX bytes, no NUL */
	size_t target_len;
	uint32_t major, minor; /* CHAR, BLOCK */
};

/* True for what can be the name of an entry. tree_encode asserts it: ask before. */
bool tree_name_valid(const char *name, size_t name_len);
/*
 * Where the part that begins with entry `from` ends (one past its last entry).
 * Depends on names and link targets only: content may change without a new cut.
 */
size_t tree_part_end(const struct tree_entry *entries, size_t from, size_t count);
/*
 * The bytes of one part (a whole small directory), appended to `out`. Asserts
 * what the comment at the head says, and that `count` entries are one part.
 * NOMEM, LIMIT.
 */
LARDER_MUST_USE int tree_encode(struct buf *out, const struct tree_entry *entries, size_t count);

/* One part as its node knows it. */
struct tree_part {
	struct larder_id id;
	const char *first; /* first name in the part */
	size_t first_len;
};
/* Two parts or more. LIMIT beyond TREE_NODE_LEN_MAX. */
LARDER_MUST_USE int tree_node_encode(struct buf *out, const struct tree_part *parts, size_t count);

/*
 * Reading: tree_open checks the head and says whether it is a node; then
 * tree_next or tree_node_next give one item at a time: 1, 0 at the end,
 * CORRUPT with the offset, VERSION for a format of the future. `data` is lent
 * to the reader and its entries. After an error the reader stays in error.
 */
struct tree_reader {
	struct cursor names;  /* names, kinds, link targets */
	struct cursor cursor; /* sizes, ids, device numbers */
	bool node;
	uint64_t left;    /* entries or parts still to come */
	const char *last; /* the name before, for the order */
	size_t last_len;
};
LARDER_MUST_USE int tree_open(struct tree_reader *reader, const void *data, size_t len,
    struct larder_err *err);
LARDER_MUST_USE int tree_next(struct tree_reader *reader, struct tree_entry *entry,
    struct larder_err *err);
LARDER_MUST_USE int tree_node_next(struct tree_reader *reader, struct tree_part *part,
    struct larder_err *err);

/* bytewise order of names, shorter first */
int tree_name_compare(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
