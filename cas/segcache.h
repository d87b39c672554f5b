#ifndef LARDER_SEGCACHE_H
#define LARDER_SEGCACHE_H

/*
 * Decoded segments, shared by threads, bounded in bytes. For fetch.c.
 *
 *	segcache_take() == 1           held, ready
 *	segcache_take() == 0           held, and yours to load: room(), fill data, then
 *	                               ready(); or drop()
 *	aside()                        in between: others need not wait for it
 *	give()                         not held any more
 *
 * Who waits for a segment holds nobody up: a loader must call segcache_aside()
 * before it takes a second segment (a delta's base).
 */
#include "cas/base/id.h"
#include "cas/types.h"

struct segcache;

struct segment {
	uint8_t *data; /* plain bytes; constant once ready */
	uint32_t len;
	bool known;          /* data as a whole was verified to be the chunk `id` */
	struct larder_id id;

	/* the cache's, under its lock */
	uint32_t pack, at;
	unsigned holders;
	uint8_t state;
	struct segment *chain;            /* of its bucket */
	struct segment *newer, *older;    /* of those that nobody holds */
};

LARDER_MUST_USE int segcache_open(struct segcache **out, size_t bytes_max, struct larder_err *err);
void segcache_close(struct segcache *cache); /* nothing may be held; NULL is fine */
LARDER_MUST_USE int segcache_take(struct segment **out, struct segcache *cache, uint32_t pack,
    uint32_t at, struct larder_err *err);
/* Memory for the plain bytes of a segment that is being loaded. */
LARDER_MUST_USE int segcache_room(struct segment *segment, uint32_t len, struct larder_err *err);
/* Instead of room: bytes from mem_alloc that are there already, and are the segment's now. */
void segcache_adopt(struct segment *segment, uint8_t *data, uint32_t len);
void segcache_aside(struct segcache *cache, struct segment *segment);
void segcache_ready(struct segcache *cache, struct segment *segment);
void segcache_drop(struct segcache *cache, struct segment *segment); /* not ready; NULL is fine */
void segcache_give(struct segcache *cache, struct segment *segment); /* ready; NULL is fine */

#endif
