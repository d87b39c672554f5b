#ifndef LARDER_INDEX_SESSION_H
#define LARDER_INDEX_SESSION_H

/*
 * The file `session` beside data.mdb: who has the index open, how the last one
 * left it, whether somebody doubts it (SCHEMA.md, "The session file").
 *
 * 1. Byte range 0 is locked while somebody opens the index: one at a time.
 * 2. Byte range 1 is locked, shared, by everybody who has it open. Who gets it
 *    alone is the first, and answers for what the file says.
 * 3. The end was clean when data.mdb is, by inode, size, times and meta pages,
 *    the file that was noted at the last end in this boot. Nothing has to be
 *    undone by a writer that begins: what it writes makes the note untrue.
 *
 * Locks belong to the open file description and die with it. Nothing here is
 * synced: a power cut is a new boot.
 */
#include <stdatomic.h>

#include "cas/types.h"

struct session {
	int fd; /* -1: closed */
	atomic_int
	    doubt; /* what session_is_doubted() remembers, for when the file cannot be read */
};

enum session_end {
	SESSION_NEVER, /* nobody ever finished making this index */
	SESSION_CLEAN,
	SESSION_UNCLEAN,
	SESSION_FAILED, /* a write failed: the page cache may show what the disk does not have */
	SESSION_DOUBTED,
};

/* Opens or makes the file, then waits until nobody else is opening. *alone: nobody has it open. */
LARDER_MUST_USE int session_open(
    struct session *session, bool *alone, int dir_fd, struct larder_err *err);
/* The opening is over; from now on shared with others. */
LARDER_MUST_USE int session_opened(struct session *session, struct larder_err *err);
void session_close(struct session *session); /* closed is fine */

/* data_fd -1: there is no data.mdb. */
LARDER_MUST_USE int session_look(
    enum session_end *end, struct session *session, int data_fd, struct larder_err *err);
/*
 * data.mdb as it is now is how it should be found. Errors only make the next open
 * look closer. What was forgotten since stays forgotten, unless all of the file
 * was looked at: another process' failed write is no less true for our success.
 */
void session_note(struct session *session, int data_fd, bool looked);
void session_forget(struct session *session); /* a write failed: the next open looks closer */

/* Async-signal-safe. */
void session_doubt(struct session *session);
bool session_is_doubted(struct session *session);

#endif
