#ifndef LARDER_IDENTITY_H
#define LARDER_IDENTITY_H

/*
 * The file `writer`: which replica this directory is. It holds the writer's id
 * with device and inode of the store's directory and a hash of the machine's id.
 * A store that was copied, moved or restored does not match, and draws a new id
 * before its first entry; the old journal is read for ever and appended to by
 * nobody. (Two copies that both continued one chain would be damage later.)
 * A false alarm, such as devices numbered anew, costs one more writer.
 */
#include "cas/base/id.h"
#include "cas/types.h"

struct identity {
	struct id16 writer;
	uint64_t dev, ino;
	struct larder_id machine;
	bool known; /* false: no writer file yet */
};

/* Reads; an absent or damaged file gives known = false. */
LARDER_MUST_USE int identity_read(struct identity *out, int root_fd, struct larder_err *err);
/*
 * Under an OFD lock on the file: compares with this directory and machine; a
 * mismatch (or no file) draws and durably writes a new id. *changed tells.
 */
LARDER_MUST_USE int identity_claim(struct identity *out, bool *changed, int root_fd,
    struct larder_err *err);

/* The next claim draws a new id. */
LARDER_MUST_USE int identity_forget(struct identity *identity, int root_fd, struct larder_err *err);

#endif
