#ifndef LARDER_REMEMBER_H
#define LARDER_REMEMBER_H

/*
 * What the last put saw of a directory or file, so that the next one need not
 * read it again: a row of the index's `seen` table, as bytes. A hint: it is used
 * only when every stat agrees, and it is written only by the commit that made
 * all it refers to durable.
 */
#include "cas/base/buf.h"
#include "cas/types.h"

enum { REMEMBER_KEY_LEN = 16, REMEMBER_PRINTS_MAX = 7000 };

/* Of a directory, or (file) of a path put as a file of its own. */
struct remember {
	bool file;
	/* directory */
	struct larder_id tree, attrs;
	uint8_t children[16];  /* hash of the ids of its subdirectories, in order */
	uint64_t names;        /* hash of names and kinds of all entries */
	uint64_t self;         /* fingerprint of its own stat */
	uint64_t files, bytes; /* in all below */
	size_t print_count;    /* of entries that are no directories, in name order */
	uint64_t *prints;      /* fingerprint each; 0 = not to be trusted */
	/* file: self is its fingerprint */
	struct larder_id id;
	bool list;
	uint64_t size;
};
void remember_release(struct remember *row);

/* Key of a path under these rules; `rules` is a hash of the exclusions. */
void remember_key(uint8_t key[REMEMBER_KEY_LEN], const char *top, const char *path,
    const struct larder_id *rules);
/* LIMIT when there are more than REMEMBER_PRINTS_MAX entries: such a directory is looked at anew
 * each time. */
LARDER_MUST_USE int remember_encode(struct buf *out, const struct remember *row);
/* CORRUPT: forget it. */
LARDER_MUST_USE int remember_decode(struct remember *out, const void *data, size_t len);

#endif
